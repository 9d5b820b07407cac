"""Makes a checkpoint with random weights, and the real processor around a stand-in tokenizer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import AddedToken, pre_tokenizers

from benchmarks.gpu_step.shapes import Shape

ORDINARY = 151_643
"""Number of tokens before the special ones, as in the published tokenizers."""

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""The special tokens in the order of their ids, as in the published tokenizers."""

CHAT_TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def stand_in_tokenizer() -> Any:
    """Make a tokenizer with as many tokens as the published one, and the special ones at the same
    ids. An ordinary token is one, two or three bytes; as there are no merges, text is read byte by
    byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    strings = ("".join(c) for n in (1, 2, 3) for c in itertools.product(alphabet, repeat=n))
    texts = [*itertools.islice(strings, ORDINARY), *SPECIAL]
    vocabulary = {text: i for i, text in enumerate(texts)}
    tokenizer = hf.Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
    tokens = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    tokenizer.add_tokens(tokens, special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_processor(shape: Shape) -> Any:
    """Make the family's own processor, with its own way to resize images."""
    least, most = shape.pixels
    sizes = {
        "patch_size": shape.vision["patch_size"],
        "merge_size": shape.vision["spatial_merge_size"],
        "temporal_patch_size": shape.vision["temporal_patch_size"],
        "size": {"shortest_edge": least, "longest_edge": most},
    }
    newer = shape.kind is hf.Qwen3VLForConditionalGeneration
    kind = hf.Qwen3VLProcessor if newer else hf.Qwen2_5_VLProcessor
    video = hf.Qwen3VLVideoProcessor if newer else hf.Qwen2VLVideoProcessor
    return kind(
        image_processor=hf.Qwen2VLImageProcessor(**sizes),
        tokenizer=stand_in_tokenizer(),
        video_processor=video(**sizes),
        chat_template=CHAT_TEMPLATE,
    )


def save_checkpoint(shape: Shape, directory: Path, device: torch.device) -> None:
    """Save weights as the architecture initialises them, in bfloat16; they are drawn on
    ``device``."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = shape.kind(shape.config)
    finally:
        torch.set_default_dtype(default)
    model.generation_config.eos_token_id = shape.config.text_config.eos_token_id
    model.generation_config.pad_token_id = shape.config.text_config.pad_token_id
    model.save_pretrained(directory)
    build_processor(shape).save_pretrained(directory)
