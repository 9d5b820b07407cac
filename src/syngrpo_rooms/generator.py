"""The generator ``rooms``: paints the described room around the kept objects.

It needs no weights and a few milliseconds for a picture, so that the whole loop can be run, tested
and studied without an image generation model.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageFilter

from syngrpo.painting.generators.base import GenerationRequest, Generator
from syngrpo.painting.prompt import without_names
from syngrpo.sample import Box
from syngrpo_rooms.descriptions import parse_description
from syngrpo_rooms.room_renderer import render_surroundings

SHADOW = 0.42
"""Share by which the contact shadow of a kept object darkens at most."""
CELLS = 12
"""The kept area is described by a grid of this many cells a side."""


class RoomsGenerator(Generator):
    """Reads the prompt as free text (see ``parse_description``) and paints the room it says.

    The same prompt, seed, size and keep mask give the same picture. The kept objects themselves are
    not painted: the compositing that follows pastes them.
    """

    wants_gpu = False
    fingerprint = "rooms/2"
    """Changes whenever the same request would be painted differently."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """Return one uint8 RGB (H, W, 3) picture for each request. Raises ValueError when the keep
        mask of a request has another size."""
        return [_paint(request) for request in requests]


def _paint(request: GenerationRequest) -> np.ndarray:
    width, height = request.size
    keep = np.asarray(request.keep, dtype=bool)
    if keep.shape != (height, width):
        raise ValueError(f"keep mask has shape {keep.shape}, the picture is {(height, width)}")
    room = parse_description(without_names(request.prompt))
    picture = render_surroundings(room, request.size, request.seed, avoid=_occupied(keep))
    return _with_contact_shadows(picture, keep) if keep.any() else picture


def _occupied(keep: np.ndarray) -> list[Box]:
    """Return the kept area as boxes: the cells of a coarse grid that contain kept pixels."""
    height, width = keep.shape
    xs = np.linspace(0, width, CELLS + 1).astype(int)
    ys = np.linspace(0, height, CELLS + 1).astype(int)
    return [
        (float(x1), float(y1), float(x2), float(y2))
        for y1, y2 in pairwise(ys)
        for x1, x2 in pairwise(xs)
        if keep[y1:y2, x1:x2].any()
    ]


def _with_contact_shadows(picture: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Darken the pixels just below the kept objects."""
    height, width = keep.shape
    reach = max(1, round(min(width, height) * 0.025))
    dropped = np.zeros_like(keep)
    dropped[reach:] = keep[:-reach]
    soft = Image.fromarray(dropped.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(reach))
    gain = 1 - SHADOW * (np.asarray(soft, dtype=np.float32) / 255) * ~keep
    return np.clip(picture * gain[..., None], 0, 255).astype(np.uint8)
