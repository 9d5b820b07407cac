"""Reads the boxes in an answer that a data set holds as a text, as JSON, or in Python's notation.

A label is read strictly, other than the answer of a model: what is not a list of boxes is refused.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, NamedTuple

from syngrpo.formats.box_layout import Coordinates
from syngrpo.sample import InputError
from syngrpo.tasks.labels import shown

BOX_KEYS = ("bbox_2d", "bbox", "box", "Position", "position", "coordinates")
LABEL_KEYS = ("label", "name", "class", "category", "Label")
NOTHING = ("none", "no objects", "no object", "no target", "no targets")
"""What an answer says when there is nothing to find."""

BOX_START = "<|box_start|>"
"""What stands before a box in Qwen2-VL's notation, whose numbers count thousandths of the image."""

ONLY_BOXES = "and rows of this kind are read for boxes only"

LONGEST = 1_000_000
"""Longest text in characters that is parsed as Python's notation."""

_ANSWER = re.compile(r"<answer>(?P<inside>.*?)(?:</answer>|$)", re.IGNORECASE | re.DOTALL)
_FENCE = re.compile(r"```(?:json)?", re.IGNORECASE)
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_POINTS = re.compile(rf"\({_NUMBER},{_NUMBER}\)\s*,?\s*\({_NUMBER},{_NUMBER}\)")
_MARKED = re.compile(
    r"<\|object_ref_start\|>(?P<label>.*?)<\|object_ref_end\|>"
    r"|<\|box_start\|>(?P<box>.*?)<\|box_end\|>",
    re.DOTALL,
)


class FoundAnswer(NamedTuple):
    """The boxes of an answer, each with its label or None, unchecked; and what their numbers count
    if the way of writing says it."""

    objects: list[tuple[str | None, Any]]
    coordinates: Coordinates | None = None


def boxes_in(value: Any) -> FoundAnswer:
    """Return the boxes of an answer: a box, an object with a box, a list of either, or "None"; as
    JSON, as text, in ``<answer>`` or fenced; or in Qwen2-VL's notation.

    Raises InputError when it is nothing of these.
    """
    if isinstance(value, str):
        if BOX_START in value:
            return _marked(value)
        value = _parsed(answer_text(value))
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise InputError(f"the answer {shown(value)} holds no box, {ONLY_BOXES}")
    is_box = len(value) == 4 and not any(isinstance(item, dict | list) for item in value)
    return FoundAnswer([_labelled(item) for item in ([value] if is_box else value)])


def answer_text(text: str) -> str:
    """Return the text inside ``<answer>``, the last if there are several, without code fences; the
    whole text if there is none."""
    inside = [match["inside"] for match in _ANSWER.finditer(text)]
    return _FENCE.sub("", inside[-1] if inside else text).strip()


def from_json(value: Any) -> Any:
    """Return the value of a text that is JSON (a list, an object, a text, a number, null), and
    anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return value if isinstance(parsed, bool) else parsed


def _parsed(text: str) -> Any:
    if text.strip(".\"' ").lower() in NOTHING:
        return []
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if points := _POINTS.fullmatch(text):
        return [float(number) for number in points.groups()]
    try:
        value = ast.literal_eval(text[:LONGEST])
        return list(value) if isinstance(value, tuple) else value
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise InputError(
            f"the answer {shown(text)} is neither JSON nor None, {ONLY_BOXES}"
        ) from None


def _labelled(item: Any) -> tuple[str | None, Any]:
    if not isinstance(item, dict):
        return None, item
    label = next((item[key] for key in LABEL_KEYS if item.get(key) is not None), None)
    box = next((item[key] for key in BOX_KEYS if item.get(key) is not None), None)
    if box is None:
        raise InputError(f"the answer {shown(item)} has no bbox_2d")
    if label is not None and not isinstance(label, str):
        raise InputError(f"the label {shown(label)} is not a text")
    return label, box


def _marked(text: str) -> FoundAnswer:
    """Read Qwen2-VL's notation, whose coordinates run from 0 to 1000: a label between object_ref
    marks belongs to the boxes that follow it."""
    label: str | None = None
    objects: list[tuple[str | None, Any]] = []
    for match in _MARKED.finditer(text):
        if match["box"] is None:
            label = match["label"].strip() or None
            continue
        numbers = _POINTS.fullmatch(match["box"].strip())
        if numbers is None:
            raise InputError(f"the box {shown(match['box'])} is not (x1,y1),(x2,y2)")
        objects.append((label, [float(number) for number in numbers.groups()]))
    if not objects:
        raise InputError(f"the answer {shown(text)} holds no box, {ONLY_BOXES}")
    return FoundAnswer(objects, "0-1000")
