"""Draws the patterns of walls and floors. A surface is covered with copies of one tile.

``wall_tile`` and ``floor_tile`` draw the tile of a pattern, and ``repeat`` covers a surface with
it. Each pattern has one function, which returns a PIL image that can be repeated without a seam in
both directions. ``unit`` is the number of pixels in 1/128 of the picture's shorter side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from syngrpo_rooms.palette import RGB, mix, shade

Tile = Image.Image
Texture = Callable[[RGB, RGB, float, np.random.Generator], Tile]
"""A function that draws a tile from the surface's colour, a second colour, the number of pixels in
a unit, and a random generator."""


def wall_tile(
    pattern: str, colour: RGB, accent: RGB, unit: float, height: int, rng: np.random.Generator
) -> Tile:
    """Draw the tile of a wall pattern, which is "panelled" or a key of ``WALLS``.

    ``height`` is the height of the wall in pixels, which is also the height of a panelled tile.
    Raises KeyError for an unknown pattern.
    """
    if pattern == "panelled":
        return _panelled(colour, unit, height)
    return WALLS[pattern](colour, _distinct(accent, colour), unit, rng)


def floor_tile(material: str, colour: RGB, unit: float, rng: np.random.Generator) -> Tile:
    """Draw the tile of a floor material (a key of ``FLOORS``) as seen from above. Raises KeyError
    for an unknown material."""
    return FLOORS[material](colour, shade(colour, 0.78), unit, rng)


def repeat(tile: Tile, width: int, height: int, shift: tuple[int, int]) -> Image.Image:
    """Return an image of width x height pixels that is covered with the tile. ``shift`` is the
    pixel (x, y) of the tile that lies in the image's upper left corner."""
    w, h = tile.size
    dx, dy = shift[0] % w, shift[1] % h
    strip = Image.new("RGB", (width + w, h))
    for x in range(0, width + w, w):
        strip.paste(tile, (x, 0))
    whole = Image.new("RGB", (width, height))
    for y in range(-dy, height, h):
        whole.paste(strip, (-dx, y))
    return whole


def _distinct(accent: RGB, colour: RGB) -> RGB:
    """Return the colour of a wall's pattern: the accent mixed with the wall's colour, or a darker
    tone of the wall's colour if both are the same."""
    return shade(colour, 0.8) if accent == colour else mix(colour, accent, 0.72)


def _blank(width: float, height: float, colour: RGB) -> tuple[Tile, ImageDraw.ImageDraw]:
    """Return a tile of one colour with at least 2 x 2 pixels, and an object to draw into it."""
    tile = Image.new("RGB", (max(2, round(width)), max(2, round(height))), colour)
    return tile, ImageDraw.Draw(tile)


