"""What differs between model families: where the parts are, how an image enters, its coordinates.

Another family is one more class with these methods and one more entry in ``FAMILIES``.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionPatchEmbed

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import InputError

NO_MASK: dict[str, None] = {"full_attention": None}
"""A ready mask mapping, so that transformers builds none: our attention knows who sees whom."""


class Family(Protocol):
    """One family of vision-language models. ``model`` is always the plain transformers model."""

    name: str

    def prepare(self, model: Any) -> None:
        """After loading: exchanges slow parts for faster ones that compute the same.

        Parameters keep their names and shapes.
        """

    def text_model(self, model: Any) -> Any:
        """The decoder stack; called with ``inputs_embeds`` or ``input_ids`` and positions."""

    def vision_tower(self, model: Any) -> nn.Module:
        """Everything that ``freeze_vision`` freezes."""

    def embed(
        self,
        model: Any,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor,
        image_grid_thw: torch.Tensor,
    ) -> dict[str, Any]:
        """Keyword arguments of the text model for tokens and their images, differentiable.

        ``input_ids`` (1, N) holds one placeholder per image feature, images in order;
        ``pixel_values`` (patches, d) and ``image_grid_thw`` (images, 3) are the processor's.
        """

    def continue_with(self, tokens: torch.Tensor) -> dict[str, Any]:
        """Keyword arguments of the text model for one sampled token (R,) a row."""

    def positions(
        self, model: Any, input_ids: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> torch.Tensor:
        """Rotary positions (3, P) of one prompt (P,); what follows continues at their max + 1."""

    def frame(
        self, width: int, height: int, image_grid_thw: torch.Tensor, image_processor: Any
    ) -> CoordinateFrame:
        """How this family writes coordinates of an image of ``width`` x ``height`` pixels."""

    def banned_token_ids(self, config: Any, tokenizer: Any) -> list[int]:
        """Ids that may never be sampled: placeholders of images, and rows without a token."""

    def lora_targets(self, freeze_vision: bool) -> str:
        """A regular expression over module names: the linear layers that get adapters."""


class _LinearPatchEmbed(Qwen2_5_VisionPatchEmbed):
    """A convolution whose stride is its kernel is one matrix product, several times faster."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        kernel = self.proj.weight.flatten(1)
        return F.linear(hidden_states.to(kernel.dtype), kernel)


class Qwen25VL:
    """Qwen2.5-VL: dynamic resolution, absolute pixels of the resized image, three-part mRoPE."""

    name = "qwen2_5_vl"
    vision_tokens = (
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )

    def prepare(self, model: Any) -> None:
        model.model.visual.patch_embed.__class__ = _LinearPatchEmbed

    def text_model(self, model: Any) -> Any:
        return model.model.language_model

    def vision_tower(self, model: Any) -> nn.Module:
        return model.model.visual

    def embed(
        self,
        model: Any,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor,
        image_grid_thw: torch.Tensor,
    ) -> dict[str, Any]:
        embeddings = model.get_input_embeddings()(input_ids)
        outputs = model.model.get_image_features(pixel_values, image_grid_thw)
        features = torch.cat(outputs.pooler_output).to(embeddings.dtype)
        # Raises when the number of placeholders and of features differ.
        placeholders, _ = model.model.get_placeholder_mask(input_ids, embeddings, features)
        return {
            "inputs_embeds": embeddings.masked_scatter(placeholders, features),
            "attention_mask": NO_MASK,
        }

    def continue_with(self, tokens: torch.Tensor) -> dict[str, Any]:
        return {"input_ids": tokens[:, None], "attention_mask": NO_MASK}

    def positions(
        self, model: Any, input_ids: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> torch.Tensor:
        rows = input_ids[None]
        types = (rows == model.config.image_token_id).int()
        positions, _ = model.model.get_rope_index(rows, types, image_grid_thw=image_grid_thw)
        return positions[:, 0]

    def frame(
        self, width: int, height: int, image_grid_thw: torch.Tensor, image_processor: Any
    ) -> CoordinateFrame:
        _, rows, columns = image_grid_thw.reshape(3).tolist()
        patch = image_processor.patch_size
        return CoordinateFrame(float(columns * patch), float(rows * patch), width, height)

    def banned_token_ids(self, config: Any, tokenizer: Any) -> list[int]:
        vocabulary = tokenizer.get_vocab()
        special = [vocabulary[token] for token in self.vision_tokens if token in vocabulary]
        # Qwen pads its embedding matrix: those rows are no token and decode to nothing.
        nameless = set(range(config.text_config.vocab_size)) - set(vocabulary.values())
        return sorted({*special, config.image_token_id, config.video_token_id, *nameless})

    def lora_targets(self, freeze_vision: bool) -> str:
        language = r"language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
        vision = r"visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.\w+_proj)"
        return rf".*{language}" if freeze_vision else rf".*({language}|{vision})"


FAMILIES: dict[str, Family] = {"qwen2_5_vl": Qwen25VL()}
"""transformers' ``model_type`` → family."""


def get_family(config: Any) -> Family:
    """The family of a transformers model configuration. Raises InputError for an unknown one."""
    if config.model_type not in FAMILIES:
        raise InputError(
            f"model type {config.model_type!r} is not supported (supported: "
            f"{', '.join(sorted(FAMILIES))}); choose such a model, or add a Family class and its "
            "entry in FAMILIES (syngrpo/policy/family.py)"
        )
    return FAMILIES[config.model_type]
