"""Renders a scene: its picture, and the exact boxes and masks of its things.

``render`` works in this order:

1. draw the empty room: wall, floor, fixture, window, clutter (``_paint_room``);
2. draw the decoys and the things with their shadows, back to front;
3. reduce the picture to its final size: everything is drawn two or three times enlarged and then
   averaged, which smooths the edges;
4. put the room's light (``apply_light``) and then the scene's on the finished picture.

The calls that draw a thing also draw its number into a map of the same size. The masks are taken
from this map: a pixel belongs to the thing that covers at least half of it.

``render_surroundings`` does the same for a room without things. The generator calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from syngrpo.boxes import mask_box
from syngrpo.painting.light import lit
from syngrpo.sample import Box
from syngrpo_rooms.furnishings import draw_clutter, draw_rug, draw_window
from syngrpo_rooms.palette import ROOM_COLOURS, shade
from syngrpo_rooms.room_fixtures import draw_fixture
from syngrpo_rooms.scenes import WALL_LABELS, RoomView, Scene, Thing
from syngrpo_rooms.surface_patterns import floor_tile, repeat, wall_tile
from syngrpo_rooms.surroundings import Surroundings, complete
from syngrpo_rooms.thing_shapes import draw_thing

TINTS: dict[str, tuple[float, float, float]] = {
    "warm": (1.06, 0.95, 0.78),
    "cool": (0.86, 0.96, 1.08),
    "dim": (0.56, 0.56, 0.62),
    "spot": (1.05, 1.02, 0.95),
    "shadows": (1.03, 0.98, 0.90),
    "bright": (1.07, 1.07, 1.06),
}
"""Light → factors on the red, green and blue channel. Other lights do not change the colours."""

FAR = 0.58
"""Size of the floor's pattern where the floor meets the wall, as a share of its size at the lower
edge of the picture."""
SEEN_CLOSE_UP = RoomView()
PATTERN_POWER = 0.7
"""Patterns and furniture shrink with this power of the view's scale: less than the things, so that
they stay visible."""


@dataclass(frozen=True)
class Rendered:
    """A rendered scene.

    ``image`` is uint8 RGB (H, W, 3). ``masks`` and ``boxes`` have one entry for each thing of the
    scene, in the scene's order: the mask of its visible pixels, bool (H, W), and the tight box
    around that mask (xyxy in pixels).
    """

    image: np.ndarray
    boxes: tuple[Box, ...]
    masks: tuple[np.ndarray, ...]


def render(scene: Scene) -> Rendered:
    """Render a scene. The same scene always gives the same picture.

    Parts that the surroundings leave open (None) are filled in as in ``render_surroundings``.
    """
    rng = np.random.default_rng(scene.detail_seed)
    scale = _enlargement(scene.width, scene.height)
    taken = [thing.box for thing in scene.things]
    size = (scene.width, scene.height)
    room = complete(scene.surroundings, rng)
    canvas, horizon = _paint_room(room, size, scale, taken, rng, scene.view)
    _paint_decoys(canvas, scene.decoys, scale)
    ids = Image.new("L", canvas.size)
    picture, numbers = ImageDraw.Draw(canvas), ImageDraw.Draw(ids)
    for number, thing in enumerate(scene.things, start=1):
        _contact_shadow(canvas, thing, scale)
        draw_thing(picture, numbers, number, thing, scale)
    masks = tuple(_mask(ids, number, thing, scale) for number, thing in enumerate(scene.things, 1))
    image = apply_light(np.asarray(canvas.reduce(scale)), str(room.light), horizon, rng)
    image = lit(image, scene.light, scene.detail_seed)
    return Rendered(image, tuple(mask_box(mask) for mask in masks), masks)


def render_surroundings(
    surroundings: Surroundings,
    size: tuple[int, int],
    seed: int,
    avoid: Sequence[Box] = (),
    view: RoomView = SEEN_CLOSE_UP,
    decoys: Sequence[Thing] = (),
) -> np.ndarray:
    """Render a room without things and return the picture, uint8 RGB (H, W, 3).

    ``size`` is (width, height) in pixels. For parts that the surroundings leave open (None),
    something plain is drawn from the seed. The window and the fixture of the room type are placed
    where they overlap the ``avoid`` boxes (xyxy in pixels) least. ``view`` says from how far
    away the room is seen. ``decoys`` stand in it; their boxes are those in the picture.
    """
    rng = np.random.default_rng(seed)
    room = complete(surroundings, rng)
    scale = _enlargement(*size)
    canvas, horizon = _paint_room(room, size, scale, avoid, rng, view)
    _paint_decoys(canvas, decoys, scale)
    return apply_light(np.asarray(canvas.reduce(scale)), str(room.light), horizon, rng)


def _enlargement(width: int, height: int) -> int:
    """Return the factor by which a picture of this size in pixels is enlarged while it is drawn."""
    return 3 if max(width, height) <= 320 else 2


def _paint_room(
    room: Surroundings,
    size: tuple[int, int],
    scale: int,
    avoid: Sequence[Box],
    rng: np.random.Generator,
    view: RoomView,
) -> tuple[Image.Image, float]:
    """Draw the empty room without light, ``scale`` times enlarged.

    ``size`` (width, height) and the ``avoid`` boxes (xyxy) are in pixels of the picture before it
    is enlarged. Returns the enlarged picture, and the distance from its upper edge to the line
    between wall and floor, as a share of the picture's height.
    """
    width, height = size[0] * scale, size[1] * scale
    unit = min(width, height) / 128 * view.scale**PATTERN_POWER
    horizon = view.down(float(rng.uniform(0.54, 0.6)))
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
        # The fixture has a random generator of its own, so that the random numbers of window,
        # clutter and light do not depend on the room type.
        (own,) = rng.spawn(1)
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


def _paint_decoys(canvas: Image.Image, decoys: Sequence[Thing], scale: int) -> None:
    """Draw things that have no label into the enlarged picture, each with its shadow."""
    picture, unused = ImageDraw.Draw(canvas), ImageDraw.Draw(Image.new("L", canvas.size))
    for thing in decoys:
        _contact_shadow(canvas, thing, scale)
        draw_thing(picture, unused, 0, thing, scale)


def _floor(
    room: Surroundings, width: int, height: int, unit: float, rng: np.random.Generator
) -> Image.Image:
    """Draw the floor: first as seen from above, with the rug on it, then tilt it into
    perspective."""
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
    # Row y of the tilted floor shows the flat one scaled by d(y) = FAR + (1 - FAR) y / height. Its
    # pixel (x, y) is taken from column flat_width / 2 + (x - width / 2) / d and from row
    # flat_height * (y / height) / d of the flat floor.
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
    """Return a round shadow that fades towards its rim, as an opacity: an image of mode "L",
    48 x 24 pixels."""
    y, x = np.mgrid[-1:1:24j, -1:1:48j]
    return Image.fromarray((np.clip(1 - x**2 - y**2, 0, 1) ** 0.6 * 150).astype(np.uint8))


def _contact_shadow(canvas: Image.Image, thing: Thing, scale: int) -> None:
    """Darken the floor under a thing, or the wall beside a thing that hangs there."""
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
    """Return the mask of a thing, bool (H, W): the pixels of which it covers at least half.

    ``ids`` is the map of thing numbers, ``scale`` times enlarged.
    """
    width, height = ids.width // scale, ids.height // scale
    x1, y1 = max(0, int(thing.box[0]) - 1), max(0, int(thing.box[1]) - 1)
    x2, y2 = min(width, int(thing.box[2]) + 2), min(height, int(thing.box[3]) + 2)
    part = np.asarray(ids.crop((x1 * scale, y1 * scale, x2 * scale, y2 * scale))) == number
    cover = part.reshape(y2 - y1, scale, x2 - x1, scale).sum(axis=(1, 3))
    mask = np.zeros((height, width), dtype=bool)
    mask[y1:y2, x1:x2] = cover * 2 >= scale * scale
    return mask


def apply_light(
    pixels: np.ndarray, light: str, horizon: float, rng: np.random.Generator
) -> np.ndarray:
    """Put light on a finished picture: uint8 (H, W, 3) → uint8 (H, W, 3).

    Each pixel is multiplied by a brightness and by the tint of the light. "glare" also adds a white
    haze. ``horizon`` is the distance from the upper edge of the picture to the line between wall
    and floor, as a share of the picture's height. Every light takes the same number of draws from
    ``rng``.
    """
    side, u, v, phase = (float(value) for value in rng.random(4))
    height, width = pixels.shape[:2]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    toward = x if side < 0.5 else 1 - x
    # Walls are darker near the ceiling, floors are brighter near the viewer, and one side of the
    # picture is brighter than the other.
    depth = np.where(y < horizon, 0.93 + 0.09 * y / horizon, 0.9 + 0.12 * (y - horizon))
    gain = (depth * (1.03 - 0.08 * toward)).astype(np.float32)
    gain = gain * _brightness(light, x, y, toward, (u, v), phase)
    tint = np.asarray(TINTS.get(light, (1, 1, 1)), dtype=np.float32)
    lit = pixels * (gain[..., None] * (_neon_tint(x, side) if light == "neon" else tint))
    if light == "glare":
        centre = (0.2 + 0.6 * u, 0.15 + 0.45 * v)
        haze = 0.66 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 0.075)[..., None]
        lit += (255 - lit) * haze
    return np.clip(lit, 0, 255).astype(np.uint8)


def _brightness(
    light: str,
    x: np.ndarray,
    y: np.ndarray,
    toward: np.ndarray,
    centre: tuple[float, float],
    phase: float,
) -> np.ndarray | float:
    """Return the brightness that this light adds to the shading that all lights have, as a factor:
    float (H, W), or one number for all pixels.

    ``x`` (1, W), ``toward`` (1, W) and ``y`` (H, 1) are positions in [0, 1]; ``toward`` begins at
    the side that the light comes from.
    """
    if light == "spot":
        cx, cy = 0.2 + 0.6 * centre[0], 0.3 + 0.5 * centre[1]
        return 0.48 + 0.70 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.07)
    if light == "shadows":
        # Slanted stripes, like the shadows of window bars on wall and floor.
        wave = np.sin(6.2832 * (2.2 * toward + 1.1 * y + phase))
        return 0.84 + 0.18 * np.clip(wave * 3, -1, 1)
    if light == "blinds":
        wave = np.sin(6.2832 * (9 * y + 2 * toward + phase))
        return 0.84 + 0.18 * np.clip(wave * 2, -1, 1)
    if light == "dappled":
        a = np.sin(6.2832 * (3.1 * x + phase)) * np.sin(6.2832 * (2.7 * y + centre[0]))
        b = np.sin(6.2832 * (5.3 * (x + y) + centre[1])) * np.sin(6.2832 * (4.1 * (x - y)))
        return 0.88 + 0.18 * np.clip(a + b, -1, 1)
    return 1.0


def _neon_tint(x: np.ndarray, side: float) -> np.ndarray:
    """Return the tint of magenta light from one side and cyan light from the other: float
    (1, W, 3)."""
    blend = (x if side < 0.5 else 1 - x)[..., None]
    magenta = np.asarray((1.12, 0.68, 1.05), dtype=np.float32)
    cyan = np.asarray((0.66, 1.02, 1.12), dtype=np.float32)
    return magenta * (1 - blend) + cyan * blend
