"""Builds the starter before training: vocabulary, tokenizer, processor, and a model with random
weights.

The classes are ``Qwen2_5_VLForConditionalGeneration`` and ``Qwen2_5_VLProcessor`` of transformers;
only the sizes differ. The bases of the rotary position embeddings are smaller than usual, because
the sequences are short: mRoPE gives the horizontal axis the lowest frequencies of a head, and with
the usual base these are too low to tell neighbouring columns of an 8 x 8 grid apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from syngrpo_rooms.closed_questions import closed_question_words
from syngrpo_rooms.descriptions import description_words, room_words
from syngrpo_rooms.object_questions import referring_words

IMAGE_SIZE = 128
"""Side in pixels of the pictures that the starter is trained on."""
PATCH = 16
"""Side in pixels of a patch of the vision tower."""
MERGE = 1
"""Number of patches along each side that are merged into one visual token."""
GRID = IMAGE_SIZE // (PATCH * MERGE)
"""Number of visual tokens along each side of a picture."""
LARGEST_NUMBER = 224
"""Each number from 0 to this one is a single token."""

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
FORMAT_TOKENS = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<scene>",
    "</scene>",
    '{"bbox_2d": [',
    "]}",
    '[{"bbox_2d": [',
    '], "label": "',
    '"}, {"bbox_2d": [',
    '"}]',
]
"""Parts of the response format that are single tokens."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The layout of a conversation, as a Jinja template."""


def vocabulary(whole_range: bool = True) -> list[str]:
    """Return every word of the world's questions, answers and descriptions, in lower case and
    sorted.

    Without ``whole_range``, descriptions speak of the room alone.
    """
    described = description_words() if whole_range else room_words()
    return sorted(referring_words() | closed_question_words() | described)


def build_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Build a byte-level BPE tokenizer in which each given word and each number 0-224 is one token.

    Text with other words is encoded in smaller pieces, down to single bytes, so that every phrase
    of a user can be encoded. Raises ValueError if a given word does not become a single token.
    """
    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(r", |\d+| ?[A-Za-z]+|\n|[^\sA-Za-z\d]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [str(n) for n in range(LARGEST_NUMBER + 1)] + [", ", "user", "assistant"]
    for word in words:
        corpus += [word, f" {word}"]
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL_TOKENS if "im_end" not in t],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.add_tokens(FORMAT_TOKENS)
    broken = [text for text in corpus if len(fast.encode(text)) != 1]
    if broken:
        raise ValueError(f"these texts are not single tokens: {broken[:10]}")
    return fast


def build_processor(words: list[str]) -> Qwen2_5_VLProcessor:
    """Build the processor, with a tokenizer for the given words. It resizes every picture to about
    ``IMAGE_SIZE`` x ``IMAGE_SIZE`` pixels, with sides that are multiples of ``PATCH``."""
    tokenizer = build_tokenizer(words)
    sizes: dict[str, Any] = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": IMAGE_SIZE**2, "longest_edge": IMAGE_SIZE**2},
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """Build the model with random weights: about 3.9 million parameters."""
    token: Callable[[str], Any] = tokenizer.convert_tokens_to_ids
    width = 192
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 416,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 20.0,
                "mrope_section": [4, 6, 6],
            },
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        vision_config={
            "depth": 5,
            "hidden_size": width,
            "intermediate_size": 416,
            "num_heads": 6,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": IMAGE_SIZE,
            "out_hidden_size": width,
            "fullatt_block_indexes": [0, 1, 2, 3, 4],
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token("<|im_end|>")
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model


def save(
    model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, directory: Path
) -> None:
    """Write model and processor in Hugging Face format, which transformers loads without this
    package."""
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
