"""Draws boxes with their labels over a small image, also what of them lies outside of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from syngrpo.boxes import area, clip, intersection
from syngrpo.formats.sheet_text import draw_text, text_size
from syngrpo.sample import Box
from syngrpo.serving.wording import count

INSIDE, OUTSIDE, CUT, NO_AREA = "inside", "outside", "cut", "no area"

DASH = 5
"""Length of a dash, and of the gap behind it, in pixels."""
ARROW = 12
"""Length of the arrow towards a box that lies outside, in pixels."""
RADIUS = 4
"""Radius of a point in pixels."""
LETTERS = 22
"""Number of letters of a label that are drawn."""
SLACK = 0.51
"""A box may reach out of its image by this many pixels without being called outside: labelling
tools round, and such a box is read."""


@dataclass(frozen=True)
class DrawnBox:
    """A box as x1, y1, x2, y2 in pixels of its image, which may lie anywhere, with its colour and
    what is written at it; "" for nothing."""

    corners: Box
    colour: str
    label: str = ""

    def seen(self, width: int, height: int) -> str:
        """Return how much of the box an image of this size shows: INSIDE, CUT, OUTSIDE, or NO_AREA
        for a box that ends before it begins."""
        x1, y1, x2, y2 = self.corners
        if x1 >= x2 or y1 >= y2:
            return NO_AREA
        if min(x1, y1) >= -SLACK and x2 <= width + SLACK and y2 <= height + SLACK:
            return INSIDE
        return CUT if intersection(self.corners, (0, 0, width, height)) > 0 else OUTSIDE


def small_picture(image: Image.Image, side: int) -> tuple[Image.Image, float]:
    """Return an image that fits a square, and the scale by which it was resized."""
    scale = min(side / image.width, side / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size), scale


def draw_boxes(picture: Image.Image, boxes: Sequence[DrawnBox], scale: float) -> None:
    """Draw boxes over a picture, whose image was resized by ``scale``.

    An edge outside of the image is a dashed line where the box leaves it, and a box that lies
    outside altogether is an arrow that points to it.
    """
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    for box in boxes:
        x1, y1, x2, y2 = (scale * number for number in box.corners)
        whole = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        part = clip(whole, width - 1, height - 1)
        if box.seen(round(width / scale), round(height / scale)) == OUTSIDE or _is_out(whole, part):
            at = _arrow(draw, whole, width, height, box.colour)
        else:
            _edges(draw, whole, part, box.colour)
            at = part[:2]
        _label(draw, at, box, width, height)


def draw_point(picture: Image.Image, point: tuple[float, float], colour: str) -> None:
    """Draw a point, in pixels of the picture."""
    x, y = point
    corners = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
    ImageDraw.Draw(picture).ellipse(corners, outline=colour, width=2)


def outside_words(boxes: Iterable[DrawnBox], width: int, height: int) -> str:
    """Return in words how many boxes an image of this size does not show whole; "" for none."""
    seen = [box.seen(width, height) for box in boxes]
    parts: list[str] = []
    for kind, one, many in (
        (OUTSIDE, "lies outside (arrow)", "lie outside (arrows)"),
        (CUT, "reaches outside (dashed)", "reach outside (dashed)"),
        (NO_AREA, "ends before it begins", "end before they begin"),
    ):
        if number := seen.count(kind):
            of = count(number, "box") if not parts else str(number)
            parts.append(f"{of} {one if number == 1 else many}")
    return ", ".join(parts)


def short(text: str, letters: int) -> str:
    """Return a text of at most so many letters on one line."""
    line = " ".join(text.split())
    return line if len(line) <= letters else line[: letters - 1] + "…"


def _is_out(whole: Box, part: Box) -> bool:
    """Return whether nothing of a box that may have no area is inside of the picture."""
    return area(whole) == 0 and part[:2] != whole[:2] and part[2:] != whole[2:]


def _edges(draw: ImageDraw.ImageDraw, whole: Box, part: Box, colour: str) -> None:
    x1, y1, x2, y2 = part
    lines = {0: (x1, y1, x1, y2), 1: (x1, y1, x2, y1), 2: (x2, y1, x2, y2), 3: (x1, y2, x2, y2)}
    for side, line in lines.items():
        if abs(part[side] - whole[side]) > 1:
            _dashed(draw, line, colour)
        else:
            draw.line(line, fill=colour, width=2)


def _dashed(
    draw: ImageDraw.ImageDraw, line: tuple[float, float, float, float], colour: str
) -> None:
    x1, y1, x2, y2 = line
    length = max(x2 - x1, y2 - y1)
    steps = int(length // (2 * DASH)) + 1
    for step in range(steps):
        start, end = (min(1.0, (2 * step + n) * DASH / max(length, 1)) for n in (0, 1))
        across, down = x2 - x1, y2 - y1
        ends = (x1 + start * across, y1 + start * down, x1 + end * across, y1 + end * down)
        draw.line(ends, fill=colour, width=3)


def _arrow(
    draw: ImageDraw.ImageDraw, whole: Box, width: int, height: int, colour: str
) -> tuple[float, float]:
    """Draw an arrow at the edge of the picture that points to a box outside. Return the upper left
    corner of a label beside it."""
    x, y = (whole[0] + whole[2]) / 2, (whole[1] + whole[3]) / 2
    tip_x, tip_y = min(max(x, 1), width - 2), min(max(y, 1), height - 2)
    across, along = (x > width) - (x < 0), (y > height) - (y < 0)
    length = (across**2 + along**2) ** 0.5 or 1.0
    right, down = across / length, along / length
    back_x, back_y = tip_x - ARROW * right, tip_y - ARROW * down
    half = ARROW / 2
    wings = [
        (back_x - half * down, back_y + half * right),
        (back_x + half * down, back_y - half * right),
    ]
    draw.polygon([(tip_x, tip_y), *wings], fill=colour)
    tail = (tip_x - 2.5 * ARROW * right, tip_y - 2.5 * ARROW * down)
    draw.line((back_x, back_y, *tail), fill=colour, width=3)
    return min(tip_x, tail[0]), min(tip_y, tail[1]) + half


def _label(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], box: DrawnBox, width: int, height: int
) -> None:
    if not box.label:
        return
    text = short(box.label, LETTERS)
    wide, high = text_size(draw, text, 11)
    x: float = min(max(at[0], 0.0), max(0.0, width - wide - 3))
    above, below = at[1] - high - 3, min(max(at[1] + 1, 0.0), max(0.0, height - high - 3))
    y = above if above > 0 else below
    draw.rectangle((x, y, x + wide + 3, y + high + 2), fill=box.colour)
    draw_text(draw, (x + 2, y), text, "black", 11)
