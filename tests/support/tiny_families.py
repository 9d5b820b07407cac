"""Tiny random-weight checkpoints of every supported family: the real classes, small sizes.

Chat templates are the published ones, as TRL carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers as hf
from tiny_models import QWEN_SPECIAL_TOKENS, build_tokenizer, save_random


@dataclass(frozen=True)
class TinyFamily:
    """The parts of one checkpoint. ``patch`` is in pixels, as the published models have it."""

    model: Any
    config: Any
    processor: Any
    video_processor: Any
    tokenizer: Any
    template: str
    patch: int
    text: dict[str, Any]
    vision: dict[str, Any]


HIDDEN = 32

_TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1],
    },
}
_WINDOWS = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
_INTERLEAVED = {"rope_parameters": {**_TEXT["rope_parameters"], "mrope_interleaved": True}}
_QWEN3 = {**_TEXT, **_INTERLEAVED, "head_dim": 8}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_HYBRID = {
    **_QWEN3,
    "head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
    "partial_rotary_factor": 0.5,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_HYBRID["rope_parameters"] = {**_QWEN3["rope_parameters"], "partial_rotary_factor": 0.5}

_QWEN2_VISION = {"depth": 2, "embed_dim": 32, "hidden_size": HIDDEN, "num_heads": 2, "mlp_ratio": 2}
_QWEN25_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": HIDDEN,
    "window_size": 56,
    "fullatt_block_indexes": [1],
}
_QWEN35_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": HIDDEN,
    "num_position_embeddings": 16,
}
_QWEN3_VISION = {**_QWEN35_VISION, "deepstack_visual_indexes": [0, 1]}

_OLD = (hf.Qwen2VLVideoProcessor, hf.Qwen2Tokenizer, "qwen2_5_vl", 14)
_NEW = (hf.Qwen3VLProcessor, hf.Qwen3VLVideoProcessor)

TINY: dict[str, TinyFamily] = {
    "qwen2_vl": TinyFamily(
        hf.Qwen2VLForConditionalGeneration,
        hf.Qwen2VLConfig,
        hf.Qwen2VLProcessor,
        *_OLD,
        _TEXT,
        _QWEN2_VISION,
    ),
    "qwen2_5_vl": TinyFamily(
        hf.Qwen2_5_VLForConditionalGeneration,
        hf.Qwen2_5_VLConfig,
        hf.Qwen2_5_VLProcessor,
        *_OLD,
        _TEXT,
        _QWEN25_VISION,
    ),
    "qwen2_5_vl sliding": TinyFamily(
        hf.Qwen2_5_VLForConditionalGeneration,
        hf.Qwen2_5_VLConfig,
        hf.Qwen2_5_VLProcessor,
        *_OLD,
        {**_TEXT, **_WINDOWS},
        _QWEN25_VISION,
    ),
    "qwen3_vl": TinyFamily(
        hf.Qwen3VLForConditionalGeneration,
        hf.Qwen3VLConfig,
        *_NEW,
        hf.Qwen2Tokenizer,
        "qwen3_vl",
        16,
        _QWEN3,
        _QWEN3_VISION,
    ),
    "qwen3_vl_moe": TinyFamily(
        hf.Qwen3VLMoeForConditionalGeneration,
        hf.Qwen3VLMoeConfig,
        *_NEW,
        hf.Qwen2Tokenizer,
        "qwen3_vl",
        16,
        {**_QWEN3, **_EXPERTS},
        _QWEN3_VISION,
    ),
    "qwen3_5": TinyFamily(
        hf.Qwen3_5ForConditionalGeneration,
        hf.Qwen3_5Config,
        *_NEW,
        hf.Qwen3_5Tokenizer,
        "qwen3_5_think",
        16,
        _HYBRID,
        _QWEN35_VISION,
    ),
    "qwen3_5_moe": TinyFamily(
        hf.Qwen3_5MoeForConditionalGeneration,
        hf.Qwen3_5MoeConfig,
        *_NEW,
        hf.Qwen3_5Tokenizer,
        "qwen3_5_nothink",
        16,
        {**_HYBRID, **_EXPERTS, "shared_expert_intermediate_size": 16},
        _QWEN35_VISION,
    ),
}
"""One of every ``model_type``, and one whose second layer sees a short window only."""


def save_tiny(directory: Path, name: str) -> Path:
    """Writes a random checkpoint of ``TINY[name]``; returns the directory."""
    family = TINY[name]
    tokenizer = build_tokenizer(kind=family.tokenizer, think_tokens=family.patch == 16)
    processor = _processor(family, tokenizer)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_SPECIAL_TOKENS}
    config = family.config(
        text_config={
            **family.text,
            "vocab_size": len(tokenizer) + 5,  # Qwen's embedding matrices have spare rows
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            **family.vision,
            "patch_size": family.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    return save_random(directory, family.model, config, processor)


def _processor(family: TinyFamily, tokenizer: Any) -> Any:
    sizes = {
        "patch_size": family.patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": (2 * family.patch) ** 2, "longest_edge": 256 * 256},
    }
    return family.processor(
        image_processor=hf.Qwen2VLImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=family.video_processor(**sizes),
        chat_template=published_template(family.template),
    )


def published_template(name: str) -> str:
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    file = Path(spec.origin).parent / "chat_templates" / f"{name}.jinja"
    return file.read_text(encoding="utf-8")