def _plain(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    return Image.new("RGB", (64, 64), colour)


def _striped(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    period = float(rng.uniform(7, 14)) * unit
    tile, draw = _blank(period, 64, colour)
    draw.rectangle((0, 0, round(period * 0.5) - 1, 64), fill=accent)
    return tile


def _dotted(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    p, r = round(float(rng.uniform(9, 13)) * unit), float(rng.uniform(1.6, 2.4)) * unit
    tile, draw = _blank(p, p, colour)
    for x, y in ((0, 0), (p, 0), (0, p), (p, p), (p / 2, p / 2)):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=accent)
    return tile


def _checked(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    s = round(float(rng.uniform(5, 9)) * unit)
    tile, draw = _blank(2 * s, 2 * s, colour)
    draw.rectangle((0, 0, s - 1, s - 1), fill=accent)
    draw.rectangle((s, s, 2 * s - 1, 2 * s - 1), fill=accent)
    return tile


def _brick(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    w, h, gap = round(13 * unit), round(6 * unit), max(1, round(unit * 0.8))
    tile, draw = _blank(4 * w, 4 * h, mix(shade(colour, 1.3), (225, 220, 210), 0.5))
    for row in range(4):
        for column in range(-1, 4):
            x, y = column * w + (row % 2) * w // 2, row * h
            tone = shade(colour, float(rng.uniform(0.82, 1.08)) if column >= 0 else 0.95)
            draw.rectangle((x, y, x + w - gap - 1, y + h - gap - 1), fill=tone)
    return tile


def _tiled(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    s, gap = round(float(rng.uniform(8, 11)) * unit), max(1, round(unit * 0.7))
    tile, draw = _blank(2 * s, 2 * s, shade(colour, 1.5))
    for row in range(2):
        for column in range(2):
            x, y = column * s, row * s
            fill = shade(colour, 0.96) if row == column else shade(colour, 0.88)
            draw.rectangle((x, y, x + s - gap - 1, y + s - gap - 1), fill=fill)
    return tile


def _floral(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    p, r = round(float(rng.uniform(15, 20)) * unit), 1.7 * unit
    tile, draw = _blank(p, p, colour)
    leaf = mix(colour, (70, 120, 70), 0.5)
    for cx, cy in ((p * 0.27, p * 0.27), (p * 0.75, p * 0.75)):
        draw.line((cx, cy, cx + 2.5 * unit, cy + 4 * unit), fill=leaf, width=max(1, round(unit)))
        for k in range(5):
            x, y = cx + 2 * unit * math.sin(k * 1.2566), cy - 2 * unit * math.cos(k * 1.2566)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=accent)
        draw.ellipse((cx - unit, cy - unit, cx + unit, cy + unit), fill=(250, 226, 130))
    return tile


def _panelled(colour: RGB, unit: float, height: int) -> Tile:
    w = 25 * unit
    tile, draw = _blank(w, height, colour)
    line = max(1, round(unit * 0.8))
    for top, bottom in ((0.08, 0.55), (0.62, 0.93)):
        box = [w * 0.12, height * top, w * 0.88, height * bottom]
        draw.rectangle(box, fill=shade(colour, 0.94), outline=shade(colour, 0.78), width=line)
        draw.line((box[0], box[3], box[2], box[3]), fill=shade(colour, 1.5), width=line)
    return tile


def _zigzag(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    p = round(float(rng.uniform(10, 14)) * unit)
    tile, draw = _blank(p, p, colour)
    for offset in (-p, 0, p):
        points = [(-1, offset + p / 2), (p / 2, offset), (p + 1, offset + p / 2)]
        draw.line(points, fill=accent, width=max(2, round(p * 0.3)))
    return tile


def _diamonds(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    w = round(float(rng.uniform(10, 15)) * unit)
    h = round(w * 1.5)
    tile, draw = _blank(w, h, colour)
    draw.polygon([(w / 2, 0), (w, h / 2), (w / 2, h), (0, h / 2)], fill=accent)
    return tile


def _stars(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    p = round(float(rng.uniform(13, 17)) * unit)
    tile, draw = _blank(p, p, colour)
    for cx, cy, size in ((0.28, 0.28, 3.6), (0.76, 0.74, 2.8)):
        points = []
        for k in range(10):
            r = size * unit * (1 if k % 2 == 0 else 0.42)
            angle = k * math.pi / 5
            points.append((cx * p + r * math.sin(angle), cy * p - r * math.cos(angle)))
        draw.polygon(points, fill=accent)
    return tile


def _plaid(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    p = round(float(rng.uniform(14, 18)) * unit)
    tile, draw = _blank(p, p, colour)
    half, thin = mix(colour, accent, 0.5), max(1, round(unit))
    draw.rectangle((0, 0, p * 0.4, p), fill=half)
    draw.rectangle((0, 0, p, p * 0.4), fill=half)
    draw.rectangle((0, 0, p * 0.4, p * 0.4), fill=accent)
    draw.line((p * 0.7, 0, p * 0.7, p), fill=shade(accent, 0.8), width=thin)
    draw.line((0, p * 0.7, p, p * 0.7), fill=shade(accent, 0.8), width=thin)
    return tile


def _scales(colour: RGB, accent: RGB, unit: float, rng: np.random.Generator) -> Tile:
    r = round(float(rng.uniform(5, 7)) * unit)
    tile, draw = _blank(2 * r, 2 * r, colour)
    line = max(1, round(unit * 1.1))
    for row in (3, 2, 1, 0, -1):
        y = row * r
        for x in (-r, r, 3 * r) if row % 2 else (0, 2 * r):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=accent, width=line)
    return tile


def _planks(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    w, length = round(9 * unit), round(70 * unit)
    tile, draw = _blank(6 * w, length, colour)
    gap = max(1, round(unit * 0.5))
    for k in range(6):
        joint = int(rng.integers(length))
        tones = [shade(colour, float(rng.uniform(0.86, 1.12))) for _ in range(2)]
        draw.rectangle((k * w, 0, (k + 1) * w, joint), fill=tones[0])
        draw.rectangle((k * w, joint, (k + 1) * w, length), fill=tones[1])
        draw.line((k * w, joint, (k + 1) * w, joint), fill=dark, width=gap)
        draw.line((k * w, 0, k * w, length), fill=dark, width=gap)
    return tile


def _floor_tile(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    s, gap = round(float(rng.uniform(13, 18)) * unit), max(1, round(unit * 0.6))
    tile, draw = _blank(2 * s, 2 * s, shade(colour, 1.35))
    for x, y, fill in ((0, 0, colour), (s, s, colour), (s, 0, dark), (0, s, dark)):
        draw.rectangle((x, y, x + s - gap - 1, y + s - gap - 1), fill=fill)
    return tile


def _speckle(colour: RGB, grain: int, contrast: float, rng: np.random.Generator) -> Tile:
    """Draw random variations of a colour, by up to the share ``contrast``, in squares of ``grain``
    pixels."""
    noise = rng.uniform(1 - contrast, 1 + contrast, size=(40, 40, 1))
    pixels = np.clip(noise * np.asarray(colour), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((40 * grain, 40 * grain), Image.Resampling.NEAREST)


def _carpet(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    return _speckle(colour, max(1, round(unit)), 0.07, rng)


def _concrete(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    return _speckle(mix(colour, (165, 165, 165), 0.35), max(1, round(8 * unit)), 0.045, rng)


def _stone(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    w, h, gap = round(24 * unit), round(18 * unit), max(1, round(unit))
    tile, draw = _blank(3 * w, 4 * h, shade(colour, 0.7))
    for row in range(4):
        shift = (row % 2) * w // 2
        tones = [shade(colour, float(rng.uniform(0.86, 1.14))) for _ in range(3)]
        for column in range(-1, 3):
            x, y = column * w + shift, row * h
            box = (x, y, x + w - gap - 1, y + h - gap - 1)
            draw.rounded_rectangle(box, 4 * unit, fill=tones[column % 3])
    return tile


def _herringbone(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    w = round(12 * unit)
    tile, draw = _blank(2 * w, w, colour)
    step = w / 2
    for k in range(-4, 5):
        y = k * step
        tone = shade(colour, 0.82 if k % 2 else 1.1)
        draw.polygon([(0, y), (w, y + w), (w, y + w + step), (0, y + step)], fill=tone)
        tone = shade(colour, 0.92 if k % 2 else 0.72)
        draw.polygon([(w, y + w), (2 * w, y), (2 * w, y + step), (w, y + w + step)], fill=tone)
    return tile


def _mosaic(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    s, gap = round(6 * unit), max(1, round(unit * 0.6))
    tile, draw = _blank(6 * s, 6 * s, (228, 224, 216))
    for row in range(6):
        for column in range(6):
            tone = shade(colour, float(rng.uniform(0.6, 1.35)))
            x, y = column * s, row * s
            draw.rectangle((x, y, x + s - gap - 1, y + s - gap - 1), fill=tone)
    return tile


def _terrazzo(colour: RGB, dark: RGB, unit: float, rng: np.random.Generator) -> Tile:
    side = round(56 * unit)
    tile, draw = _blank(side, side, shade(colour, 1.4))
    for _ in range(46):
        x, y = (float(c) for c in rng.uniform(4 * unit, side - 4 * unit, size=2))
        tone = shade(colour, float(rng.uniform(0.55, 1.1)))
        corners = [
            (x + float(a) * unit, y + float(b) * unit) for a, b in rng.uniform(-3, 3, (4, 2))
        ]
        draw.polygon(corners, fill=tone)
    return tile


WALLS: dict[str, Texture] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "brick": _brick,
    "tiled": _tiled,
    "floral": _floral,
    "zigzag": _zigzag,
    "diamonds": _diamonds,
    "stars": _stars,
    "plaid": _plaid,
    "scales": _scales,
}
FLOORS: dict[str, Texture] = {
    "wood": _planks,
    "tile": _floor_tile,
    "carpet": _carpet,
    "stone": _stone,
    "concrete": _concrete,
    "herringbone": _herringbone,
    "mosaic": _mosaic,
    "terrazzo": _terrazzo,
}
