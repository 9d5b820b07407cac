"""Reads a list of labelled boxes that is written exactly as a prompt asks for.

The form is ``[{"bbox_2d": [x1, y1, x2, y2], "label": "dog"}, …]``, with or without a code fence or
the outer brackets, and with nothing else in the text. Numbers have no plus sign and no exponent. A
label has only signs that ``answer_spelling`` never rewrites. ``answer_reading`` reads the same
objects from such a text, but takes about ten times as long; it reads all other texts by itself.
"""

from __future__ import annotations

import re

from syngrpo.sample import Box
from syngrpo.tasks.box_notation import checked

_NUMBER = r"(-?[0-9]++(?:\.[0-9]++)?)"
_OBJECT = re.compile(
    rf"\{{\"bbox_2d\": ?\[{', ?'.join([_NUMBER] * 4)}\], ?"
    r"\"label\": ?\"(\w[\w ,.'/&-]*+)\"\}"
)
_SPACE = " \t\n"
_BEGINS = frozenset({"", "[", "```json", "```json\n["})
_ENDS = frozenset({"", "]", "```", "]\n```"})

LabelledBox = tuple[str, Box | None]
"""A label and its box, None when the box is not finite or has no area."""


def objects_as_asked(text: str) -> list[LabelledBox] | None:
    """Return the objects in their order; None for a text in another form."""
    parts = _OBJECT.split(text)
    if len(parts) == 1:
        return None
    begin, *between, end = parts[::6]
    if begin.strip(_SPACE) not in _BEGINS or end.strip(_SPACE) not in _ENDS:
        return None
    if any(part.strip(_SPACE) != "," for part in set(between)):
        return None
    x1, y1, x2, y2 = (map(float, parts[place::6]) for place in range(1, 5))
    return list(zip(parts[5::6], map(checked, zip(x1, y1, x2, y2, strict=True)), strict=True))
