"""Turns a sample and its prompt text into the tensors that a model reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jinja2 import TemplateError

from syngrpo.boxes import CoordinateFrame
from syngrpo.policy.families.base import ImageFeatures, PromptSize
from syngrpo.policy.kept_prompts import KeptPrompt
from syngrpo.policy.model import Policy
from syngrpo.sample import InputError, Sample
from syngrpo.serving.wording import first_line

OPENED_THINKING = re.compile(r"<think>\s*(</think>\s*)?\Z")
"""The end of a prompt by the chat templates of thinking models."""

RELATIVE = {"0-1000": 1000.0, "0-1": 1.0}
"""The largest value of each kind of relative coordinates, along both sides of an image."""


@dataclass(eq=False)
class Prompt:
    """One image and its question, encoded; tensors stay on the CPU.

    ``input_ids`` int64 (P,) with one placeholder per image feature; ``image`` are the tensors from
    which the model's family reads the image (``Encoded.image``); ``frame`` relates the coordinates
    the model writes to the original pixels. ``features``, on the model's device, are the output of
    a frozen vision tower, kept from its first pass over the image (``forward.image_features``).
    ``going_on``: the first so many responses to it go on after ``Sampling.stop_at``. ``question``
    is the text that the chat template wraps, for servers that apply the template themselves.
    ``will_train``: the weights that sample will be updated from the responses, so that the native
    rollout may leave its forward pass in ``kept`` (``kept_prompts``).
    """

    sample_id: str
    input_ids: torch.Tensor
    image: dict[str, torch.Tensor]
    frame: CoordinateFrame
    features: ImageFeatures | None = field(default=None, repr=False)
    going_on: int = 0
    question: str = field(default="", repr=False)
    will_train: bool = False
    kept: KeptPrompt | None = field(default=None, repr=False)


def encode(policy: Policy, sample: Sample, text: str) -> Prompt:
    """Decode the sample's image and wrap it and ``text`` into the model's chat template.

    A ``<think>`` at the end of the template is left out, because the model writes it itself. Raises
    InputError for an image that cannot be decoded, is too elongated, or has more tokens than
    ``model.max_pixels`` allows.
    """
    encoded = policy.family.read(policy.processor, policy.base.config, sample, _chat(policy, text))
    size = sample.image.width, sample.image.height
    frame = _frame(policy, *size, encoded.resized)
    return Prompt(sample.id, encoded.input_ids, encoded.image, frame, question=text)


def prompt_size(policy: Policy, sample: Sample, text: str) -> PromptSize:
    """Return ``size_of(encode(…))`` without decoding the image.

    Raises InputError as ``encode`` does, except for an image that cannot be decoded.
    """
    return policy.family.size(policy.processor, policy.base.config, sample, _chat(policy, text))


def size_of(policy: Policy, prompt: Prompt) -> PromptSize:
    """Return the size of a prompt that is encoded already."""
    image = int((prompt.input_ids == policy.base.config.image_token_id).sum())
    return PromptSize(len(prompt.input_ids), image)


def change_pixels(
    policy: Policy, prompt: Prompt, change: Callable[[torch.Tensor], torch.Tensor]
) -> Prompt:
    """Return the prompt with other colours in its image; see ``Family.change_pixels``."""
    image = policy.family.change_pixels(prompt.image, policy.processor.image_processor, change)
    return replace(prompt, image=image, features=None, will_train=False, kept=None)


def require_context(policy: Policy, sample_id: str, size: PromptSize, max_new_tokens: int) -> None:
    """Raise InputError when prompt and response would be longer than the model's context."""
    context = policy.base.config.get_text_config().max_position_embeddings
    room = context - size.tokens
    if max_new_tokens <= room:
        return
    problem = (
        f"the prompt of sample {sample_id} has {size.tokens} tokens, {size.image} of them its "
        f"image's; with rollout.max_new_tokens {max_new_tokens} that is more than the model's "
        f"context of {context}"
    )
    each = policy.family.pixels_per_token(policy.processor.image_processor)
    pixels = (size.image + room - max_new_tokens) * (each or 0)
    ways = [f"set rollout.max_new_tokens to {room}"] if room > 0 else []
    ways += [f"set model.max_pixels to {pixels}"] if pixels > 0 else []
    raise InputError(f"{problem}; {' or '.join(ways) or 'shorten its question'}")


def chat_text(processor: Any, model: str, text: str) -> str:
    """Return the text of the chat template around an image and ``text``. ``model`` is the model's
    name for messages. Raises InputError when the template takes no image."""
    content = [{"type": "image"}, {"type": "text", "text": text}]
    try:
        chat: str = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
    except (TemplateError, TypeError, ValueError) as error:
        reason = first_line(error)
        raise InputError(
            f"the chat template of {model} takes no image and text ({reason}); "
            "use an instruction-tuned model"
        ) from None
    return OPENED_THINKING.sub("", chat)


def _chat(policy: Policy, text: str) -> str:
    return chat_text(policy.processor, policy.base.name_or_path, text)


def _frame(
    policy: Policy, width: int, height: int, resized: tuple[int, int] | None
) -> CoordinateFrame:
    """Return the coordinate frame in which the model writes boxes of an image of ``width`` x
    ``height`` pixels."""
    kind = policy.coordinates
    if kind in RELATIVE:
        return CoordinateFrame(RELATIVE[kind], RELATIVE[kind], width, height)
    if kind == "pixels":
        return CoordinateFrame(float(width), float(height), width, height)
    if resized is None:
        raise InputError(
            f"model.coordinates is resized, but the processor of {policy.base.name_or_path} cuts, "
            "pads or crops images instead of resizing them; use pixels, 0-1000 or 0-1"
        )
    return CoordinateFrame(float(resized[0]), float(resized[1]), width, height)
