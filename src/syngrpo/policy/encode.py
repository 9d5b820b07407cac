"""From a sample and its prompt text to the tensors a model reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from syngrpo.boxes import CoordinateFrame
from syngrpo.policy.loading import Policy
from syngrpo.sample import InputError, Sample

MAX_ASPECT_RATIO = 200
"""Qwen's image processors refuse anything longer."""

OPENED_THINKING = re.compile(r"<think>\s*(</think>\s*)?\Z")
"""What templates of thinking models put behind the generation prompt."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One image and its question, encoded; tensors stay on the CPU.

    ``input_ids`` int64 (P,) with one placeholder per image feature; ``pixel_values`` float
    (patches, d); ``image_grid_thw`` int64 (1, 3), patches in time, height, width; ``frame``
    relates the coordinates the model writes to the original pixels.
    """

    sample_id: str
    input_ids: torch.Tensor
    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor
    frame: CoordinateFrame


def encode(policy: Policy, sample: Sample, text: str) -> Prompt:
    """Decodes the sample's image and wraps it and ``text`` into the model's chat template.

    A ``<think>`` with which the template begins the answer is left out: responses write all their
    parts themselves. Raises InputError for an image that cannot be decoded or is too elongated.
    """
    pixels = sample.image.decode().copy()  # the processor wants an array it may write to
    height, width = pixels.shape[:2]
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise InputError(
            f"image of sample {sample.id} is {width}x{height}, more than {MAX_ASPECT_RATIO} times "
            "as long as wide; crop it"
        )
    content = [{"type": "image"}, {"type": "text", "text": text}]
    chat = policy.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    chat = OPENED_THINKING.sub("", chat)
    tensors = policy.processor(text=[chat], images=[pixels], return_tensors="pt")
    grid = tensors["image_grid_thw"]
    frame = policy.family.frame(width, height, grid, policy.processor.image_processor)
    return Prompt(sample.id, tensors["input_ids"][0], tensors["pixel_values"], grid, frame)
