"""Draws the things of the twelve labelled classes, each as a few shaded shapes.

``room_renderer`` calls ``draw_thing``, which calls the function of the class (``SHAPES``). These
functions draw with a ``Pen``, whose coordinates run from (0, 0), the top left corner of the thing's
box, to (1, 1), its bottom right corner. Every drawing touches all four sides of the box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import ImageDraw

from syngrpo.sample import Box
from syngrpo_rooms.palette import METAL, PAPER, RGB, THING_COLOURS, WOOD, mix, shade
from syngrpo_rooms.scenes import Thing

Point = tuple[float, float]


class Pen:
    """Draws one thing into the picture, and its number into a map of thing numbers.

    The map has the size of the picture. ``box`` is xyxy in pixels, ``stroke`` is the width of
    outlines in pixels, and with ``flip`` the thing is mirrored. Points of all methods are given in
    coordinates from (0, 0) to (1, 1) of the box.
    """

    def __init__(
        self,
        picture: ImageDraw.ImageDraw,
        ids: ImageDraw.ImageDraw,
        number: int,
        box: Box,
        colour: RGB,
        flip: bool,
        stroke: int,
    ) -> None:
        self.picture, self.ids, self.number = picture, ids, number
        self.box, self.colour, self.flip, self.stroke = box, colour, flip, stroke
        self.dark, self.light = shade(colour, 0.72), shade(colour, 1.28)
        self.edge = mix(colour, (30, 26, 34), 0.55)

    def at(self, point: Point) -> Point:
        """Return the position in pixels of a point in coordinates of the box."""
        x1, y1, x2, y2 = self.box
        u = 1 - point[0] if self.flip else point[0]
        # A drawn shape includes its last pixel, hence the - 1.
        return (x1 + u * (x2 - x1 - 1), y1 + point[1] * (y2 - y1 - 1))

    def _corners(self, a: Point, b: Point) -> list[float]:
        (x1, y1), (x2, y2) = self.at(a), self.at(b)
        return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]

    def polygon(self, points: Sequence[Point], fill: RGB | None = None, edge: bool = True) -> None:
        """Draw a filled polygon, with a thin dark outline if ``edge`` is set."""
        corners = [self.at(point) for point in points]
        self.picture.polygon(corners, fill=fill or self.colour)
        self.ids.polygon(corners, fill=self.number)
        if edge:
            around = [*corners, corners[0]]
            self.picture.line(around, fill=self.edge, width=self.stroke)
            self.ids.line(around, fill=self.number, width=self.stroke)

    def block(self, a: Point, b: Point, fill: RGB | None = None, round_: float = 0.0) -> None:
        """Draw a rectangle between two corners. ``round_`` is the radius of its corners as a share
        of the box's width."""
        box, radius = self._corners(a, b), round_ * (self.box[2] - self.box[0])
        self.picture.rounded_rectangle(
            box, radius, fill=fill or self.colour, outline=self.edge, width=self.stroke
        )
        self.ids.rounded_rectangle(box, radius, fill=self.number)

    def ellipse(self, a: Point, b: Point, fill: RGB | None = None, edge: bool = True) -> None:
        """Draw an ellipse that fills the rectangle between two corners."""
        box = self._corners(a, b)
        outline = self.edge if edge else None
        self.picture.ellipse(box, fill=fill or self.colour, outline=outline, width=self.stroke)
        self.ids.ellipse(box, fill=self.number)

    def ring(self, a: Point, b: Point, width: float) -> None:
        """Draw the outline of an ellipse. ``width`` is its thickness as a share of the box's
        width."""
        box, pixels = self._corners(a, b), max(2, round(width * (self.box[2] - self.box[0])))
        self.picture.ellipse(box, outline=self.dark, width=pixels)
        self.ids.ellipse(box, outline=self.number, width=pixels)

    def stripe(self, points: Sequence[Point], fill: RGB, width: float) -> None:
        """Draw a line into the picture only. It must lie inside the shapes that were drawn before.
        ``width`` is its thickness as a share of the box's width."""
        pixels = max(1, round(width * (self.box[2] - self.box[0])))
        self.picture.line([self.at(point) for point in points], fill=fill, width=pixels)


