"""Draws the answers of a group over its picture, for trackers, which show pictures of pixels.

Pages draw answers as vectors instead (``pages/labelled_picture.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from syngrpo.sample import Sample

Box = tuple[str, float, float, float, float]
Point = tuple[str, float, float]
"""A label with a box or a point in pixels of the original picture, as ``KeptResponse`` has them."""

SIDE = 512
"""Longer side of a drawn picture in pixels."""
TRUTH = (20, 184, 90)
WRONG, RIGHT = (255, 45, 134), (40, 130, 255)
"""Colours of answers with the accuracy 0 and 1; those between are mixed."""


@dataclass(frozen=True)
class Marks:
    """The boxes and points of one answer or of the ground truth."""

    boxes: Sequence[Box] = ()
    points: Sequence[Point] = ()


@dataclass(frozen=True)
class AnsweredGroup:
    """A sample with the answers to it, as a tracker shows them.

    ``answers`` are texts, None for a response without an answer; ``marks`` are those of each,
    ``truth`` those of the ground truth.
    """

    sample: Sample
    truth: Marks
    marks: Sequence[Marks]
    answers: Sequence[str | None]
    accuracies: Sequence[float]
    descriptions: Sequence[str]
    diversity: float


def drawn_answers(group: AnsweredGroup) -> Image.Image:
    """Return the picture with the ground truth in green and each answer in a colour from pink
    (wrong) to blue (right), right ones on top. Raises InputError for a picture that cannot be
    decoded."""
    picture = Image.fromarray(group.sample.image.decode())
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    _mark(draw, group.truth, TRUTH, 5, scale)
    for accuracy, marks in sorted(
        zip(group.accuracies, group.marks, strict=True), key=lambda pair: pair[0]
    ):
        _mark(draw, marks, _colour(accuracy), 2, scale)
    return picture


def _mark(
    draw: ImageDraw.ImageDraw, marks: Marks, colour: tuple[int, int, int], width: int, scale: float
) -> None:
    def place(value: float) -> float:
        """An answer may be anywhere; Pillow cannot draw far outside of the picture."""
        return min(max(value * scale, -float(SIDE)), 2.0 * SIDE)

    for _, x1, y1, x2, y2 in marks.boxes:
        left, right = sorted((place(x1), place(x2)))
        top, bottom = sorted((place(y1), place(y2)))
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
    for _, x, y in marks.points:
        draw.circle((place(x), place(y)), 2.5 * width, outline=colour, width=width)


def _colour(accuracy: float) -> tuple[int, int, int]:
    share = min(max(accuracy, 0.0), 1.0)
    red, green, blue = np.round((1 - share) * np.array(WRONG) + share * np.array(RIGHT)).astype(int)
    return int(red), int(green), int(blue)
