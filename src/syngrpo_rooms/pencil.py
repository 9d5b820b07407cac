"""Draws in units of the room instead of pixels, upwards from the floor line."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import ImageDraw

from syngrpo.sample import Box
from syngrpo_rooms.palette import RGB, shade

Point = tuple[float, float]


class Pencil:
    """Draws a fixture in units: x from its left edge (right edge when flipped), y up from its
    foot."""

    def __init__(self, draw: ImageDraw.ImageDraw, box: Box, unit: float, flip: bool) -> None:
        self.draw, self.box, self.unit, self.flip = draw, box, unit, flip
        self.width = (box[2] - box[0]) / unit

    def at(self, x: float, y: float) -> Point:
        """Units → pixels."""
        left, _, right, foot = self.box
        across = right - x * self.unit if self.flip else left + x * self.unit
        return (across, foot - y * self.unit)

    def block(
        self, x: float, y: float, w: float, h: float, fill: RGB, edge: bool = True, soft: float = 0
    ) -> None:
        """A rectangle whose lower left corner is (x, y); ``soft`` is the corner radius."""
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
        """A line through the points, ``width`` units thick."""
        corners = [self.at(*point) for point in points]
        thick = max(1, round(width * self.unit))
        joint = "curve" if len(corners) > 2 else None
        self.draw.line(corners, fill=fill, width=thick, joint=joint)

    def bar(self, start: Point, end: Point, fill: RGB, width: float = 0.8) -> None:
        """A straight upright or level line, ``width`` units thick: quicker than ``line``."""
        (x1, y1), (x2, y2), half = start, end, width / 2
        if x1 == x2:
            self.block(x1 - half, y1, width, y2 - y1, fill, edge=False)
        else:
            self.block(x1, y1 - half, x2 - x1, width, fill, edge=False)

    def shape(self, points: Sequence[Point], fill: RGB) -> None:
        """A filled polygon with a darker edge."""
        corners = [self.at(*point) for point in points]
        self.draw.polygon(corners, fill=fill)
        around = [*corners, corners[0]]
        self.draw.line(around, fill=shade(fill, 0.66), width=max(1, round(0.45 * self.unit)))

    def dots(self, points: Sequence[Point], fill: RGB) -> None:
        """Small square dots, 0.7 units wide."""
        side = max(1, round(0.7 * self.unit))
        corners = [(int(a), int(b)) for a, b in (self.at(*point) for point in points)]
        spread = [(i, j) for i in range(side) for j in range(side)]
        self.draw.point([(a + i, b + j) for a, b in corners for i, j in spread], fill=fill)


def parts(start: float, end: float, wanted: float) -> list[tuple[float, float]]:
    """Equal parts of about the wanted width that fill [start, end]: (left edge, width) each."""
    count = max(1, round((end - start) / wanted))
    width = (end - start) / count
    return [(start + k * width, width) for k in range(count)]
