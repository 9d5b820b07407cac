"""The generic family: any image-text-to-text model of transformers, which is called whole.

Nothing is assumed about the vision tower: ``Encoded.image`` is everything that the processor
returns beside ``input_ids``. So every response is computed in a padded row with its own copy of the
image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import nn

from syngrpo.policy.families.base import Encoded, Family, PromptSize
from syngrpo.policy.model_options import Coordinates
from syngrpo.sample import InputError, Sample
from syngrpo.serving.wording import first_line

KNOWN_COORDINATES: dict[str, Coordinates] = {
    # internvl_chat/eval/refcoco/evaluate_grounding.py in OpenGVLab/InternVL
    "internvl": "0-1000",
    # skill glmv-grounding in zai-org/glm-skills, for all GLM-V
    "glm4v": "0-1000",
    "glm4v_moe": "0-1000",
    "glm46v": "0-1000",
}
"""``model_type`` → how such models were trained to write boxes, x before y. Only models whose
authors have published it are listed."""

IMAGE_IDS = re.compile(r"(image|video|audio|vision|boi|eoi)\w*_(id|index)")
"""Names of configuration entries that hold the id of a token around or in the place of images."""
IMAGE_TOKENS = re.compile(r"image|img|video|audio|vision|<row_\d+_col_\d+>", re.IGNORECASE)
"""Matches the special tokens around and in the place of images."""


class GenericFamily(Family):
    """A model that is called whole, with one padded row a response."""

    name = "generic"

    def __init__(self) -> None:
        self._image_sizes: dict[tuple[int, int], PromptSize] = {}

    def known_coordinates(self, model_type: str) -> Coordinates | None:
        return self.coordinates or KNOWN_COORDINATES.get(model_type)

    def limit_pixels(self, image_processor: Any, max_pixels: int) -> None:
        size = image_processor.size
        if hasattr(image_processor, "merge_size") and "longest_edge" in size:
            # Some processors turn a still picture into two frames and count the pixels of both.
            for frames in (image_processor.temporal_patch_size, 1):
                size["longest_edge"] = max_pixels * frames
                patches = image_processor.get_number_of_image_patches(4096, 4096, {})
                if patches * image_processor.patch_size**2 <= max_pixels:
                    return
        elif hasattr(image_processor, "max_patches") and "height" in size:
            tile = size["height"] * size["width"]
            image_processor.max_patches = max(1, max_pixels // tile)
            image_processor.min_patches = 1
            return
        raise InputError(
            f"the model's image processor ({type(image_processor).__name__}) has no limit on the "
            f"area of an image; leave out model.max_pixels ({max_pixels})"
        )

    def read(self, processor: Any, config: Any, sample: Sample, chat: str) -> Encoded:
        return _processed(processor, chat, Image.fromarray(sample.image.decode()), sample.id)

    def size(self, processor: Any, config: Any, sample: Sample, chat: str) -> PromptSize:
        size = sample.image.width, sample.image.height
        text = len(processor.tokenizer(chat, **_text_options(processor, chat)).input_ids)
        if size not in self._image_sizes:
            ids = _processed(processor, chat, Image.new("RGB", size), sample.id).input_ids
            image = int((ids == config.image_token_id).sum())
            self._image_sizes[size] = PromptSize(len(ids) - text, image)
        added = self._image_sizes[size]
        return PromptSize(text + added.tokens, added.image)

    def pixels_per_token(self, image_processor: Any) -> int | None:
        if hasattr(image_processor, "merge_size"):
            return int(image_processor.patch_size * image_processor.merge_size) ** 2
        return None

    def change_pixels(
        self,
        image: dict[str, torch.Tensor],
        image_processor: Any,
        change: Callable[[torch.Tensor], torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        values = image["pixel_values"]
        # The values are either pictures (…, 3, height, width) or patches (n, 3 · values).
        colours = values.unflatten(1, (3, -1)) if values.ndim == 2 else values
        shape = (3, 1) if values.ndim == 2 else (3, 1, 1)
        mean, std = torch.zeros(shape), torch.ones(shape)
        if image_processor.do_normalize:
            mean = torch.tensor(image_processor.image_mean).view(shape)
            std = torch.tensor(image_processor.image_std).view(shape)
        changed = change((colours * std + mean) * 2 - 1)
        rounded = ((changed + 1) * 127.5).round().clamp(0, 255) / 255
        return {**image, "pixel_values": ((rounded - mean) / std).reshape(values.shape)}

    def text_model(self, model: Any) -> Any:
        return model.get_decoder()

    def vision_parameters(self, model: Any) -> list[nn.Parameter]:
        """Return all parameters outside the decoder and the output layer, projections included."""
        language = [*self.text_model(model).parameters(), *_head(model).parameters()]
        others = {id(parameter) for parameter in language}
        return [parameter for parameter in model.parameters() if id(parameter) not in others]

    def banned_token_ids(self, config: Any, tokenizer: Any) -> list[int]:
        vocabulary = tokenizer.get_vocab()
        rows = config.get_text_config().vocab_size
        configured = {
            value
            for name, value in config.to_dict().items()
            if IMAGE_IDS.fullmatch(name) and isinstance(value, int)
        }
        special = {
            number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special and IMAGE_TOKENS.search(token.content)
        }
        # Many models pad their embedding matrix with rows that belong to no token.
        nameless = set(range(rows)) - set(vocabulary.values())
        banned = {*configured, *special, *nameless, config.image_token_id}
        return sorted(number for number in banned if 0 <= number < rows)

    def lora_targets(self, model: Any, freeze_vision: bool) -> str:
        """Return an expression for all linear layers of the decoder; the vision tower gets no
        adapters."""
        decoder = self.text_model(model)
        place = next(name for name, module in model.named_modules() if module is decoder)
        layers = {
            name.rpartition(".")[2]
            for name, module in decoder.named_modules()
            if isinstance(module, nn.Linear)
        }
        return rf"{re.escape(place)}\.(.*\.)?({'|'.join(map(re.escape, sorted(layers)))})"


def token_kinds(image: dict[str, torch.Tensor], length: int) -> list[str]:
    """Return the names of the inputs that hold one number for each token of a prompt of this
    length, such as ``token_type_ids`` (1, P). For tokens of a response that number is 0."""
    return [name for name, value in image.items() if value.shape == (1, length)]


def joined_images(images: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Join the inputs of several images along the first dimension, as processors do. Where other
    dimensions differ, such as the number of tiles, smaller inputs are padded with 0."""
    joined = {}
    for name in images[0]:
        parts = [image[name] for image in images]
        largest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
        rows = []
        for part in parts:
            whole = part.new_zeros(len(part), *largest)
            whole[(slice(None), *(slice(size) for size in part.shape[1:]))] = part
            rows.append(whole)
        joined[name] = torch.cat(rows)
    return joined


def _head(model: Any) -> nn.Module:
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise InputError(
            f"model {model.name_or_path} has no linear output layer; choose another model, or "
            "write a family for it (docs/families.md)"
        )
    return head


def _text_options(processor: Any, chat: str) -> dict[str, Any]:
    """Return options for the tokenizer, so that it adds no first token if the template has one."""
    first = processor.tokenizer.bos_token
    return {"add_special_tokens": not (first and chat.startswith(first))}


def _processed(processor: Any, chat: str, image: Image.Image, sample_id: str) -> Encoded:
    try:
        options = _text_options(processor, chat)
        inputs = dict(processor(text=[chat], images=[image], return_tensors="pt", **options))
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        reason = first_line(error)
        raise InputError(
            f"the model's processor refuses the image of sample {sample_id} ({image.width}x"
            f"{image.height}) and its prompt ({reason}); correct or remove the sample"
        ) from None
    ids = inputs.pop("input_ids")[0]
    inputs.pop("attention_mask", None)
    resized = None
    if "image_grid_thw" in inputs:
        _, rows, columns = inputs["image_grid_thw"].reshape(3).tolist()
        side = processor.image_processor.patch_size
        resized = columns * side, rows * side
    return Encoded(ids, inputs, resized)
