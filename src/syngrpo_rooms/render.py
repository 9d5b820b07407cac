"""Paints rooms: anti-aliased by drawing enlarged and averaging, with exact boxes and masks.

The id map is drawn by the very calls that draw the picture. A pixel belongs to the thing that
covers at least half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from syngrpo.boxes import mask_box
from syngrpo.sample import Box
from syngrpo_rooms.fixtures import draw_fixture
from syngrpo_rooms.furnishings import draw_clutter, draw_rug, draw_window
from syngrpo_rooms.light import apply_light
from syngrpo_rooms.palette import ROOM_COLOURS, shade
from syngrpo_rooms.patterns import floor_tile, repeat, wall_tile
from syngrpo_rooms.scenes import WALL_LABELS, Scene, Thing
from syngrpo_rooms.surroundings import Surroundings, complete
from syngrpo_rooms.things import draw_thing

FAR = 0.58
"""How much smaller the floor's pattern is at the wall than at the viewer's feet."""


@dataclass(frozen=True)
class Rendered:
    """``image`` uint8 (H, W, 3); per thing of the scene, in its order, the mask of its visible
    pixels, bool (H, W), and the tight box around it (xyxy, pixels)."""

    image: np.ndarray
    boxes: tuple[Box, ...]
    masks: tuple[np.ndarray, ...]


def render(scene: Scene) -> Rendered:
    """The picture of a scene, the same for the same scene."""
    rng = np.random.default_rng(scene.detail_seed)
    scale = _enlargement(scene.width, scene.height)
    taken = [thing.box for thing in scene.things]
    size = (scene.width, scene.height)
    room = complete(scene.surroundings, rng)
    canvas, horizon = _paint_room(room, size, scale, taken, rng)
    ids = Image.new("L", canvas.size)
    picture, numbers = ImageDraw.Draw(canvas), ImageDraw.Draw(ids)
    for number, thing in enumerate(scene.things, start=1):
        _contact_shadow(canvas, thing, scale)
        draw_thing(picture, numbers, number, thing, scale)
    masks = tuple(_mask(ids, number, thing, scale) for number, thing in enumerate(scene.things, 1))
    image = apply_light(np.asarray(canvas.reduce(scale)), str(room.light), horizon, rng)
    return Rendered(image, tuple(mask_box(mask) for mask in masks), masks)


def render_surroundings(
    surroundings: Surroundings,
    size: tuple[int, int],
    seed: int,
    avoid: Sequence[Box] = (),
) -> np.ndarray:
    """An empty room: uint8 (H, W, 3) for ``size`` (width, height).

    What the surroundings leave unsaid is filled plainly, from the seed. Windows and the room type's
    fixture keep away from the ``avoid`` boxes (pixels) where they can.
    """
    rng = np.random.default_rng(seed)
    room = complete(surroundings, rng)
    scale = _enlargement(*size)
    canvas, horizon = _paint_room(room, size, scale, avoid, rng)
    return apply_light(np.asarray(canvas.reduce(scale)), str(room.light), horizon, rng)


def _enlargement(width: int, height: int) -> int:
    return 3 if max(width, height) <= 320 else 2


def _paint_room(
    room: Surroundings,
    size: tuple[int, int],
    scale: int,
    avoid: Sequence[Box],
    rng: np.random.Generator,
) -> tuple[Image.Image, float]:
    """The enlarged empty room before light, and its floor line as a share of the height."""
    width, height = size[0] * scale, size[1] * scale
    unit = min(width, height) / 128
    horizon = float(rng.uniform(0.54, 0.6))
    foot = round(height * horizon)
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    wall_colour = ROOM_COLOURS[str(room.wall_colour)]
    accent = ROOM_COLOURS[str(room.wall_accent)]
    tile = wall_tile(str(room.wall_pattern), wall_colour, accent, unit, foot, rng)
    shift = (int(rng.integers(1000)), 0)
    canvas.paste(repeat(tile, width, foot, shift), (0, 0))
    canvas.paste(_floor(room, width, height - foot, unit, rng), (0, foot))
    skirting = 3.2 * unit
    draw.rectangle((0, foot - skirting, width, foot), fill=shade(wall_colour, 1.55))
    draw.line((0, foot, width, foot), fill=shade(wall_colour, 0.5), width=max(1, round(unit * 0.7)))
    wall, floor = (0.0, 0.0, float(width), foot - skirting), (0.0, float(foot), width, height)
    keep_off = [(a * scale, b * scale, c * scale, d * scale) for a, b, c, d in avoid]
    free = wall
    if room.room != "none":
        (own,) = rng.spawn(1)  # rug, clutter and light stay where they are without a room type
        along = (0.0, 0.0, float(width), float(foot))
        box = draw_fixture(draw, str(room.room), along, unit, keep_off, own, room.window != "none")
        left, right = (0.0, 0.0, box[0], wall[3]), (box[2], 0.0, wall[2], wall[3])
        free = left if box[0] > width - box[2] else right
    if room.window != "none":
        draw_window(draw, str(room.window), free, unit, keep_off, rng)
    if room.clutter != "none":
        colour, many = ROOM_COLOURS[str(room.clutter_colour)], room.clutter_amount == "many"
        draw_clutter(draw, str(room.clutter), colour, many, wall, floor, unit, rng)
    return canvas, horizon


def _floor(
    room: Surroundings, width: int, height: int, unit: float, rng: np.random.Generator
) -> Image.Image:
    """The floor in perspective: a texture with the rug on it, seen from above, then tilted."""
    tile = floor_tile(str(room.floor_material), ROOM_COLOURS[str(room.floor_colour)], unit, rng)
    flat_width, flat_height = round(width / FAR), round(height * 1.7)
    flat = repeat(tile, flat_width, flat_height, (int(rng.integers(1000)), int(rng.integers(1000))))
    if room.rug_pattern != "none":
        w, h = width * float(rng.uniform(0.45, 0.75)), flat_height * float(rng.uniform(0.4, 0.6))
        x = flat_width / 2 + width * float(rng.uniform(-0.2, 0.2)) - w / 2
        y = flat_height * float(rng.uniform(0.2, 0.9 - 0.5)) + flat_height * 0.05
        rug = (x, y, x + w, y + h)
        colour = ROOM_COLOURS[str(room.rug_colour)]
        draw_rug(ImageDraw.Draw(flat), str(room.rug_pattern), rug, colour, unit)
    # Output row y is seen at scale d(y) = FAR + (1 - FAR) y / height: texture x is
    # centre + (x - width / 2) / d and texture row is flat_height * (y / height) / d.
    grow = (1 - FAR) / height
    across = flat_width / 2
    coefficients = (
        1 / FAR, across * grow / FAR, across - width / (2 * FAR),
        0.0, flat_height / (height * FAR), 0.0,
        0.0, grow / FAR,
    )  # fmt: skip
    return flat.transform((width, height), Image.Transform.PERSPECTIVE, coefficients)


@lru_cache(maxsize=1)
def _soft_disc() -> Image.Image:
    """A shadow that fades from its middle to its rim: "L", 48 x 24."""
    y, x = np.mgrid[-1:1:24j, -1:1:48j]
    return Image.fromarray((np.clip(1 - x**2 - y**2, 0, 1) ** 0.6 * 150).astype(np.uint8))


def _contact_shadow(canvas: Image.Image, thing: Thing, scale: int) -> None:
    """Darkens the floor under a thing, or the wall beside one that hangs."""
    x1, y1, x2, y2 = (value * scale for value in thing.box)
    w = x2 - x1
    if thing.label in WALL_LABELS:
        box = (x1 - 0.02 * w, y1 + 0.04 * w, x2 + 0.16 * w, y2 + 0.16 * w)
    else:
        box = (x1 - 0.12 * w, y2 - 0.14 * w, x2 + 0.12 * w, y2 + 0.10 * w)
    left, top = round(box[0]), round(box[1])
    size = (max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1])))
    canvas.paste((34, 28, 30), (left, top), _soft_disc().resize(size))


def _mask(ids: Image.Image, number: int, thing: Thing, scale: int) -> np.ndarray:
    """bool (H, W): the pixels that the thing covers by half or more."""
    width, height = ids.width // scale, ids.height // scale
    x1, y1 = max(0, int(thing.box[0]) - 1), max(0, int(thing.box[1]) - 1)
    x2, y2 = min(width, int(thing.box[2]) + 2), min(height, int(thing.box[3]) + 2)
    part = np.asarray(ids.crop((x1 * scale, y1 * scale, x2 * scale, y2 * scale))) == number
    cover = part.reshape(y2 - y1, scale, x2 - x1, scale).sum(axis=(1, 3))
    mask = np.zeros((height, width), dtype=bool)
    mask[y1:y2, x1:x2] = cover * 2 >= scale * scale
    return mask
