"""Draws the fixtures that show the type of a room: a kitchen's cupboards, a gym's wall bars.

Fixtures stand along the wall, in whites, greys and wood tones. None of their shapes resembles a
labelled class and none has the colour of a labelled thing, so the labels of a scene stay true
whichever fixture is drawn.

``room_renderer`` calls ``draw_fixture``, which calls the function of the room type (``FIXTURES``).
These functions draw with a ``Pencil``, whose coordinates are in units. A unit is 1/128 of the
picture's shorter side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import ImageDraw

from syngrpo.boxes import intersection
from syngrpo.sample import Box
from syngrpo_rooms.palette import RGB, mix, shade

Point = tuple[float, float]

HEIGHT = 62.0
"""Height of every fixture in units. It is less than the height of the lowest wall."""
WHITE: RGB = (244, 243, 239)
STEEL: RGB = (186, 190, 196)
GRAPHITE: RGB = (70, 74, 82)
GLASS: RGB = (44, 48, 56)
OAK: RGB = (196, 158, 114)
PINE: RGB = (220, 190, 146)
WALNUT: RGB = (124, 90, 64)
TINTED: tuple[RGB, ...] = ((98, 116, 140), (136, 108, 104), (112, 128, 112))
"""Slightly coloured greys, for binders and towels."""
BINDERS: tuple[RGB, ...] = (GRAPHITE, (128, 132, 138), (226, 226, 224), *TINTED)
"""Colours of the ring binders in an office."""


def draw_fixture(
    draw: ImageDraw.ImageDraw,
    kind: str,
    wall: Box,
    unit: float,
    avoid: Sequence[Box],
    rng: np.random.Generator,
    at_side: bool = False,
) -> Box:
    """Draw the fixture of a room type along the wall and return its box.

    Of several random places the fixture takes the one that overlaps the ``avoid`` boxes least. It
    stands on the lower edge of ``wall`` and takes 50-85 % of its width. With ``at_side`` it takes
    at most 60 % and stands near one end of the wall, which leaves room for a window.

    ``kind`` is the room type. All boxes are xyxy in pixels, and ``unit`` is the number of pixels in
    a unit. Raises KeyError for an unknown room type.
    """
    paint = FIXTURES[kind]
    room = wall[2] - wall[0]
    width = room * float(rng.uniform(0.5, 0.6 if at_side else 0.85))
    starts = [0.03, 0.97] if at_side else rng.uniform(0.02, 0.98, size=5).tolist()
    lefts = wall[0] + rng.permutation(starts) * (room - width)
    boxes = [(x, wall[3] - HEIGHT * unit, x + width, wall[3]) for x in lefts.tolist()]
    place = min(boxes, key=lambda box: sum(intersection(box, other) for other in avoid))
    paint(Pencil(draw, place, unit, bool(rng.random() < 0.5)), rng)
    return place


class Pencil:
    """Draws a fixture with coordinates in units.

    x is counted from the left edge of ``box`` to the right, or with ``flip`` from its right edge to
    the left; y is counted upwards from its lower edge. ``box`` is xyxy in pixels, ``unit`` is the
    number of pixels in a unit, and ``width`` is the width of the box in units.
    """

    def __init__(self, draw: ImageDraw.ImageDraw, box: Box, unit: float, flip: bool) -> None:
        self.draw, self.box, self.unit, self.flip = draw, box, unit, flip
        self.width = (box[2] - box[0]) / unit

    def at(self, x: float, y: float) -> Point:
        """Return the position in pixels of a point given in units."""
        left, _, right, foot = self.box
        across = right - x * self.unit if self.flip else left + x * self.unit
        return (across, foot - y * self.unit)

    def block(
        self, x: float, y: float, w: float, h: float, fill: RGB, edge: bool = True, soft: float = 0
    ) -> None:
        """Draw a rectangle from (x, y) to (x + w, y + h), with a darker outline if ``edge`` is set.
        ``soft`` is the radius of its corners in units."""
        (a, bottom), (b, top) = self.at(x, y), self.at(x + w, y + h)
        box = (min(a, b), top, max(a, b), bottom)
        outline = shade(fill, 0.66) if edge else None
        line = max(1, round(0.45 * self.unit))
        if soft:
            radius = soft * self.unit
            self.draw.rounded_rectangle(box, radius, fill=fill, outline=outline, width=line)
        else:
            self.draw.rectangle(box, fill=fill, outline=outline, width=line)

    def line(self, points: Sequence[Point], fill: RGB, width: float = 0.8) -> None:
        """Draw a line through the points, ``width`` units thick."""
        corners = [self.at(*point) for point in points]
        thick = max(1, round(width * self.unit))
        joint = "curve" if len(corners) > 2 else None
        self.draw.line(corners, fill=fill, width=thick, joint=joint)

    def bar(self, start: Point, end: Point, fill: RGB, width: float = 0.8) -> None:
        """Draw a vertical line upwards or a horizontal line towards larger x, ``width`` units
        thick. This is faster than ``line``."""
        (x1, y1), (x2, y2), half = start, end, width / 2
        if x1 == x2:
            self.block(x1 - half, y1, width, y2 - y1, fill, edge=False)
        else:
            self.block(x1, y1 - half, x2 - x1, width, fill, edge=False)

    def shape(self, points: Sequence[Point], fill: RGB) -> None:
        """Draw a filled polygon with a darker outline."""
        corners = [self.at(*point) for point in points]
        self.draw.polygon(corners, fill=fill)
        around = [*corners, corners[0]]
        self.draw.line(around, fill=shade(fill, 0.66), width=max(1, round(0.45 * self.unit)))

    def dots(self, points: Sequence[Point], fill: RGB) -> None:
        """Draw square dots at the points, 0.7 units wide."""
        side = max(1, round(0.7 * self.unit))
        corners = [(int(a), int(b)) for a, b in (self.at(*point) for point in points)]
        spread = [(i, j) for i in range(side) for j in range(side)]
        self.draw.point([(a + i, b + j) for a, b in corners for i, j in spread], fill=fill)


def parts(start: float, end: float, wanted: float) -> list[tuple[float, float]]:
    """Divide [start, end] into equal parts of about the width ``wanted``, and return (start, width)
    of each part."""
    count = max(1, round((end - start) / wanted))
    width = (end - start) / count
    return [(start + k * width, width) for k in range(count)]


def _pick(colours: Sequence[RGB], rng: np.random.Generator) -> RGB:
    return colours[int(rng.integers(len(colours)))]


def _tiles(pen: Pencil, x: float, y: float, w: float, h: float, fill: RGB, side: float) -> None:
    """Draw a rectangle of square tiles, about ``side`` units wide."""
    pen.block(x, y, w, h, fill)
    joint = shade(fill, 0.84)
    for left, _ in parts(x, x + w, side)[1:]:
        pen.bar((left, y), (left, y + h), joint, 0.5)
    for low, _ in parts(y, y + h, side)[1:]:
        pen.bar((x, low), (x + w, low), joint, 0.5)


def _kitchen(pen: Pencil, rng: np.random.Generator) -> None:
    """Draw cupboards below and above a worktop, an oven with its hob, and an extractor hood."""
    doors = _pick((WHITE, (214, 214, 210), OAK, (150, 156, 160)), rng)
    top = _pick((GRAPHITE, WALNUT, (208, 206, 200)), rng)
    end = pen.width
    middle = end * float(rng.uniform(0.4, 0.6))
    oven = (middle - 10, middle + 10)
    pen.block(1, 0, end - 2, 3, shade(GRAPHITE, 0.8), edge=False)
    _tiles(pen, 0.5, 26, end - 1, 15, (232, 234, 232), 4.4)
    for a, b in ((0.0, oven[0]), (oven[1], end)):
        for x, w in parts(a, b, 15):
            pen.block(x, 3, w, 19.5, doors)
            pen.block(x + 1.6, 5, w - 3.2, 15.5, shade(doors, 0.95))
            pen.bar((x + w - 3.4, 16), (x + w - 3.4, 19.6), GRAPHITE, 0.9)
            pen.block(x, 41, w, 21, doors)
            pen.block(x + 1.6, 43, w - 3.2, 17, shade(doors, 0.95))
            pen.bar((x + w - 3.4, 44), (x + w - 3.4, 47.6), GRAPHITE, 0.9)
    pen.block(oven[0], 2, 20, 20.5, STEEL)
    pen.block(oven[0] + 2, 4, 16, 10.5, GLASS, soft=1)
    pen.line([(oven[0] + 4, 6), (oven[0] + 8, 13)], mix(GLASS, WHITE, 0.4), 1)
    pen.bar((oven[0] + 2.5, 16.2), (oven[1] - 2.5, 16.2), GRAPHITE, 1.1)
    for k in range(4):
        pen.block(oven[0] + 3.4 + 3.8 * k, 18.4, 1.8, 2.4, GRAPHITE, edge=False)
    pen.block(-1, 22.5, end + 2, 3.2, top)
    pen.block(oven[0], 25.7, 20, 1.2, GLASS, edge=False)
    pen.shape(
        [(oven[0], 40), (oven[1], 40), (middle + 9.4, 43.6), (middle + 4.4, 49),
         (middle - 4.4, 49), (middle - 9.4, 43.6)],
        STEEL,
    )  # fmt: skip
    pen.block(middle - 4.4, 48, 8.8, 14, shade(STEEL, 1.2))
    pen.bar((oven[0] + 1, 41.2), (oven[1] - 1, 41.2), GRAPHITE, 0.9)


def _bathroom(pen: Pencil, rng: np.random.Generator) -> None:
    """Draw a bathtub with tap and shower in front of tiles, and towels on a rail."""
    tile = _pick(((226, 234, 236), (222, 226, 222), (200, 212, 216)), rng)
    end, side = pen.width, float(rng.uniform(5.5, 7.5))
    _tiles(pen, 0, 0, end, HEIGHT - 4, tile, side)
    pen.block(0, 42, end, 2.6, shade(tile, 0.7), edge=False)
    tub = min(end - 3, 78.0)
    pen.line([(10, 20), (10, 56), (17, 57.5), (21, 55.5)], shade(STEEL, 0.62), 1.5)
    pen.shape([(16.4, 50), (26.4, 50), (23, 55), (19.8, 55)], shade(STEEL, 0.8))
    for k in range(5):
        x = 17.6 + 1.9 * k
        pen.line([(x, 48.4), (x + (k - 2) * 0.5, 38)], (176, 204, 218), 0.6)
    pen.bar((6.5, 26.5), (13.5, 26.5), shade(STEEL, 0.55), 2)
    pen.line([(11.5, 26), (16, 26), (16, 23)], shade(STEEL, 0.62), 1.6)
    _towels(pen, 34, min(end - 4, tub), rng)
    for x in (10.0, tub - 10):
        pen.shape([(x - 3, 4), (x + 3, 4), (x + 1.6, 0), (x - 1.6, 0)], shade(STEEL, 0.75))
    pen.shape(
        [(3, 19), (tub, 19), (tub - 2, 10), (tub - 6, 4.4), (tub - 11, 2.6),
         (13, 2.6), (8, 4.4), (5, 9)],
        WHITE,
    )  # fmt: skip
    pen.shape([(6, 9), (tub - 3, 9), (tub - 7, 4.6), (tub - 11, 3), (13, 3), (8.6, 4.6)],
              shade(WHITE, 0.9))  # fmt: skip
    pen.block(1, 18, tub + 1, 3.6, (252, 252, 250), soft=1.7)
    if end - tub > 24:
        _towels(pen, tub + 5, end - 4, rng)


def _towels(pen: Pencil, start: float, end: float, rng: np.random.Generator) -> None:
    """Draw a rail with towels between the x coordinates ``start`` and ``end``."""
    pen.bar((start - 1, 38), (end, 38), shade(STEEL, 0.6), 1.3)
    for x, w in parts(start, end, 17):
        tone = mix(_pick((WHITE, *TINTED), rng), WHITE, 0.35)
        low = float(rng.uniform(23.5, 26))
        pen.block(x + 1, low, w - 3, 39 - low, tone, soft=0.6)
        for k in (2.5, 4.5):
            pen.bar((x + 1.4, low + k), (x + w - 2.4, low + k), shade(tone, 0.74), 0.8)


def _office(pen: Pencil, rng: np.random.Generator) -> None:
    """Draw shelves of ring binders, and a whiteboard with scribbles above filing cabinets."""
    wood = _pick((PINE, WALNUT, (206, 206, 208)), rng)
    end = pen.width
    shelf = end * float(rng.uniform(0.42, 0.5))
    pen.block(0, 0, shelf, HEIGHT, shade(wood, 0.62))
    for row in range(4):
        low = 1.5 + row * 15.2
        spots = parts(2, shelf - 2, 4.4)
        for (x, w), (gap, short, tone) in zip(spots, rng.random((len(spots), 3)), strict=True):
            if gap > 0.08:
                _binder(pen, x, low, w - 0.3, 12.4 - short, BINDERS[int(tone * len(BINDERS))])
        pen.block(0, low - 1.5, shelf, 1.8, wood)
    pen.block(0, HEIGHT - 1.6, shelf, 1.6, wood)
    for x in (0.0, shelf - 1.8):
        pen.block(x, 0, 1.8, HEIGHT, wood)
    start = shelf + 4
    for x, w in parts(start, end, 24):
        pen.block(x, 0, w, 21, STEEL)
        for low in (1.2, 7.8, 14.4):
            pen.block(x + 1.2, low, w - 2.4, 5.8, shade(STEEL, 1.25))
            pen.bar((x + w / 2 - 2.6, low + 3.6), (x + w / 2 + 2.6, low + 3.6), GRAPHITE, 1)
    _whiteboard(pen, start, 27, end - start, 32, rng)


def _binder(pen: Pencil, x: float, y: float, w: float, h: float, back: RGB) -> None:
    pen.block(x, y, w, h, back)
    pen.block(x + 0.9, y + h * 0.5, w - 1.8, h * 0.34, WHITE, edge=False)
    pen.block(x + w / 2 - 0.8, y + h * 0.18, 1.6, 1.6, shade(back, 0.45), edge=False)


def _whiteboard(
    pen: Pencil, x: float, y: float, w: float, h: float, rng: np.random.Generator
) -> None:
    pen.block(x, y, w, h, shade(STEEL, 0.85))
    pen.block(x + 1.5, y + 1.5, w - 3, h - 3, (252, 252, 252), edge=False)
    ink = (66, 84, 120)
    for k, words in enumerate(rng.uniform(0.12, 0.3, 4).tolist()):
        heights = y + h - 6 - 3.4 * k + rng.uniform(-0.7, 0.7, 2 + int(w * words))
        pen.line([(x + 4 + 1.5 * j, at) for j, at in enumerate(heights.tolist())], ink, 0.9)
    left, right, low = x + w * 0.5, x + w - 4, y + 5
    pen.line([(left, low + 11), (left, low), (right, low)], GRAPHITE, 0.9)
    rise = [(left + (right - left) * t, low + 1.5 + 8 * t * t) for t in (0.05, 0.35, 0.65, 0.95)]
    pen.line(rise, (150, 74, 74), 1)
    pen.block(x + 5, y + 4.6, 5, 5, (232, 222, 168), edge=False)
    pen.block(x + w * 0.25, y - 1, w * 0.5, 1.8, GRAPHITE, edge=False)


def _workshop(pen: Pencil, rng: np.random.Generator) -> None:
    """Draw a board with hanging tools above a workbench with a vice."""
    board, wood = _pick((PINE, (206, 184, 150), (214, 214, 210)), rng), _pick((OAK, WALNUT), rng)
    end = pen.width
    pen.block(0, 28, end, HEIGHT - 28, board)
    holes = [(x, y) for x, _ in parts(2, end - 1, 5) for y in range(31, 60, 5)]
    pen.dots(holes, shade(board, 0.62))
    order = rng.permutation(len(TOOLS)).tolist()
    for k, (x, w) in enumerate(parts(2, end - 2, 13.5)):
        TOOLS[order[k % len(TOOLS)]](pen, x + w / 2)
    pen.block(1, 0, end - 2, 19, shade(wood, 0.55))
    for k, (x, w) in enumerate(parts(1, end - 1, 26)):
        if k % 2:
            for low in (1.0, 7.0, 13.0):
                pen.block(x + 1, low, w - 2, 5.4, (146, 150, 156))
                pen.bar((x + 4, low + 3.4), (x + w - 4, low + 3.4), GRAPHITE, 1)
        else:
            for low in (1.5, 4.3, 7.1):
                pen.bar((x + 3, low + 0.6), (x + w - 3, low + 0.6), shade(PINE, 0.9), 2)
        pen.block(x, 0, 2.6, 19, shade(wood, 0.86))
    pen.block(-1, 19, end + 2, 4.4, wood)
    vice = end * 0.72
    pen.block(vice, 18, 9, 3, GRAPHITE)
    pen.block(vice + 0.6, 21, 3.2, 5.4, (112, 118, 126))
    pen.block(vice + 5.4, 21, 3.2, 5.4, (112, 118, 126))
    pen.bar((vice + 8, 22.6), (vice + 13, 22.6), STEEL, 1.1)
    pen.bar((vice + 12.6, 20), (vice + 12.6, 25.4), STEEL, 1.1)


def _hammer(pen: Pencil, x: float) -> None:
    pen.bar((x, 32), (x, 52), WALNUT, 2.2)
    head = [(x - 5, 55.5), (x - 5, 51), (x + 2.6, 51), (x + 5.4, 53.6), (x + 2.6, 55.5)]
    pen.shape(head, GRAPHITE)


def _saw(pen: Pencil, x: float) -> None:
    pen.shape([(x - 3.6, 51), (x + 4.6, 51), (x + 1.2, 31.5), (x - 2, 31.5)], shade(STEEL, 1.15))
    teeth = [(x + 5 - 0.17 * k, 50.5 - k) for k in range(0, 19, 2)]
    pen.dots(teeth, GRAPHITE)
    pen.shape([(x - 4.4, 50), (x + 5, 50), (x + 4, 58), (x - 3.6, 58)], WALNUT)
    pen.block(x - 1.6, 52.4, 3.6, 3, PINE, edge=False)


def _wrench(pen: Pencil, x: float) -> None:
    pen.bar((x, 34), (x, 53), (122, 128, 136), 2.4)
    for y, way in ((54.0, 1), (33.0, -1)):
        pen.shape(
            [(x - 3.4, y - 2 * way), (x + 3.4, y - 2 * way), (x + 4, y + 3.4 * way),
             (x + 1.4, y + 3.4 * way), (x + 1.2, y + 0.4 * way), (x - 1.2, y + 0.4 * way),
             (x - 1.4, y + 3.4 * way), (x - 4, y + 3.4 * way)],
            (122, 128, 136),
        )  # fmt: skip


def _screwdrivers(pen: Pencil, x: float) -> None:
    for k, tone in enumerate((GRAPHITE, TINTED[1], WALNUT)):
        at = x - 4 + 4 * k
        pen.bar((at, 35 + 1.6 * k), (at, 49), shade(STEEL, 0.72), 0.9)
        pen.block(at - 1.3, 48, 2.6, 8.6, tone, soft=1)


def _pliers(pen: Pencil, x: float) -> None:
    for way in (-1, 1):
        pen.line([(x + 2.8 * way, 34), (x + 2.4 * way, 42), (x, 48)], TINTED[0], 2)
        pen.shape([(x, 47), (x + 2.6 * way, 50), (x + 0.7 * way, 56.5), (x, 54)], GRAPHITE)


TOOLS = (_hammer, _saw, _wrench, _screwdrivers, _pliers)
"""Functions that draw one tool on the board of the workshop, around the given x coordinate."""


def _gym(pen: Pencil, rng: np.random.Generator) -> None:
    """Draw wall bars, and a rack of dumbbells in front of a part of them."""
    wood, end = _pick(((184, 142, 98), WALNUT, (164, 120, 80)), rng), pen.width
    pen.block(0, 0, end, HEIGHT, _pick(((238, 236, 230), (216, 218, 220), (198, 202, 206)), rng))
    for y in range(4, 60, 6):
        pen.bar((1, y - 1), (end - 1, y - 1), shade(wood, 0.5), 1.2)
        pen.bar((1, y), (end - 1, y), shade(wood, 1.15), 2)
    for x, _ in [*parts(0, end - 3, 24), (end - 3, 3)]:
        pen.block(x, 0, 3, HEIGHT, shade(wood, 0.86))
    start = end * float(rng.uniform(0.36, 0.5))
    for x in (start, end - 3.4):
        pen.block(x, 0, 2.4, 33, GRAPHITE, edge=False)
        pen.block(x - 1.6, 0, 5.6, 1.8, GRAPHITE, edge=False)
    for low in (4.0, 14.5, 25.0):
        pen.block(start, low, end - start - 1, 2, (112, 116, 122))
        for x, w in parts(start + 3, end - 4, 14):
            _dumbbell(pen, x + w / 2, low + 2, w - 1.4)


def _dumbbell(pen: Pencil, x: float, y: float, w: float) -> None:
    pen.block(x - w / 2, y + 2, w, 1.8, STEEL, edge=False)
    for side in (-1, 1):
        at = x + side * (w / 2 - 1.9)
        pen.block(at - 1.9, y, 3.8, 5.8, (58, 60, 66))
        pen.block(at - 0.9, y + 3.4, 1.8, 1.4, (120, 124, 132), edge=False)


FIXTURES: dict[str, Callable[[Pencil, np.random.Generator], None]] = {
    "kitchen": _kitchen,
    "bathroom": _bathroom,
    "office": _office,
    "workshop": _workshop,
    "gym": _gym,
}
"""Room type → the function that draws its fixture."""