def _chair(pen: Pen) -> None:
    pen.polygon([(0.70, 0.60), (0.82, 0.60), (0.86, 0.93), (0.76, 0.93)], pen.dark)
    pen.polygon([(0.24, 0.60), (0.34, 0.60), (0.32, 0.93), (0.24, 0.93)], pen.dark)
    pen.polygon([(0.0, 0.0), (0.22, 0.0), (0.30, 0.52), (0.10, 0.56)])
    pen.stripe([(0.09, 0.08), (0.18, 0.46)], pen.light, 0.05)
    pen.polygon([(0.12, 0.46), (0.90, 0.46), (1.0, 0.58), (0.06, 0.58)], pen.light)
    pen.polygon([(0.06, 0.58), (1.0, 0.58), (1.0, 0.67), (0.06, 0.67)])
    pen.polygon([(0.06, 0.66), (0.19, 0.66), (0.13, 1.0), (0.02, 1.0)])
    pen.polygon([(0.86, 0.66), (1.0, 0.66), (1.0, 1.0), (0.89, 1.0)])


def _sofa(pen: Pen) -> None:
    pen.block((0.08, 0.86), (0.15, 1.0), WOOD)
    pen.block((0.85, 0.86), (0.92, 1.0), WOOD)
    pen.block((0.07, 0.0), (0.93, 0.75), round_=0.08)
    pen.block((0.11, 0.44), (0.50, 0.72), pen.light, round_=0.04)
    pen.block((0.50, 0.44), (0.89, 0.72), pen.light, round_=0.04)
    pen.block((0.04, 0.66), (0.96, 0.90), pen.dark, round_=0.02)
    pen.block((0.0, 0.28), (0.17, 0.92), round_=0.06)
    pen.block((0.83, 0.28), (1.0, 0.92), round_=0.06)


def _table(pen: Pen) -> None:
    pen.block((0.20, 0.3), (0.27, 0.86), pen.dark)
    pen.block((0.73, 0.3), (0.80, 0.86), pen.dark)
    pen.block((0.04, 0.34), (0.14, 1.0))
    pen.block((0.86, 0.34), (0.96, 1.0))
    pen.polygon([(0.12, 0.0), (0.88, 0.0), (1.0, 0.26), (0.0, 0.26)], pen.light)
    pen.block((0.0, 0.26), (1.0, 0.42))


def _bed(pen: Pen) -> None:
    pen.block((0.03, 0.70), (0.97, 0.88), WOOD)
    pen.block((0.04, 0.44), (0.96, 0.72), PAPER, round_=0.03)
    pen.block((0.09, 0.28), (0.33, 0.52), PAPER, round_=0.05)
    pen.polygon([(0.38, 0.38), (0.95, 0.38), (0.95, 0.80), (0.32, 0.80)])
    pen.polygon([(0.38, 0.38), (0.48, 0.38), (0.43, 0.80), (0.32, 0.80)], pen.light)
    pen.block((0.0, 0.0), (0.09, 1.0), pen.dark, round_=0.02)
    pen.block((0.92, 0.26), (1.0, 1.0), pen.dark, round_=0.02)


def _lamp(pen: Pen) -> None:
    pen.block((0.43, 0.36), (0.57, 0.94), METAL)
    pen.ellipse((0.16, 0.9), (0.84, 1.0), METAL)
    pen.polygon([(0.24, 0.0), (0.76, 0.0), (1.0, 0.4), (0.0, 0.4)])
    pen.polygon([(0.40, 0.03), (0.58, 0.03), (0.62, 0.36), (0.32, 0.36)], pen.light, edge=False)


def _plant(pen: Pen) -> None:
    pen.polygon([(0.18, 0.66), (0.82, 0.66), (0.70, 1.0), (0.30, 1.0)], shade(PAPER, 0.86))
    pen.block((0.14, 0.62), (0.86, 0.74), shade(PAPER, 0.95))
    pen.polygon([(0.45, 0.66), (0.02, 0.50), (0.0, 0.26), (0.28, 0.36)], pen.dark)
    pen.polygon([(0.55, 0.66), (0.98, 0.50), (1.0, 0.26), (0.72, 0.36)], pen.dark)
    pen.polygon([(0.44, 0.64), (0.16, 0.32), (0.18, 0.06), (0.42, 0.22)])
    pen.polygon([(0.56, 0.64), (0.84, 0.32), (0.82, 0.06), (0.58, 0.22)])
    pen.polygon([(0.50, 0.66), (0.36, 0.30), (0.50, 0.0), (0.64, 0.30)], pen.light)


