"""Checks the labels of the user's data: names of classes, and boxes against their image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from syngrpo.boxes import clip
from syngrpo.sample import Box, EncodedImage, InputError, Sample

_NUMBERS = frozenset({int, float})

ROUNDING_PIXELS = 0.5
"""A box may reach out of its image by this much, because labelling tools round. It is clipped."""


class BoxError(InputError):
    """A box does not fit its image. ``hint`` is the end of the message: how it may be meant."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message + hint)
        self.hint = hint


class ConvertedBox(list[float]):
    """A box as corners in pixels, computed from numbers that say it in another way: ``written``."""

    def __init__(self, corners: Iterable[float], written: Sequence[Any]) -> None:
        super().__init__(corners)
        self.written = list(written)


def labels_of(sample: Sample) -> tuple[str, ...]:
    """Return the classes of the labelled objects, each once, in order of appearance."""
    return tuple(dict.fromkeys(thing.label for thing in sample.objects))


@lru_cache(maxsize=1024)
def class_key(label: str) -> str:
    """Return a text that is the same for all spellings of a class: case and white space are
    ignored."""
    return " ".join(label.split()).casefold()


def class_name(text: str) -> str:
    """Return the name with spaces for commas, which separate the classes of a question:
    ``"dog, sitting"`` → ``"dog sitting"``."""
    return " ".join(text.replace(",", " ").split())


def asked_classes(question: str) -> tuple[str, ...]:
    """Return the class names of a question, which joins them by commas. Raises InputError when a
    name is empty or occurs twice."""
    names = tuple(" ".join(name.split()) for name in question.split(","))
    if not all(names):
        raise InputError(f"question {shown(question)} is not class names joined by commas")
    if len({class_key(name) for name in names}) < len(names):
        raise InputError(f"question {shown(question)} asks for a class twice; name each once")
    return names


def shown(value: Any) -> str:
    """Return a value for an error message, on one line of at most 80 characters. Letters of every
    script are readable; line breaks and marks that change the direction of text are escaped."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def checked_box(value: Any, image: EncodedImage, name: str) -> Box:
    """Check that a JSON value is a box inside the image and return it. ``name`` is the name of the
    value in the message.

    Raises InputError when it is not four finite numbers, BoxError unless x1 < x2 and y1 < y2, and
    the box lies inside the image.
    """
    if isinstance(value, list) and len(value) == 4:
        x1, y1, x2, y2 = value
        # The fast path, for nearly every box. Comparisons with NaN are false.
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
    converted = isinstance(value, ConvertedBox)
    if x1 >= x2 or y1 >= y2:
        hint = "; write x1 < x2 and y1 < y2"
        if 0 <= x1 < x1 + x2 <= image.width and 0 <= y1 < y1 + y2 <= image.height:
            hint += ", or set boxes: xywh (--option boxes=xywh) if it is x, y, width, height"
        told = f"{_shown_box(name, value)} has no area"
        raise BoxError(told, "" if converted else hint)
    slack = ROUNDING_PIXELS
    outside_right = x2 > image.width + slack or y2 > image.height + slack
    if min(x1, y1) < -slack or outside_right:
        told = f"{_shown_box(name, value)} leaves the {image.width}x{image.height} image"
        meant = "" if converted else "; boxes are x1, y1, x2, y2 in its pixels"
        raise BoxError(told, meant + image.stored_view_hint(x2, y2))
    box = clip((x1, y1, x2, y2), image.width, image.height)
    if box[0] >= box[2] or box[1] >= box[3]:
        told = f"{_shown_box(name, value)} lies on the edge of the image, outside of it"
        raise BoxError(told)
    return box


def _shown_box(name: str, box: Sequence[Any]) -> str:
    """Return a box with its name, as it is written; if it was converted, its corners, too."""
    if not isinstance(box, ConvertedBox):
        return f"{name} {shown(box)}"
    corners = ", ".join(f"{number:.6g}" for number in box)
    return f"{name} {shown(box.written)}, which is x1, y1, x2, y2 = {corners} in pixels,"


def is_finite_number(value: Any) -> bool:
    """Return whether a JSON value is a number within the range of floats; true and false are
    not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False
