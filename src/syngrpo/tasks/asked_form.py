"""Reads a list of labelled boxes that is written exactly as a prompt asks for.

The form is ``[{"bbox_2d": [x1, y1, x2, y2], "label": "dog"}, …]``, with or without a code fence or
the outer brackets, and with nothing else in the text. Numbers have at most 15 digits before and
after the point, no plus sign and no exponent; none is -0 or between -1 and 0. A label has only
signs that ``answer_spelling`` never rewrites. Such objects are JSON, and every number means the
same there. ``answer_reading`` reads the same objects from such a text, but takes about ten times as
long; it reads all other texts by itself.
"""

from __future__ import annotations

import json
import re

from syngrpo.sample import Box
from syngrpo.tasks.box_notation import checked

_NUMBER = r"(?:0|-?[1-9][0-9]{0,14}+)(?:\.[0-9]{1,15}+)?+"
_OBJECT = rf"\{{\"bbox_2d\": ?\[{', ?'.join([_NUMBER] * 4)}\], ?\"label\": ?\"\w[\w ,.'/&-]*+\"\}}"
_SPACE = r"[ \t\n]*+"
_BEGIN, _END = r"(?:```json\n\[|```json|\[)?+", r"(?:\]\n```|\]|```)?+"
_FORM = re.compile(
    rf"{_SPACE}{_BEGIN}{_SPACE}({_OBJECT}(?:{_SPACE},{_SPACE}{_OBJECT})*+){_SPACE}{_END}{_SPACE}"
)

LabelledBox = tuple[str, Box | None]
"""A label and its box, None when the box is not finite or has no area."""


def objects_as_asked(text: str) -> list[LabelledBox] | None:
    """Return the objects in their order; None for a text in another form."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    found: list[LabelledBox] = []
    for one in json.loads(f"[{form[1]}]"):
        x1, y1, x2, y2 = one["bbox_2d"]
        found.append((one["label"], checked((float(x1), float(y1), float(x2), float(y2)))))
    return found
