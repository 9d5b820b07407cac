"""The Qwen vision-language families: Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5.

All of them resize an image to a whole number of patches and keep its proportions, give image tokens
three-part rotary positions, and use the same chat template. They differ in how they write
coordinates, in the vision tower, and in the kinds of decoder layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from syngrpo.policy.compat_transformers import choose_attention, deeper_features
from syngrpo.policy.families.base import Encoded, ImageFeatures, PromptSize, SplitFamily
from syngrpo.policy.model_options import Coordinates
from syngrpo.policy.vision_attention import BY_LENGTH, VisionLayout
from syngrpo.sample import InputError, Sample

MAX_ASPECT_RATIO = 200
"""The image processors refuse an image whose longer side is more than this times the shorter."""

ROUNDING = 2
"""A resized image may have up to this times the area of ``max_pixels``, because its sides are
rounded to whole tokens."""


class ImageElongated(InputError):  # noqa: N818
    """An image is too long for its width."""


class ImageOverLimit(InputError):  # noqa: N818
    """An image needs more tokens than ``model.max_pixels`` allows."""


class LinearPatchEmbed(nn.Module):
    """The patch embedding, computed as one matrix product. It equals the convolution, whose stride
    is its kernel size, and is several times faster."""

    proj: nn.Conv3d

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        kernel = self.proj.weight.flatten(1)
        return F.linear(hidden_states.to(kernel.dtype), kernel, self.proj.bias)


class Qwen(SplitFamily):
    """Base class of all Qwen families.

    ``Encoded.image`` has ``patches`` uint8 (patches, 3, side, side), the resized image cut up in
    the order of the vision tower, and ``image_grid_thw`` int64 (1, 3), the number of patches in
    time, height and width.
    """

    shares_prefix = True
    coordinates: Coordinates | None = "0-1000"
    vision_tokens = (
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )
    language_linear = r"(self_attn|mlp)\.\w+_proj"
    """Linear layers of a decoder layer, as a regular expression."""
    vision_linear = r"attn\.(qkv|proj)"
    """Linear layers of a vision block, as a regular expression."""

    def prepare(self, model: Any) -> None:
        tower = self.vision_tower(model)
        tower.patch_embed.__class__ = LinearPatchEmbed
        choose_attention(tower, BY_LENGTH)

    def limit_pixels(self, image_processor: Any, max_pixels: int) -> None:
        image_processor.size["longest_edge"] = max_pixels

    def most_pixels(self, image_processor: Any) -> int:
        return int(image_processor.size["longest_edge"])

    def least_pixels(self, image_processor: Any) -> int:
        return int(image_processor.size["shortest_edge"])

    def read(self, processor: Any, config: Any, sample: Sample, chat: str) -> Encoded:
        images = processor.image_processor
        _image_tokens(images, sample)
        pixels = sample.image.decode().copy()  # the processor needs a writable array
        image = images(
            images=[pixels],
            input_data_format="channels_last",  # else a picture 3 pixels high is taken for channels
            do_rescale=False,
            do_normalize=False,
            temporal_patch_size=1,  # pixel_values repeats the picture in time, on the device
            return_tensors="pt",
        )
        patches, grid, side = image["pixel_values"], image["image_grid_thw"], images.patch_size
        _, rows, columns = grid.reshape(3).tolist()
        ids = torch.tensor(processor.tokenizer(chat).input_ids)
        placeholder = ids == config.image_token_id
        count = int(grid.prod()) // images.merge_size**2
        return Encoded(
            ids.repeat_interleave(torch.where(placeholder, count, 1)),
            {"patches": patches.unflatten(1, (-1, side, side)), "image_grid_thw": grid},
            (columns * side, rows * side),
        )

    def size(self, processor: Any, config: Any, sample: Sample, chat: str) -> PromptSize:
        image = _image_tokens(processor.image_processor, sample)
        placeholder = 1
        return PromptSize(len(processor.tokenizer(chat).input_ids) - placeholder + image, image)

    def pixels_per_token(self, image_processor: Any) -> int:
        return _pixels_per_token(image_processor)

    def change_pixels(
        self,
        image: dict[str, torch.Tensor],
        image_processor: Any,
        change: Callable[[torch.Tensor], torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        changed = change(image["patches"].float() / 127.5 - 1)
        patches = ((changed + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return {**image, "patches": patches}

    def picture(self, image: dict[str, torch.Tensor], image_processor: Any) -> np.ndarray:
        side, merge = image_processor.patch_size, image_processor.merge_size
        _, rows, columns = image["image_grid_thw"].reshape(3).tolist()
        patches = image["patches"].reshape(
            rows // merge, columns // merge, merge, merge, 3, side, side
        )
        pixels = patches.permute(0, 2, 5, 1, 3, 6, 4).reshape(rows * side, columns * side, 3)
        return pixels.contiguous().numpy()

    def pixel_values(
        self, images: Sequence[dict[str, torch.Tensor]], image_processor: Any, device: torch.device
    ) -> torch.Tensor:
        """Return the processor's values for these ``Encoded.image``: float32 (patches, d).

        The patches are sent to the device as bytes and normalised there by the processor's own
        function, so that the values are exactly the processor's.
        """
        patches = torch.cat([image["patches"] for image in images]).to(device)
        values = image_processor.rescale_and_normalize(
            patches,
            image_processor.do_rescale,
            image_processor.rescale_factor,
            image_processor.do_normalize,
            tuple(image_processor.image_mean),
            tuple(image_processor.image_std),
        )
        repeated = values[:, :, None].expand(-1, -1, image_processor.temporal_patch_size, -1, -1)
        return repeated.flatten(1)

    def text_model(self, model: Any) -> Any:
        return model.model.language_model

    def vision_tower(self, model: Any) -> Any:
        return model.model.visual

    def image_features(
        self, model: Any, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> list[ImageFeatures]:
        outputs = model.model.get_image_features(
            pixel_values, image_grid_thw, layout=VisionLayout()
        )
        layers = deeper_features(outputs)
        deeper = zip(*layers, strict=True) if layers else ((),) * len(image_grid_thw)
        return list(map(ImageFeatures, outputs.pooler_output, deeper))

    def embed(
        self, model: Any, input_ids: torch.Tensor, images: Sequence[ImageFeatures]
    ) -> dict[str, Any]:
        embeddings = model.get_input_embeddings()(input_ids)
        features = torch.cat([image.states for image in images]).to(embeddings.dtype)
        # Raises an error when the numbers of placeholders and of features differ.
        placeholders, _ = model.model.get_placeholder_mask(input_ids, embeddings, features)
        filled = embeddings.masked_scatter(placeholders, features)
        return {"inputs_embeds": filled, **self.deeper(images, placeholders[..., 0])}

    def deeper(self, images: Sequence[ImageFeatures], placeholders: torch.Tensor) -> dict[str, Any]:
        """Return keyword arguments of the text model for image features that are added in later
        layers. ``placeholders`` is bool (R, N)."""
        return {}

    def positions(
        self, model: Any, input_ids: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> torch.Tensor:
        rows = input_ids[None]
        positions, _ = model.model.get_rope_index(
            input_ids=rows,
            mm_token_type_ids=(rows == model.config.image_token_id).int(),
            image_grid_thw=image_grid_thw,
        )
        return positions[:, 0]

    def banned_token_ids(self, config: Any, tokenizer: Any) -> list[int]:
        vocabulary = tokenizer.get_vocab()
        special = [vocabulary[token] for token in self.vision_tokens if token in vocabulary]
        # Qwen models pad their embedding matrix with rows that belong to no token.
        nameless = set(range(config.text_config.vocab_size)) - set(vocabulary.values())
        return sorted({*special, config.image_token_id, config.video_token_id, *nameless})

    def lora_targets(self, model: Any, freeze_vision: bool) -> str:
        language = rf"language_model\.layers\.\d+\.({self.language_linear})"
        vision = rf"visual\.blocks\.\d+\.({self.vision_linear})"
        return rf".*{language}" if freeze_vision else rf".*({language}|{vision})"


class Qwen2VL(Qwen):
    """Qwen2-VL (arXiv 2409.12191): coordinates from 0 to 1000, relative to the image."""

    name = "qwen2_vl"
    vision_linear = r"attn\.(qkv|proj)|mlp\.fc\d"


class Qwen25VL(Qwen):
    """Qwen2.5-VL (arXiv 2502.13923): coordinates are absolute pixels of the resized image."""

    name = "qwen2_5_vl"
    coordinates = "resized"
    vision_linear = r"attn\.(qkv|proj)|mlp\.\w+_proj"


class Qwen3VL(Qwen):
    """Qwen3-VL (arXiv 2511.21631), dense and mixture of experts.

    Coordinates run from 0 to 1000, relative to the image. Features of several vision layers are
    added to the first decoder layers (DeepStack, arXiv 2406.04334).
    """

    name = "qwen3_vl"
    vision_linear = r"attn\.(qkv|proj)|mlp\.linear_fc\d"

    def deeper(self, images: Sequence[ImageFeatures], placeholders: torch.Tensor) -> dict[str, Any]:
        stack = [torch.cat(layer) for layer in zip(*(i.deeper for i in images), strict=True)]
        return {"visual_pos_masks": placeholders, "deepstack_visual_embeds": stack}


class Qwen35(Qwen):
    """Qwen3.5, dense and mixture of experts: coordinates from 0 to 1000, as in Qwen3-VL.

    Three of four decoder layers are gated delta nets (arXiv 2412.06464). Their recurrent state
    runs through the whole sequence, so a response would be influenced by those packed before it.
    """

    name = "qwen3_5"
    shares_prefix = False
    language_linear = (
        r"self_attn\.\w+_proj|mlp\.(shared_expert\.)?\w+_proj|linear_attn\.(in_proj_\w+|out_proj)"
    )
    vision_linear = r"attn\.(qkv|proj)|mlp\.linear_fc\d"


def _image_tokens(image_processor: Any, sample: Sample) -> int:
    """Return how many tokens the sample's image becomes.

    Raises InputError for an image that is too elongated, or has more tokens than
    ``model.max_pixels`` allows.
    """
    width, height = sample.image.width, sample.image.height
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ImageElongated(
            f"image of sample {sample.id} is {width}x{height}, more than {MAX_ASPECT_RATIO} times "
            "as long as wide; crop it"
        )

    def tokens(max_pixels: int) -> int:
        limit = {"max_pixels": max_pixels}
        patches = image_processor.get_number_of_image_patches(height, width, limit)
        return int(patches) // image_processor.merge_size**2

    # An elongated image stays at least one token wide, and a small one is enlarged to the model's
    # smallest size, so the area after resizing may be more than allowed.
    each, allowed = _pixels_per_token(image_processor), image_processor.size["longest_edge"]
    fitting = allowed
    while tokens(fitting) * each > ROUNDING * fitting:
        fitting = tokens(fitting) * each
    if fitting > allowed:
        raise ImageOverLimit(
            f"image of sample {sample.id} ({width}x{height}) needs {tokens(allowed)} tokens where "
            f"model.max_pixels {allowed} allows {allowed // each}; set model.max_pixels to "
            f"{fitting} or more"
        )
    return tokens(allowed)


def _pixels_per_token(image_processor: Any) -> int:
    """Return the area of the resized image that becomes one token."""
    return int(image_processor.patch_size * image_processor.merge_size) ** 2