def _vase(pen: Pen) -> None:
    right = [
        (0.72, 0.0), (0.66, 0.07), (0.62, 0.16), (0.68, 0.28), (0.88, 0.42), (1.0, 0.58),
        (0.97, 0.72), (0.84, 0.88), (0.74, 1.0),
    ]  # fmt: skip
    left = [(1 - u, v) for u, v in reversed(right)]
    pen.polygon(right + left)
    pen.polygon([(0.03, 0.50), (0.97, 0.50), (1.0, 0.60), (0.0, 0.60)], pen.light, edge=False)
    pen.ellipse((0.28, 0.0), (0.72, 0.08), pen.edge, edge=False)
    pen.stripe([(0.22, 0.46), (0.16, 0.62), (0.22, 0.78)], shade(pen.colour, 1.6), 0.07)


def _ball(pen: Pen) -> None:
    pen.ellipse((0.0, 0.0), (1.0, 1.0))
    pen.stripe([(0.04, 0.40), (0.30, 0.54), (0.70, 0.54), (0.96, 0.40)], PAPER, 0.12)
    pen.stripe([(0.16, 0.82), (0.40, 0.92), (0.70, 0.90), (0.86, 0.80)], pen.dark, 0.08)
    pen.ellipse((0.24, 0.12), (0.46, 0.30), shade(pen.colour, 1.7), edge=False)


def _box(pen: Pen) -> None:
    pen.polygon([(0.0, 0.28), (0.24, 0.0), (1.0, 0.0), (0.76, 0.28)], pen.light)
    pen.polygon([(0.76, 0.28), (1.0, 0.0), (1.0, 0.72), (0.76, 1.0)], pen.dark)
    pen.polygon([(0.0, 0.28), (0.76, 0.28), (0.76, 1.0), (0.0, 1.0)])
    pen.polygon([(0.30, 0.28), (0.46, 0.28), (0.46, 1.0), (0.30, 1.0)], PAPER, edge=False)
    pen.polygon([(0.30, 0.28), (0.46, 0.28), (0.70, 0.0), (0.54, 0.0)], PAPER, edge=False)


def _cup(pen: Pen) -> None:
    pen.ring((0.52, 0.22), (1.0, 0.74), 0.11)
    pen.polygon([(0.0, 0.08), (0.74, 0.08), (0.66, 1.0), (0.08, 1.0)])
    pen.polygon([(0.10, 0.2), (0.22, 0.2), (0.24, 0.92), (0.15, 0.92)], pen.light, edge=False)
    pen.ellipse((0.0, 0.0), (0.74, 0.2), pen.dark)


def _clock(pen: Pen) -> None:
    pen.ellipse((0.0, 0.0), (1.0, 1.0))
    pen.ellipse((0.19, 0.19), (0.81, 0.81), PAPER)
    pen.stripe([(0.5, 0.28), (0.5, 0.52), (0.67, 0.60)], (40, 38, 44), 0.07)


def _mirror(pen: Pen) -> None:
    pen.block((0.0, 0.0), (1.0, 1.0), round_=0.4)
    pen.block((0.17, 0.11), (0.83, 0.89), (188, 218, 232), round_=0.26)
    pen.stripe([(0.32, 0.52), (0.62, 0.26)], (240, 248, 252), 0.09)
    pen.stripe([(0.40, 0.70), (0.70, 0.44)], (240, 248, 252), 0.06)


SHAPES: dict[str, Callable[[Pen], None]] = {
    "chair": _chair,
    "sofa": _sofa,
    "table": _table,
    "bed": _bed,
    "lamp": _lamp,
    "plant": _plant,
    "vase": _vase,
    "ball": _ball,
    "box": _box,
    "cup": _cup,
    "clock": _clock,
    "mirror": _mirror,
}
"""Class name → the function that draws a thing of this class."""


def draw_thing(
    picture: ImageDraw.ImageDraw, ids: ImageDraw.ImageDraw, number: int, thing: Thing, scale: int
) -> None:
    """Draw a thing into ``picture``, and its ``number`` into the map of thing numbers ``ids``.

    Both are ``scale`` times as large as the picture to which the thing's box belongs.
    """
    red, green, blue = (min(255, int(c * thing.tone)) for c in THING_COLOURS[thing.colour])
    x1, y1, x2, y2 = thing.box
    box = (x1 * scale, y1 * scale, x2 * scale, y2 * scale)
    stroke = max(1, round(0.7 * scale * (y2 - y1 + x2 - x1) / 50))
    stroke = min(stroke, scale)
    SHAPES[thing.label](Pen(picture, ids, number, box, (red, green, blue), thing.flip, stroke))
