"""Reads boxes, labels and values from a model's answer, which is usually JSON; and writes boxes.

No JSON parser is used: boxes are found even if the answer has a missing bracket, a trailing comma,
a code fence or a sentence around it. One regular expression finds them from left to right. Its
repetitions are possessive, so that no character is read twice and reading takes time linear in the
length of any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import Box

MAX_COORDINATE = 1e9
"""A box with a larger coordinate counts as unreadable, like one with an infinity."""

# NaN and infinity are matched, so that a first box that holds one is unreadable and not skipped.
_NUMBER = r"[-+]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[-+]?[0-9]++)?|nan|inf(?:inity)?+)"
_FOUR = r"\[\s*+" + r"\s*+,\s*+".join([rf"({_NUMBER})"] * 4) + r"\s*+(?:,\s*+)?\]"
_STRING = r"\"((?:[^\"\\\n]|\\[^\n])*+)\"|'((?:[^'\\\n]|\\[^\n])*+)'"
_TOKEN = re.compile(
    r"(?P<brace>[{}])"
    rf"|bbox(?:_?2d)?[\"']?\s*+[:=]\s*+(?:\[\s*+)?(?P<keyed>{_FOUR})"
    rf"|(?P<bare>{_FOUR})"
    rf"|(?<!\w)(?:label|category|class)[\"']?\s*+[:=]\s*+(?P<string>{_STRING})",
    re.IGNORECASE,
)
_KEYED, _BARE = _TOKEN.groupindex["keyed"], _TOKEN.groupindex["bare"]

_VALUE = re.compile(
    r"[\"']?([A-Za-z_]{1,32})[\"']?\s*+[:=]\s*+(?:\[\s*+)?"
    rf"(?:(?P<string>{_STRING})|([^\s,{{}}\[\]\"'][^,{{}}\[\]\"'\n]*+))"
)

_FENCE = re.compile(r"```[ \t]*+(?:json|python|text)?", re.IGNORECASE)


class FoundBox(NamedTuple):
    """A box in a text, in the units of the text. ``box`` is None when it is not finite or has no
    area; ``keyed`` is whether it is the value of a key bbox or bbox_2d."""

    box: Box | None
    keyed: bool


class FoundObject(NamedTuple):
    """A labelled box in a text, in the units of the text; ``box`` as in ``FoundBox``."""

    label: str
    box: Box | None


def find_boxes(text: str) -> Iterator[FoundBox]:
    """Yield every ``[x1, y1, x2, y2]`` in the text, in order. Takes linear time, never raises."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup in ("keyed", "bare"):
            yield FoundBox(_box(match), match.lastgroup == "keyed")


def find_objects(text: str) -> Iterator[FoundObject]:
    """Yield every object with a bbox or bbox_2d and a label, category or class, in the order of the
    text. If an object has several keys of the same kind, the first is used.

    An object ends at its closing brace, at the next opening one or at the end of the text. Takes
    linear time, never raises.
    """
    box: re.Match[str] | None = None
    label: re.Match[str] | None = None
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "keyed":
            box = box or match
        elif kind == "string":
            label = label or match
        elif kind == "brace":
            if box is not None and label is not None:
                yield FoundObject(_string(label), _box(box))
            box = label = None
    if box is not None and label is not None:
        yield FoundObject(_string(label), _box(box))


def find_values(text: str) -> Iterator[tuple[str, str]]:
    """Yield every key with a text or a number as its value, or as the first item of its value.

    Takes linear time, never raises.
    """
    for match in _VALUE.finditer(text):
        key, bare = match.group(1), match.group(match.re.groups)
        yield key, _string(match) if bare is None else bare.strip()


def without_fences(text: str) -> str:
    """Return the text without code fences and the white space around it."""
    return _FENCE.sub(" ", text).strip()


def written_box(box: Box, frame: CoordinateFrame) -> list[float]:
    """Return a box, given in original pixels, as a model writes it: in whole model units, or in
    thousandths if coordinates run from 0 to 1. It always has an area."""
    if frame.width <= 1:
        thousandths = replace(frame, width=1000.0, height=1000.0)
        return [value / 1000 for value in written_box(box, thousandths)]
    x1, y1, x2, y2 = (round(value) for value in frame.to_model(box))
    x1, y1 = min(x1, round(frame.width) - 1), min(y1, round(frame.height) - 1)
    return [x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)]


def _box(match: re.Match[str]) -> Box | None:
    first = (_KEYED if match.lastgroup == "keyed" else _BARE) + 1
    x1, y1, x2, y2 = map(float, match.group(first, first + 1, first + 2, first + 3))
    ordered = -MAX_COORDINATE <= x1 < x2 <= MAX_COORDINATE  # false for NaN too
    return (x1, y1, x2, y2) if ordered and -MAX_COORDINATE <= y1 < y2 <= MAX_COORDINATE else None


def _string(match: re.Match[str]) -> str:
    """Return the text between the quotes, with JSON's escapes resolved."""
    quotes = match.re.groupindex["string"]
    double, single = match.group(quotes + 1, quotes + 2)
    text: str = double if double is not None else single
    if "\\" not in text:
        return text
    try:
        value: str = json.loads(f'"{text}"')
        value.encode("utf-8")  # half a surrogate pair is no text
    except ValueError:
        return text
    return value
