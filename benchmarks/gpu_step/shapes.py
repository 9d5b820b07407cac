"""The published architectures, and small ones of the same kind.

From ``config.json`` and ``preprocessor_config.json`` of Qwen/Qwen2.5-VL-3B-Instruct,
Qwen/Qwen3-VL-4B-Instruct and Qwen/Qwen3-VL-8B-Instruct on the Hugging Face hub. ``parameters`` is
the number of weights that the hub states; a model of this shape has to have exactly as many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers as hf
from torch import nn

VOCABULARY = 151_936
"""Rows of the embedding; some of them belong to no token."""


@dataclass(frozen=True)
class Shape:
    """An architecture. ``pixels``: smallest and largest area of a resized image."""

    name: str
    kind: type[Any]
    text: dict[str, Any]
    vision: dict[str, Any]
    tied: bool
    pixels: tuple[int, int]
    parameters: int | None

    @property
    def config(self) -> Any:
        """The configuration for transformers, including special tokens."""
        return self.kind.config_class(
            text_config={
                **self.text,
                "bos_token_id": 151_643,
                "eos_token_id": 151_645,
                "pad_token_id": 151_643,
                "tie_word_embeddings": self.tied,
            },
            vision_config=self.vision,
            tie_word_embeddings=self.tied,
        )

    def empty(self) -> Any:
        """Return the model without weights: shapes and names alone."""
        with torch.device("meta"):
            model = self.kind(self.config)
        model.tie_weights()
        return model


_QWEN25_TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 2048,
    "intermediate_size": 11_008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128_000,
    "rms_norm_eps": 1e-6,
    "use_sliding_window": False,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1_000_000.0,
        "mrope_section": [16, 24, 24],
    },
}
_QWEN25_VISION: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 2048,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "tokens_per_second": 2,
}
_QWEN3_TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262_144,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5_000_000.0,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
_QWEN3_VISION: dict[str, Any] = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "out_hidden_size": 2560,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}

SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape(
            "qwen2.5-vl-3b",
            hf.Qwen2_5_VLForConditionalGeneration,
            _QWEN25_TEXT,
            _QWEN25_VISION,
            tied=True,
            pixels=(3136, 12_845_056),
            parameters=3_754_622_976,
        ),
        Shape(
            "qwen3-vl-4b",
            hf.Qwen3VLForConditionalGeneration,
            _QWEN3_TEXT,
            _QWEN3_VISION,
            tied=True,
            pixels=(65_536, 16_777_216),
            parameters=4_437_815_808,
        ),
        Shape(
            "qwen3-vl-8b",
            hf.Qwen3VLForConditionalGeneration,
            {**_QWEN3_TEXT, "hidden_size": 4096, "intermediate_size": 12_288},
            {
                **_QWEN3_VISION,
                "depth": 27,
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "out_hidden_size": 4096,
                "deepstack_visual_indexes": [8, 16, 24],
            },
            tied=False,
            pixels=(65_536, 16_777_216),
            parameters=8_767_123_696,
        ),
    )
}


def small(shape: Shape) -> Shape:
    """Return the same kind of architecture with two narrow layers; the vocabulary is the same."""
    rope = shape.text["rope_parameters"]
    text = {
        **shape.text,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {**rope, "mrope_section": [n // 2 for n in rope["mrope_section"]]},
    }
    if "head_dim" in text:
        text["head_dim"] = 64
    vision = {
        **shape.vision,
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": 128,
    }
    if "fullatt_block_indexes" in vision:
        vision["fullatt_block_indexes"] = [1]
    else:
        vision["deepstack_visual_indexes"] = [0]
    name = f"{shape.name}, scaled down"
    return replace(shape, name=name, text=text, vision=vision, parameters=None)


def linear_layers(model: Any, part: str) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of each matrix in the parts of the model whose names begin with
    these."""
    found = []
    for name, module in model.named_modules():
        if not name.startswith(part):
            continue
        if isinstance(module, nn.Linear):
            found.append((module.in_features, module.out_features))
        elif isinstance(module, nn.Conv3d):  # its stride is its kernel: one matrix
            found.append((module.weight[0].numel(), module.out_channels))
    return found
