"""Draws the unlabelled parts of a room: windows, rugs and clutter.

None of their shapes resembles a labelled class, so the labels of a scene stay true whatever is
drawn. They may have the colours of labelled things, which makes the labelled things harder to find.

``room_renderer`` calls ``draw_window``, ``draw_rug`` and ``draw_clutter``. Their argument ``unit``
is the number of pixels in one unit, which is 1/128 of the picture's shorter side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import ImageDraw

from syngrpo.boxes import intersection
from syngrpo.sample import Box
from syngrpo_rooms.palette import PAPER, RGB, THING_COLOURS, mix, shade

Draw = ImageDraw.ImageDraw
Point = tuple[float, float]

SKIES: dict[str, tuple[RGB, RGB, RGB]] = {
    "day": ((176, 214, 242), (206, 230, 246), (134, 182, 118)),
    "evening": ((238, 158, 112), (250, 202, 138), (112, 84, 96)),
    "night": ((30, 38, 76), (44, 54, 98), (22, 28, 44)),
    "hexagonal": ((120, 196, 214), (150, 214, 224), (44, 110, 150)),
    "arched": ((206, 196, 236), (232, 214, 236), (110, 130, 120)),
}
"""Kind of window → the colours of the sky, of the sky near the horizon, and of the land."""


def draw_window(
    draw: Draw, kind: str, wall: Box, unit: float, avoid: Sequence[Box], rng: np.random.Generator
) -> None:
    """Draw a window on the wall. Of four random places, it takes the one that overlaps the
    ``avoid`` boxes least.

    ``kind`` is a key of ``SKIES``. All boxes are xyxy in pixels of the image that is drawn into.
    Raises KeyError for an unknown kind.
    """
    width, height = float(rng.uniform(28, 40)) * unit, float(rng.uniform(26, 34)) * unit
    height = min(height, 0.72 * (wall[3] - wall[1]))
    places = []
    for x, y in rng.uniform(0.04, 0.96, size=(4, 2)):
        left = wall[0] + float(x) * (wall[2] - wall[0] - width)
        top = wall[1] + float(y) * 0.6 * (wall[3] - wall[1] - height)
        box = (left, top, left + width, top + height)
        places.append((sum(intersection(box, other) for other in avoid), box))
    _window(draw, kind, min(places)[1], unit)


def _window(draw: Draw, kind: str, box: Box, unit: float) -> None:
    x1, y1, x2, y2 = box
    sky, low, land = SKIES[kind]
    frame, line = (250, 248, 242), max(1, round(1.6 * unit))
    middle, horizon = (x1 + x2) / 2, y1 + 0.72 * (y2 - y1)
    if kind == "hexagonal":
        third, middle_y = (x2 - x1) / 4, (y1 + y2) / 2
        corners = [(x1, middle_y), (x1 + third, y1), (x2 - third, y1), (x2, middle_y),
                   (x2 - third, y2), (x1 + third, y2)]  # fmt: skip
        draw.polygon(corners, fill=sky)
        draw.polygon([corners[0], *corners[3:]], fill=land)
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            draw.line((*a, *b), fill=frame, width=line)
        draw.line((x1, middle_y, x2, middle_y), fill=frame, width=line)
        return
    draw.rectangle(box, fill=sky)
    draw.rectangle((x1, y1 + 0.45 * (y2 - y1), x2, y2), fill=low)
    hill = [(x1, y2), (x1, horizon), (middle, horizon - 3 * unit), (x2, horizon + unit), (x2, y2)]
    draw.polygon(hill, fill=land)
    if kind == "night":
        for u, v in ((0.2, 0.2), (0.66, 0.14), (0.84, 0.4), (0.36, 0.46)):
            x, y = x1 + u * (x2 - x1), y1 + v * (y2 - y1)
            draw.rectangle((x, y, x + 0.7 * unit, y + 0.7 * unit), fill=(244, 240, 210))
    if kind == "arched":
        top = (x1, y1 - 0.3 * (y2 - y1), x2, y1 + 0.3 * (y2 - y1))
        draw.pieslice(top, 180, 360, fill=sky, outline=frame, width=line)
    draw.rectangle(box, outline=frame, width=line)
    draw.line((middle, y1, middle, y2), fill=frame, width=line)
    draw.line((x1, (y1 + y2) / 2, x2, (y1 + y2) / 2), fill=frame, width=max(1, line // 2))
    draw.rectangle((x1 - 2 * unit, y2, x2 + 2 * unit, y2 + 2 * unit), fill=shade(frame, 0.92))


def draw_rug(draw: Draw, pattern: str, box: Box, colour: RGB, unit: float) -> None:
    """Draw a rug on the image of the floor as seen from above, before it is tilted into
    perspective. ``box`` is xyxy in pixels of that image."""
    x1, y1, x2, y2 = box
    pale, dark = shade(colour, 1.45), shade(colour, 0.76)
    width, height = x2 - x1, y2 - y1
    if pattern in ("bordered", "ringed"):
        for k, fill in enumerate((dark, pale, colour, pale, colour)):
            if pattern == "bordered" and k > 2:
                break
            inset = k * (0.06 if pattern == "bordered" else 0.1)
            draw.ellipse(
                (x1 + inset * width, y1 + inset * height, x2 - inset * width, y2 - inset * height),
                fill=fill,
            )
        return
    draw.rectangle(box, fill=colour, outline=dark, width=max(1, round(1.5 * unit)))
    if pattern == "striped":
        for k in range(1, 10, 2):
            draw.rectangle((x1 + k * width / 10, y1, x1 + (k + 1) * width / 10, y2), fill=pale)
    elif pattern == "checked":
        for k in range(8):
            for row in range(k % 2, 4, 2):
                x, y = x1 + k * width / 8, y1 + row * height / 4
                draw.rectangle((x, y, x + width / 8, y + height / 4), fill=pale)
    elif pattern == "crossed":
        for a, b in (((x1, y1), (x2, y2)), ((x1, y2), (x2, y1))):
            draw.line((*a, *b), fill=pale, width=round(5 * unit))


def draw_clutter(
    draw: Draw,
    kind: str,
    colour: RGB,
    many: bool,
    wall: Box,
    floor: Box,
    unit: float,
    rng: np.random.Generator,
) -> None:
    """Draw pieces of clutter at random places on the floor, the wall or both.

    ``PLACES`` says where pieces of this kind lie and how many they are; ``many`` chooses the larger
    number. ``wall`` and ``floor`` are xyxy in pixels. Raises KeyError for an unknown kind.
    """
    area, few, lots = PLACES[kind]
    region = wall if area == "wall" else floor
    if area == "both":
        region = (wall[0], wall[1], floor[2], floor[3])
    breadth = max(1.0, (region[2] - region[0]) / (128 * unit))
    count = round((lots if many else few) * breadth)
    tones = [colour, *(THING_COLOURS[name] for name in THING_COLOURS)]
    spots = rng.random((count, 4))
    for k, (u, v, turn, pick) in enumerate(spots.tolist()):
        x = region[0] + (k + u) / count * (region[2] - region[0])
        y = region[1] + (0.04 + 0.92 * v) * (region[3] - region[1])
        # Half of the pieces have the clutter's own colour, the others random colours of things.
        tone = colour if pick < 0.5 else tones[int((pick - 0.5) * 2 * len(tones))]
        CLUTTER[kind](draw, (x, y), unit, turn, tone)


def _turned(centre: Point, points: Sequence[Point], angle: float, scale: float) -> list[Point]:
    """Rotate the points by ``angle`` radians, multiply them by ``scale``, flatten them to 70 % of
    their height, and move them to ``centre``."""
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    return [(centre[0] + x * c - y * s, centre[1] + (x * s + y * c) * 0.7) for x, y in points]


def _leaf(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    shape = [(-3.6, 0), (-1.4, -1.5), (1.4, -1.3), (3.6, 0), (1.4, 1.3), (-1.4, 1.5)]
    angle = turn * 6.283
    draw.polygon(_turned(at, shape, angle, unit), fill=mix(tone, (150, 140, 60), 0.3))
    draw.line(_turned(at, [(-3.6, 0), (4.8, 0)], angle, unit), fill=(96, 84, 44))


def _paper(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    angle = turn * 6.283
    sheet = _turned(at, [(-3.2, -4.2), (3.2, -4.2), (3.2, 4.2), (-3.2, 4.2)], angle, unit)
    draw.polygon(sheet, fill=mix(PAPER, tone, 0.15))
    for y in (-2, 0, 2):
        line = _turned(at, [(-2, y), (2, y)], angle, unit)
        draw.line(line, fill=(150, 150, 156), width=max(1, round(unit * 0.4)))


def _toy(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    if turn < 0.5:
        shape = [(-2.4, 2.4), (0.0, -2.6), (2.4, 2.4)]
    else:
        shape = [
            (-2.8, 0.8), (-2.8, -0.8), (-0.8, -0.8), (-0.8, -2.8), (0.8, -2.8), (0.8, -0.8),
            (2.8, -0.8), (2.8, 0.8), (0.8, 0.8), (0.8, 2.8), (-0.8, 2.8), (-0.8, 0.8),
        ]  # fmt: skip
    draw.polygon(_turned(at, shape, turn, unit), fill=tone)


def _cable(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    points = []
    for k in range(13):
        t = k / 12
        x = at[0] + (t - 0.5) * 36 * unit
        y = at[1] + 4 * unit * math.sin(6.283 * (1.5 * t + turn)) * (0.4 + t)
        points.append((x, y))
    draw.line(points, fill=shade(tone, 0.6), width=max(1, round(1.1 * unit)), joint="curve")


def _poster(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    w, h = (7 + 3 * turn) * unit, (10 - 3 * turn) * unit
    x, y = at[0] - w / 2, at[1] - h / 2
    draw.rectangle((x, y, x + w, y + h), fill=tone)
    other = shade(tone, 1.5) if turn < 0.5 else shade(tone, 0.6)
    draw.polygon([(x, y + h), (x + 0.45 * w, y + 0.3 * h), (x + w, y + h)], fill=other)
    draw.line(
        (x + 0.15 * w, y + 0.16 * h, x + 0.85 * w, y + 0.16 * h), fill=PAPER, width=round(unit)
    )


def _books(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    tones = (tone, shade(tone, 0.6), mix(tone, PAPER, 0.5))
    for k in range(2 + int(turn * 2)):
        x, y = at[0] + (k % 2) * 1.2 * unit, at[1] - k * 2 * unit
        cover = (x - 4.5 * unit, y - unit, x + 4.5 * unit, y + unit * 0.8)
        draw.rectangle(cover, fill=tones[k % 3])
        draw.line((x - 4 * unit, y, x + 4.4 * unit, y), fill=PAPER, width=max(1, round(0.5 * unit)))


def _confetti(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    draw.polygon(
        _turned(at, [(-1.6, -0.9), (1.6, -0.9), (1.6, 0.9), (-1.6, 0.9)], turn * 6, unit), tone
    )


def _bunting(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    x, y = at
    draw.line((x - 14 * unit, y - unit, x + 14 * unit, y), fill=(120, 110, 100), width=round(unit))
    for k in range(-2, 3):
        c = x + k * 5.6 * unit
        flag = [(c - 2.4 * unit, y - unit / 2), (c + 2.4 * unit, y - unit / 2), (c, y + 5 * unit)]
        draw.polygon(flag, fill=tone if k % 2 else shade(tone, 1.5))


def _sock(draw: Draw, at: Point, unit: float, turn: float, tone: RGB) -> None:
    shape = [(-1.4, -4), (1.4, -4), (1.4, 1), (4.6, 2), (4.6, 4), (-1.4, 4)]
    draw.polygon(_turned(at, shape, turn * 6.283, unit * 0.8), fill=tone)
    cuff = _turned(at, [(-1.4, -3.4), (1.4, -3.4)], turn * 6.283, unit * 0.8)
    draw.line(cuff, fill=PAPER, width=max(1, round(unit)))


CLUTTER: dict[str, Callable[[Draw, Point, float, float, RGB], None]] = {
    "leaves": _leaf,
    "papers": _paper,
    "toys": _toy,
    "cables": _cable,
    "posters": _poster,
    "books": _books,
    "confetti": _confetti,
    "bunting": _bunting,
    "socks": _sock,
}
"""Kind of clutter → the function that draws one piece of it. Its arguments are the image, the
centre in pixels, the pixels in a unit, a random number in [0, 1) for rotation and shape, and the
colour."""
PLACES: dict[str, tuple[str, int, int]] = {
    "leaves": ("floor", 7, 16),
    "papers": ("floor", 4, 9),
    "toys": ("floor", 6, 14),
    "cables": ("floor", 2, 4),
    "posters": ("wall", 3, 7),
    "books": ("floor", 3, 6),
    "confetti": ("both", 22, 50),
    "bunting": ("wall", 2, 4),
    "socks": ("floor", 4, 9),
}
"""Kind of clutter → where it lies, and the number of pieces for "few" and for "many" in a square
picture. Wider pictures get proportionally more."""
