"""Tiny random-weight checkpoints of real architectures, in Hugging Face format, for tests.

The Qwen2.5-VL architecture, processor, special tokens and chat template are the real ones; only the
sizes and the byte-level BPE vocabulary are small.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from syngrpo.sample import EncodedImage, Sample

QWEN_SPECIAL_TOKENS = (
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
)

QWEN_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

THINK_TOKENS = ("<think>", "</think>")
"""Tokens of their own since Qwen3, but ordinary text: decoding keeps them."""

CORPUS = (
    "<think>the small red lamp is left of the sofa</think>",
    '<answer>{"bbox_2d": [12, 34, 56, 78]}</answer>',
    "<scene>a bright room with a striped rug, green walls and morning light</scene>",
    "Find the blue chair. Die Äpfel sind rot, das Sofa ist grün. 椅子在沙发左边 🪑 🛋️",
)


@dataclass(frozen=True)
class TinyShape:
    """Sizes of a tiny Qwen2.5-VL. ``window`` is in pixels, 0 for full attention in every block."""

    patch: int = 8
    merge: int = 2
    window: int = 32
    hidden: int = 32
    intermediate: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vision_hidden: int = 32
    vision_intermediate: int = 48
    vision_depth: int = 2
    vision_heads: int = 2
    vocabulary: int = 400
    tie_word_embeddings: bool = True
    max_image_pixels: int = 512 * 512


def build_tokenizer(
    vocabulary: int = 400,
    kind: type[Any] = Qwen2Tokenizer,
    think_tokens: bool = False,
    special_tokens: dict[str, str] | None = None,
) -> Any:
    """A byte-level BPE tokenizer with Qwen's special tokens; a few merges learned from CORPUS.

    ``special_tokens`` are further ones, by the name of the tokenizer's attribute for each.
    """
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(QWEN_SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(CORPUS, trainer)
    learned = learner.model
    vocab = {learned.id_to_token(i): i for i in range(learner.get_vocab_size())}
    tokenizer = kind(
        vocab=vocab,
        merges=_merges(learner),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        **({"extra_special_tokens": special_tokens} if special_tokens else {}),
    )
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in QWEN_SPECIAL_TOKENS],
        special_tokens=True,
    )
    if think_tokens:
        tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in THINK_TOKENS])
    tokenizer.chat_template = QWEN_CHAT_TEMPLATE
    return tokenizer


def _merges(learner: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]


def build_processor(shape: TinyShape) -> Qwen2_5_VLProcessor:
    """The real processor: dynamic resizing to multiples of patch x merge pixels."""
    factor = shape.patch * shape.merge
    sizes = {
        "patch_size": shape.patch,
        "merge_size": shape.merge,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": factor * factor, "longest_edge": shape.max_image_pixels},
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        tokenizer=build_tokenizer(shape.vocabulary),
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=QWEN_CHAT_TEMPLATE,
    )


def _mrope_sections(head_dim: int) -> list[int]:
    half = head_dim // 2
    spatial = half * 3 // 8
    return [half - 2 * spatial, spatial, spatial]


def build_config(shape: TinyShape, tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """The model configuration that fits the tokenizer's special tokens."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_SPECIAL_TOKENS}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": _mrope_sections(shape.hidden // shape.heads),
        },
        "tie_word_embeddings": shape.tie_word_embeddings,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": shape.vision_depth,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_intermediate,
        "num_heads": shape.vision_heads,
        "out_hidden_size": shape.hidden,
        "patch_size": shape.patch,
        "spatial_merge_size": shape.merge,
        "temporal_patch_size": 2,
        "window_size": shape.window or shape.patch * shape.merge,
        "fullatt_block_indexes": [
            i for i in range(shape.vision_depth) if i % 2 == 1 or not shape.window
        ],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=shape.tie_word_embeddings,
    )


def save_tiny_qwen(directory: Path, shape: TinyShape | None = None, seed: int = 0) -> Path:
    """Writes a random Qwen2.5-VL checkpoint (weights, config, processor, tokenizer); returns it.

    Weights and biases are drawn larger than the initialiser's so that distributions are not flat
    and every part of the model matters.
    """
    shape = shape or TinyShape()
    processor = build_processor(shape)
    config = build_config(shape, processor.tokenizer)
    return save_random(directory, Qwen2_5_VLForConditionalGeneration, config, processor, seed)


def save_random(
    directory: Path, kind: type[Any], config: Any, processor: Any, seed: int = 0
) -> Path:
    """Writes a checkpoint of a model class with random weights, and its processor; returns it."""
    torch.manual_seed(seed)
    model = kind(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                fan_in = parameter.shape[-1] if "experts" in name else parameter[0].numel()
                scale = 0.5 if "embed_tokens" in name else 1.2 / fan_in**0.5
                parameter.normal_(0.0, scale, generator=generator)
            elif "norm" not in name and "ln_q" not in name:
                parameter.normal_(0.0, 0.1, generator=generator)
    eos = [processor.tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = eos[1]
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def random_image(width: int, height: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3): smooth random colours, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    rows = np.arange(height) * 4 // height
    columns = np.arange(width) * 4 // width
    noise = rng.integers(-20, 20, size=(height, width, 3))
    return np.clip(coarse[rows][:, columns].astype(int) + noise, 0, 255).astype(np.uint8)


def random_sample(width: int, height: int, seed: int = 0) -> Sample:
    """A REC sample with a random image; its box is the left half."""
    image = EncodedImage.from_pixels(random_image(width, height, seed))
    box = (0.0, 0.0, width / 2, float(height))
    return Sample(f"sample-{seed}", "rec", image, "the lamp", box, ())
