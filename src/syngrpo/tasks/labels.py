"""Reading labels: boxes checked against their image, the classes of a sample."""

from __future__ import annotations

import math
from typing import Any

from syngrpo.boxes import clip
from syngrpo.sample import Box, EncodedImage, InputError, Sample

_NUMBERS = frozenset({int, float})

ROUNDING_PIXELS = 0.5
"""A box may leave its image by this much, the rounding of labelling tools; it is clipped."""


def labels_of(sample: Sample) -> tuple[str, ...]:
    """The classes of the labelled objects, each once, in order of appearance."""
    return tuple(dict.fromkeys(thing.label for thing in sample.objects))


def class_key(label: str) -> str:
    """What two spellings of the same class have in common: case and white space do not matter."""
    return " ".join(label.split()).casefold()


def shown(value: Any) -> str:
    """A value as an error message shows it: one line, not longer than 80 characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def checked_box(value: Any, image: EncodedImage, name: str) -> Box:
    """A JSON value → a box with area inside the image. ``name`` is what the message calls it.

    Raises InputError when it is not four finite numbers x1 < x2, y1 < y2 inside the image.
    """
    if type(value) is list and len(value) == 4:
        x1, y1, x2, y2 = value
        # Nearly every box of a large data set; comparisons with NaN are false.
        if (
            {type(x1), type(y1), type(x2), type(y2)} <= _NUMBERS
            and 0 <= x1 < x2 <= image.width
            and 0 <= y1 < y2 <= image.height
        ):
            return (float(x1), float(y1), float(x2), float(y2))
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise InputError(f"{name} {shown(value)} is not a box; write [x1, y1, x2, y2] in pixels")
    if not all(is_finite_number(number) for number in value):
        raise InputError(f"{name} {shown(value)} holds something that is not a finite number")
    x1, y1, x2, y2 = (float(number) for number in value)
    if x1 >= x2 or y1 >= y2:
        raise InputError(f"{name} {shown(value)} has no area; write x1 < x2 and y1 < y2")
    slack = ROUNDING_PIXELS
    outside_right = x2 > image.width + slack or y2 > image.height + slack
    if min(x1, y1) < -slack or outside_right:
        raise InputError(
            f"{name} {shown(value)} leaves the {image.width}x{image.height} image; "
            "boxes are x1, y1, x2, y2 in its pixels"
        )
    box = clip((x1, y1, x2, y2), image.width, image.height)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InputError(f"{name} {shown(value)} lies on the edge of the image, outside of it")
    return box


def is_finite_number(value: Any) -> bool:
    """Whether a JSON value is a number (true and false are not) within the range of floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False
