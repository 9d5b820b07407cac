"""What the Qwen vision-language families have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from syngrpo.boxes import CoordinateFrame
from syngrpo.policy.families.base import ImageFeatures

RELATIVE = 1000.0
"""Relative coordinates run from 0 to this along both sides, whatever the image's shape."""


class LinearPatchEmbed(nn.Module):
    """A convolution whose stride is its kernel is one matrix product, several times faster."""

    proj: nn.Conv3d

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        kernel = self.proj.weight.flatten(1)
        return F.linear(hidden_states.to(kernel.dtype), kernel, self.proj.bias)


class Qwen:
    """Dynamic resolution, three-part rotary positions, coordinates from 0 to 1000."""

    shares_prefix = True
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
        model.model.visual.patch_embed.__class__ = LinearPatchEmbed

    def text_model(self, model: Any) -> Any:
        return model.model.language_model

    def vision_tower(self, model: Any) -> nn.Module:
        return model.model.visual

    def image_features(
        self, model: Any, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> list[ImageFeatures]:
        outputs = model.model.get_image_features(pixel_values, image_grid_thw)
        # One list a vision layer, each with one entry an image; only some families have any.
        layers = getattr(outputs, "deepstack_features", None) or []
        deeper = zip(*layers, strict=True) if layers else ((),) * len(image_grid_thw)
        return list(map(ImageFeatures, outputs.pooler_output, deeper))

    def embed(
        self, model: Any, input_ids: torch.Tensor, images: Sequence[ImageFeatures]
    ) -> dict[str, Any]:
        embeddings = model.get_input_embeddings()(input_ids)
        features = torch.cat([image.states for image in images]).to(embeddings.dtype)
        # Raises when the number of placeholders and of features differ.
        placeholders, _ = model.model.get_placeholder_mask(input_ids, embeddings, features)
        filled = embeddings.masked_scatter(placeholders, features)
        return {"inputs_embeds": filled, **self.deeper(images, placeholders[..., 0])}

    def deeper(self, images: Sequence[ImageFeatures], placeholders: torch.Tensor) -> dict[str, Any]:
        """Keyword arguments for image features that enter the text model above its first layer.

        ``placeholders`` is bool (R, N).
        """
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

    def frame(
        self, width: int, height: int, image_grid_thw: torch.Tensor, image_processor: Any
    ) -> CoordinateFrame:
        return CoordinateFrame(RELATIVE, RELATIVE, width, height)

    def banned_token_ids(self, config: Any, tokenizer: Any) -> list[int]:
        vocabulary = tokenizer.get_vocab()
        special = [vocabulary[token] for token in self.vision_tokens if token in vocabulary]
        # Qwen pads its embedding matrix: those rows are no token and decode to nothing.
        nameless = set(range(config.text_config.vocab_size)) - set(vocabulary.values())
        return sorted({*special, config.image_token_id, config.video_token_id, *nameless})

    def lora_targets(self, freeze_vision: bool) -> str:
        language = rf"language_model\.layers\.\d+\.({self.language_linear})"
        vision = rf"visual\.blocks\.\d+\.({self.vision_linear})"
        return rf".*{language}" if freeze_vision else rf".*({language}|{vision})"
