"""Tiny random-weight checkpoints of models that are called whole: the real classes, small sizes.

Processors and special tokens are the real ones; the tokenizer is the small one of ``tiny_models``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers as hf
from tiny_families import published_template
from tiny_models import build_tokenizer, save_random

HIDDEN = 32

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}IMAGE\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GLM = (
    "[gMASK]<sop>{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|begin_of_image|><|image|><|end_of_image|>{% else %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n<think>{% endif %}"
)

_TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@dataclass(frozen=True)
class TinyGeneric:
    """The parts of one checkpoint.

    ``tokens``: names of the tokenizer's attributes and their special tokens; ``processor`` makes
    the processor of a tokenizer; ``config`` the configuration from the vocabulary's size and the
    ids of the special tokens. ``coordinates``: what a user has to say, None for known ones.
    """

    model: Any
    tokens: dict[str, str]
    processor: Callable[[Any], Any]
    config: Callable[[int, Callable[[str], int]], Any]
    coordinates: str | None
    tiles: bool
    """Whether larger images become more tiles of one size."""


def _internvl_processor(tokenizer: Any) -> Any:
    images = hf.GotOcr2ImageProcessor(size={"height": 32, "width": 32}, max_patches=6)
    videos = hf.InternVLVideoProcessor(size={"height": 32, "width": 32})
    return hf.InternVLProcessor(
        images,
        tokenizer,
        videos,
        image_seq_length=4,
        chat_template=CHATML.replace("IMAGE", "<IMG_CONTEXT>"),
    )


def _internvl_config(vocabulary: int, number: Callable[[str], int]) -> Any:
    return hf.InternVLConfig(
        vision_config={**_TOWER, "image_size": 32, "patch_size": 8, "layer_scale_init_value": 0.5},
        text_config={"model_type": "qwen3", **_TEXT, "vocab_size": vocabulary, "head_dim": 8},
        image_token_id=number("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )


def _glm_processor(tokenizer: Any) -> Any:
    sizes = {"size": {"shortest_edge": 28 * 28 * 2, "longest_edge": 2 * 256 * 256}}
    return hf.Glm4vProcessor(
        hf.Glm4vImageProcessor(**sizes),
        tokenizer,
        hf.Glm4vVideoProcessor(**sizes),
        chat_template=GLM,
    )


def _glm_config(vocabulary: int, number: Callable[[str], int]) -> Any:
    return hf.Glm4vConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "image_size": 56,
        },
        text_config={
            **_TEXT,
            "vocab_size": vocabulary,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 1, 2],
                "partial_rotary_factor": 1.0,
            },
        },
        image_token_id=number("<|image|>"),
        video_token_id=number("<|video|>"),
        image_start_token_id=number("<|begin_of_image|>"),
        image_end_token_id=number("<|end_of_image|>"),
        video_start_token_id=number("<|begin_of_video|>"),
        video_end_token_id=number("<|end_of_video|>"),
    )


def _glm46_processor(tokenizer: Any) -> Any:
    sizes = {"size": {"shortest_edge": 28 * 28 * 2, "longest_edge": 2 * 256 * 256}}
    return hf.Glm46VProcessor(
        hf.Glm46VImageProcessor(**sizes),
        tokenizer,
        hf.Glm46VVideoProcessor(**sizes),
        chat_template=GLM,
    )


def _glm46_config(vocabulary: int, number: Callable[[str], int]) -> Any:
    old = _glm_config(vocabulary, number)
    return hf.Glm46VConfig(
        vision_config=old.vision_config.to_dict(),
        text_config=old.text_config.to_dict(),
        image_token_id=number("<|image|>"),
        video_token_id=number("<|video|>"),
    )


def _gemma_processor(tokenizer: Any) -> Any:
    images = hf.Gemma3ImageProcessor(size={"height": 32, "width": 32})
    template = published_template("gemma3")
    return hf.Gemma3Processor(images, tokenizer, chat_template=template, image_seq_length=4)


def _gemma_config(vocabulary: int, number: Callable[[str], int]) -> Any:
    return hf.Gemma3Config(
        text_config={
            **_TEXT,
            "head_dim": 8,
            "vocab_size": vocabulary,
            "sliding_window": 9,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 8,
        },
        vision_config={**_TOWER, "image_size": 32, "patch_size": 8, "vision_use_head": False},
        mm_tokens_per_image=4,
        boi_token_index=number("<start_of_image>"),
        eoi_token_index=number("<end_of_image>"),
        image_token_index=number("<image_soft_token>"),
        tie_word_embeddings=True,
    )


def _smolvlm_processor(tokenizer: Any) -> Any:
    images = hf.Idefics3ImageProcessor(
        size={"longest_edge": 96}, max_image_size={"longest_edge": 32}
    )
    template = published_template("smolvlm")
    return hf.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=template)


def _smolvlm_config(kind: Any) -> Callable[[int, Callable[[str], int]], Any]:
    def config(vocabulary: int, number: Callable[[str], int]) -> Any:
        return kind(
            vision_config={**_TOWER, "image_size": 32, "patch_size": 8},
            text_config={
                "model_type": "llama",
                **_TEXT,
                "vocab_size": vocabulary,
                "pad_token_id": number("<|endoftext|>"),
            },
            image_token_id=number("<image>"),
            scale_factor=2,
            tie_word_embeddings=False,
        )

    return config


PINPOINTS = [[32, 32], [32, 64], [64, 32], [64, 64], [32, 96]]


def _onevision_processor(tokenizer: Any) -> Any:
    images = hf.LlavaOnevisionImageProcessor(
        size={"height": 32, "width": 32}, image_grid_pinpoints=PINPOINTS
    )
    return hf.LlavaOnevisionProcessor(
        images,
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=CHATML.replace("IMAGE", "<image>"),
    )


def _onevision_config(vocabulary: int, number: Callable[[str], int]) -> Any:
    return hf.LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            **_TOWER,
            "image_size": 32,
            "patch_size": 8,
            "vision_use_head": False,
        },
        text_config={"model_type": "qwen2", **_TEXT, "vocab_size": vocabulary},
        image_token_index=number("<image>"),
        video_token_index=number("<video>"),
        image_grid_pinpoints=PINPOINTS,
    )


_GLM_TOKENS = {
    "image_token": "<|image|>",
    "video_token": "<|video|>",
    "image_start_token": "<|begin_of_image|>",
    "image_end_token": "<|end_of_image|>",
    "video_start_token": "<|begin_of_video|>",
    "video_end_token": "<|end_of_video|>",
}
_SMOLVLM_TOKENS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}

GENERIC: dict[str, TinyGeneric] = {
    "internvl": TinyGeneric(
        hf.InternVLForConditionalGeneration,
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        _internvl_processor,
        _internvl_config,
        None,
        tiles=True,
    ),
    "glm4v": TinyGeneric(
        hf.Glm4vForConditionalGeneration,
        _GLM_TOKENS,
        _glm_processor,
        _glm_config,
        None,
        tiles=False,
    ),
    "glm46v": TinyGeneric(
        hf.Glm46VForConditionalGeneration,
        _GLM_TOKENS,
        _glm46_processor,
        _glm46_config,
        None,
        tiles=False,
    ),
    "gemma3": TinyGeneric(
        hf.Gemma3ForConditionalGeneration,
        {
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        _gemma_processor,
        _gemma_config,
        "0-1000",
        tiles=False,
    ),
    "idefics3": TinyGeneric(
        hf.Idefics3ForConditionalGeneration,
        _SMOLVLM_TOKENS,
        _smolvlm_processor,
        _smolvlm_config(hf.Idefics3Config),
        "pixels",
        tiles=True,
    ),
    "smolvlm": TinyGeneric(
        hf.SmolVLMForConditionalGeneration,
        _SMOLVLM_TOKENS,
        _smolvlm_processor,
        _smolvlm_config(hf.SmolVLMConfig),
        "0-1",
        tiles=True,
    ),
    "llava_onevision": TinyGeneric(
        hf.LlavaOnevisionForConditionalGeneration,
        {"image_token": "<image>", "video_token": "<video>"},
        _onevision_processor,
        _onevision_config,
        "0-1",
        tiles=True,
    ),
}
"""By ``model_type``. SmolVLM has the processor of its first version, that of the second needs one
more package."""


def save_generic(directory: Path, name: str) -> Path:
    """Writes a random checkpoint of ``GENERIC[name]``; returns the directory."""
    tiny = GENERIC[name]
    tokenizer = build_tokenizer(special_tokens=tiny.tokens)
    config = tiny.config(len(tokenizer) + 5, tokenizer.convert_tokens_to_ids)
    return save_random(directory, tiny.model, config, tiny.processor(tokenizer))
