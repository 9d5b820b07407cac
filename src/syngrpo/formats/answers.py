"""What of an answer, of whatever task, is drawn and what is written."""

from __future__ import annotations

from collections import Counter
from typing import Any

from syngrpo.sample import Box


def answer_boxes(answer: Any) -> list[tuple[str, Box]]:
    """Class ("" without one) and box of everything that a ground truth, of whatever task, frames:
    one box, a list of labelled boxes, or nothing."""
    if _is_box(answer):
        return [("", answer)]
    if _is_list_of_instances(answer):
        return [(instance["label"], tuple(instance["box"])) for instance in answer]
    return []


def answer_words(answer: Any) -> str:
    """ "2 lamp, 1 chair", "none of them", "kitchen", "3"; "" for a single box."""
    if _is_box(answer):
        return ""
    if _is_list_of_instances(answer):
        counts = Counter(instance["label"] for instance in answer)
        return ", ".join(f"{n} {label}" for label, n in counts.items()) or "none of them"
    return str(answer)


def _is_box(answer: Any) -> bool:
    if not isinstance(answer, tuple) or len(answer) != 4:
        return False
    return all(isinstance(value, int | float) for value in answer)


def _is_list_of_instances(answer: Any) -> bool:
    return isinstance(answer, tuple | list) and all(
        isinstance(item, dict) and item.keys() >= {"label", "box"} for item in answer
    )
