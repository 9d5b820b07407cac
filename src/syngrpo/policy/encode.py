"""From a sample and its prompt text to the tensors a model reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch

from syngrpo.boxes import CoordinateFrame
from syngrpo.policy.families.base import ImageFeatures
from syngrpo.policy.loading import Policy
from syngrpo.sample import InputError, Sample

MAX_ASPECT_RATIO = 200
"""Qwen's image processors refuse anything longer."""

ROUNDING = 2
"""How much larger than the largest area a resized image may be: its sides are whole tokens."""

OPENED_THINKING = re.compile(r"<think>\s*(</think>\s*)?\Z")
"""What templates of thinking models put behind the generation prompt."""


@dataclass(eq=False)
class Prompt:
    """One image and its question, encoded; tensors stay on the CPU.

    ``input_ids`` int64 (P,) with one placeholder per image feature; ``patches`` uint8 (patches, 3,
    side, side), the resized image cut up in the order of the vision tower (``vision.pixel_values``
    makes its input of them); ``image_grid_thw`` int64 (1, 3), patches in time, height, width;
    ``frame`` relates the coordinates the model writes to the original pixels. ``features`` are
    filled in, on the model's device, when a frozen vision tower has seen the image
    (``vision.see``).
    """

    sample_id: str
    input_ids: torch.Tensor
    patches: torch.Tensor
    image_grid_thw: torch.Tensor
    frame: CoordinateFrame
    features: ImageFeatures | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PromptSize:
    """Tokens of a prompt, and how many of them are its image's."""

    tokens: int
    image: int


def encode(policy: Policy, sample: Sample, text: str) -> Prompt:
    """Decodes the sample's image and wraps it and ``text`` into the model's chat template.

    A ``<think>`` with which the template begins the answer is left out: responses write all their
    parts themselves. Raises InputError for an image that cannot be decoded, is too elongated, or
    has more tokens than ``model.max_pixels`` allows.
    """
    _image_tokens(policy, sample)
    pixels = sample.image.decode().copy()  # the processor wants an array it may write to
    height, width = pixels.shape[:2]
    processor = policy.processor.image_processor
    image = processor(
        images=[pixels],
        do_rescale=False,
        do_normalize=False,
        temporal_patch_size=1,  # a still picture is repeated in time, on the device
        return_tensors="pt",
    )
    patches, grid = image["pixel_values"], image["image_grid_thw"]
    side = processor.patch_size
    return Prompt(
        sample_id=sample.id,
        input_ids=_placed(policy, _chat(policy, text), int(grid.prod()) // processor.merge_size**2),
        patches=patches.unflatten(1, (-1, side, side)),
        image_grid_thw=grid,
        frame=policy.family.frame(width, height, grid, processor),
    )


def prompt_size(policy: Policy, sample: Sample, text: str) -> PromptSize:
    """What ``encode`` would give, from the size of the image alone; nothing is decoded.

    Raises InputError as ``encode`` does, for all but an image that cannot be decoded.
    """
    image = _image_tokens(policy, sample)
    placeholder = 1
    return PromptSize(
        len(policy.tokenizer(_chat(policy, text)).input_ids) - placeholder + image, image
    )


def size_of(policy: Policy, prompt: Prompt) -> PromptSize:
    """The size of a prompt that is encoded already."""
    merged = policy.processor.image_processor.merge_size**2
    return PromptSize(len(prompt.input_ids), int(prompt.image_grid_thw.prod()) // merged)


def require_context(policy: Policy, sample_id: str, size: PromptSize, max_new_tokens: int) -> None:
    """Raises InputError where prompt and response would be longer than the model's context."""
    context = policy.base.config.text_config.max_position_embeddings
    room = context - size.tokens
    if max_new_tokens <= room:
        return
    problem = (
        f"the prompt of sample {sample_id} has {size.tokens} tokens, {size.image} of them its "
        f"image's; with rollout.max_new_tokens {max_new_tokens} that is more than the model's "
        f"context of {context}"
    )
    pixels = (size.image + room - max_new_tokens) * _pixels_per_token(policy)
    ways = [f"set rollout.max_new_tokens to {room}"] if room > 0 else []
    ways += [f"set model.max_pixels to {pixels}"] if pixels > 0 else []
    raise InputError(f"{problem}; {' or '.join(ways) or 'shorten its question'}")


def _chat(policy: Policy, text: str) -> str:
    content = [{"type": "image"}, {"type": "text", "text": text}]
    chat = policy.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return OPENED_THINKING.sub("", chat)


def _placed(policy: Policy, chat: str, image_tokens: int) -> torch.Tensor:
    """Token ids of ``chat``, its one placeholder repeated for every feature of the image."""
    ids = torch.tensor(policy.tokenizer(chat).input_ids)
    placeholder = ids == policy.base.config.image_token_id
    return ids.repeat_interleave(torch.where(placeholder, image_tokens, 1))


def _image_tokens(policy: Policy, sample: Sample) -> int:
    """How many tokens the sample's image becomes."""
    width, height = sample.image.width, sample.image.height
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise InputError(
            f"image of sample {sample.id} is {width}x{height}, more than {MAX_ASPECT_RATIO} times "
            "as long as wide; crop it"
        )
    processor = policy.processor.image_processor

    def tokens(max_pixels: int) -> int:
        limit = {"max_pixels": max_pixels}
        patches = processor.get_number_of_image_patches(height, width, limit)
        return int(patches) // processor.merge_size**2

    # Resizing keeps long images one token wide and small ones at the model's least size.
    each, allowed = _pixels_per_token(policy), processor.size["longest_edge"]
    fitting = allowed
    while tokens(fitting) * each > ROUNDING * fitting:
        fitting = tokens(fitting) * each
    if fitting > allowed:
        raise InputError(
            f"image of sample {sample.id} ({width}x{height}) needs {tokens(allowed)} tokens where "
            f"model.max_pixels {allowed} allows {allowed // each}; set model.max_pixels to "
            f"{fitting} or more"
        )
    return tokens(allowed)


def _pixels_per_token(policy: Policy) -> int:
    """Area of the resized image that becomes one token."""
    processor = policy.processor.image_processor
    return int(processor.patch_size * processor.merge_size) ** 2
