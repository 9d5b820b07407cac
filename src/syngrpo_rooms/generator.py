"""The generator ``rooms``: paints the described room around the kept objects.

It needs no weights and a few milliseconds for a picture, so that the whole loop can be run, tested
and studied without an image generation model.

A picture is made in this order: the room of the prompt, seen from as far away as the kept objects
(``room_renderer``), further things that the prompt asks for (``decoys``), the room's own light, and
the shadows of the kept objects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageFilter

from syngrpo.painting.generators.base import GenerationRequest, Generator, NothingKnown
from syngrpo.painting.painter import PLAIN
from syngrpo.painting.prompt import ALONE, without_names
from syngrpo.sample import Box
from syngrpo_rooms.decoys import (
    STREAM,
    UNSAID,
    allowed_classes,
    draw_kinds,
    place_decoys,
    read_decoys,
)
from syngrpo_rooms.descriptions import (
    JOINING_WORDS,
    description_words,
    parse_description,
)
from syngrpo_rooms.room_renderer import render_surroundings
from syngrpo_rooms.scenes import RoomView, Thing
from syngrpo_rooms.surroundings import Surroundings, in_even_light

SHADOW = 0.42
"""Share by which the contact shadow of a kept object darkens at most."""
CELLS = 12
"""The kept area is described by a grid of this many cells a side."""
LEAST_SCALE = 0.05
"""A room is painted no smaller than this, whatever the view is."""

_TELLING = description_words() - JOINING_WORDS


class RoomsGenerator(Generator):
    """Reads the prompt as free text (see ``parse_description``) and paints the room it says.

    The same request gives the same picture. The kept objects themselves are not painted: the
    compositing that follows pastes them.
    """

    wants_gpu = False
    fingerprint = "rooms/3"
    """Changes whenever the same request would be painted differently."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """Return one uint8 RGB (H, W, 3) picture for each request.

        Raises ValueError when the keep mask of a request has another size, and NothingKnown when a
        prompt has no word that means something here.
        """
        return [_paint(request) for request in requests]


def _paint(request: GenerationRequest) -> np.ndarray:
    width, height = request.size
    keep = np.asarray(request.keep, dtype=bool)
    if keep.shape != (height, width):
        raise ValueError(f"keep mask has shape {keep.shape}, the picture is {(height, width)}")
    said = without_names(request.prompt)
    own = said.removesuffix(f", {ALONE}")  # what the description says itself
    if own != PLAIN and _TELLING.isdisjoint(re.findall(r"[a-z]+", own.lower())):
        raise NothingKnown(f"no word of {said[:80]!r} means something to the generator rooms")
    picture = render_surroundings(
        room_of(request),
        request.size,
        request.seed,
        avoid=_occupied(keep),
        view=view_of(request),
        decoys=decoys_of(request),
    )
    return _with_contact_shadows(picture, keep) if keep.any() else picture


def room_of(request: GenerationRequest) -> Surroundings:
    """Return what the prompt says about the room. Where light falls on the whole picture
    afterwards, the room's own light is even, so that no light falls twice."""
    room = parse_description(without_names(request.prompt))
    return in_even_light(room) if request.lit else room


def view_of(request: GenerationRequest) -> RoomView:
    """Return from how far away the room is seen, so that its floor line lies where the kept objects
    need it.

    The view maps the seed picture's horizon to that of this picture, so the part of this picture
    above the horizon that the seed picture covers says how much smaller everything is.
    """
    height = request.size[1]
    horizon = height / 2 if request.horizon is None else request.horizon
    if horizon <= 0:
        return RoomView()
    scale = 1 - request.view.down / horizon
    return RoomView(min(max(scale, LEAST_SCALE), 1.0), horizon / height)


def decoys_of(request: GenerationRequest) -> tuple[Thing, ...]:
    """Return the further things of the picture, none of them of a forbidden class.

    Where the prompt says nothing about them, their number and classes are drawn from the seed.
    """
    rng = np.random.default_rng([STREAM, request.seed])
    classes = allowed_classes(request.forbidden)
    number = UNSAID[int(rng.integers(len(UNSAID)))]
    kinds, _ = read_decoys(without_names(request.prompt).lower())
    if kinds is None:
        kinds = draw_kinds(number, classes, rng)
    allowed = [kind for kind in kinds if kind[0] in classes]
    return place_decoys(allowed, np.asarray(request.keep, dtype=bool), view_of(request), rng)


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
