"""The rewards of VLM-R1, exactly as it publishes them, with TRL's signature.

They are for comparing numbers with VLM-R1, and for ``data.rewards`` on data with VLM-R1's column
``solution``. They read VLM-R1's two-part responses, and follow its rules where these differ from
our tasks: coordinates are whole non-negative numbers, an intersection of one pixel's width does not
count, and detections are read only inside a ```` ```json ```` fence.

Source: om-ai-lab/VLM-R1, ``grpo_jsonl.py`` and ``vlm_modules/qwen_module.py``.

Every function takes ``completions``, texts or conversations whose first message has the text as its
"content", and returns one reward in [0, 1] for each; ``solution`` holds one text for each, its
answer inside ``<answer>…</answer>``. Boxes of both are xyxy in the same pixels; the caller converts
a model's coordinates to those of the original image. The functions raise InputError for a solution
that is not of this form, and never because of a completion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from syngrpo.sample import InputError
from syngrpo.tasks.average_precision import average_precision
from syngrpo.tasks.box_notation import MAX_COORDINATE
from syngrpo.tasks.labels import shown

Completion = str | Sequence[Mapping[str, Any]]

_THINK_TO_ANSWER = re.compile(r"</think>\s*+<answer>")
_BOX = re.compile(r"\[(\d++),\s*+(\d++),\s*+(\d++),\s*+(\d++)\]")
_REC_PARTS = tuple(
    re.compile(part)
    for part in ("<think>", _THINK_TO_ANSWER.pattern, r"\{", _BOX.pattern, r"\}", "</answer>")
)


def format_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """Return 1 for ``<think>…</think><answer>…</answer>`` with nothing around it and only white
    space between its parts, else 0. The content of the parts does not matter."""
    return [float(_two_parts(_text(one))) for one in completions]


def format_reward_rec(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """Return 1 if an answer that holds a box of four whole numbers inside braces follows directly
    after a ``<think>`` part, else 0. Text around them does not matter."""
    return [float(_holds_in_order(_text(one))) for one in completions]


def iou_reward(
    completions: Sequence[Completion], solution: Sequence[str], **kwargs: Any
) -> list[float]:
    """Return the reward of REC: the IoU of the first box in the first answer with the solution's, 0
    without a box. An intersection counts if it is wider and higher than one pixel."""
    rewards = []
    for one, truth in zip(completions, solution, strict=True):
        answer = next(_between(_text(one), "<answer>", "</answer>"), "")
        box = _BOX.search(answer.strip())
        corners = [float(number) for number in box.groups()] if box is not None else None
        rewards.append(_iou(corners, _true_box(truth)))
    return rewards


def odlength_reward(
    completions: Sequence[Completion], solution: Sequence[str], **kwargs: Any
) -> list[float]:
    """Return the reward of OVD: COCO AP@[.5:.95] × min(1, n_truth / n_predicted).

    Truth and prediction are read from the last fenced JSON of the last answer. Items of a class
    without ground truth or without a usable box are no detections, but count in n_predicted. If
    neither side lists anything the reward is 1, also for an answer that cannot be read; if only one
    does, it is 0. An item whose box is not finite is no detection (in VLM-R1, NaN matches
    everything).
    """
    return [
        _odlength(_last_answer(_text(one)), _last_answer(truth), truth)
        for one, truth in zip(completions, solution, strict=True)
    ]


def _odlength(answer: str | None, true_answer: str | None, solution: str) -> float:
    if answer is None:
        return 0.0
    truth = _true_instances(true_answer, solution)
    predicted = _fenced_items(answer)
    if not truth or not predicted:
        return float(not truth and not predicted)
    classes = {label: number for number, (label, _) in enumerate(truth)}
    found = [(classes[one["label"]], _corners(one)) for one in predicted if _known(one, classes)]
    if not found:
        return 0.0
    precision = average_precision(
        [box for _, box in found],
        [number for number, _ in found],
        [box for _, box in truth],
        [classes[label] for label, _ in truth],
    )
    return precision * min(1.0, len(truth) / len(predicted))


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else str(completion[0]["content"])


def _two_parts(text: str) -> bool:
    joint = _THINK_TO_ANSWER.search(text, len("<think>"))
    if joint is None or not text.startswith("<think>"):
        return False
    return text.endswith("</answer>") and joint.end() <= len(text) - len("</answer>")


def _holds_in_order(text: str) -> bool:
    place = 0
    for part in _REC_PARTS:
        match = part.search(text, place)
        if match is None:
            return False
        place = match.end()
    return True


def _between(text: str, start: str, end: str) -> Iterator[str]:
    """Yield the text between each pair of marks, from left to right, in linear time."""
    place = text.find(start)
    while place >= 0 and (close := text.find(end, place + len(start))) >= 0:
        yield text[place + len(start) : close]
        place = text.find(start, close + len(end))


def _last_answer(text: str) -> str | None:
    answers = list(_between(text, "<answer>", "</answer>"))
    return answers[-1].strip() if answers else None


def _fenced_items(answer: str) -> list[Any]:
    """Return the items of the last fenced JSON; [] where there is none, or where it is broken."""
    fenced = list(_between(answer, "```json", "```"))
    try:
        value = json.loads(fenced[-1].strip()) if fenced else []
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, list | dict | str) else []


def _corners(item: Any) -> list[float]:
    return [float(value) for value in item["bbox_2d"][:4]]


def _known(item: Any, classes: Mapping[str, int]) -> bool:
    """Return whether the item is a detection of one of the classes."""
    if not isinstance(item, dict):
        return False
    label, box = item.get("label"), item.get("bbox_2d")
    if not isinstance(label, str) or label not in classes:
        return False
    if not isinstance(box, list) or len(box) < 4:
        return False
    return all(isinstance(n, int | float) and abs(n) <= MAX_COORDINATE for n in box[:4])


def _iou(box: Sequence[float] | None, truth: Sequence[float]) -> float:
    if box is None:
        return 0.0
    wide = min(box[2], truth[2]) - max(box[0], truth[0])
    high = min(box[3], truth[3]) - max(box[1], truth[1])
    if wide <= 1 or high <= 1:
        return 0.0
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, truth)]
    return wide * high / (sum(areas) - wide * high)


def _true_box(solution: str) -> list[float]:
    try:
        box = json.loads(_last_answer(solution) or "")
        x1, y1, x2, y2 = (float(number) for number in box)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InputError(
            f"solution {shown(solution)} is not <answer> [x1, y1, x2, y2] </answer>"
        ) from None
    return [x1, y1, x2, y2]


def _true_instances(answer: str | None, solution: str) -> list[tuple[str, list[float]]]:
    """Return (label, box) of every instance; [] for the answer None."""
    if answer == "None":
        return []
    items = _fenced_items(answer or "")
    labels = {one["label"]: 0 for one in items if isinstance(one, dict) and "label" in one}
    if not items or not all(_known(one, labels) for one in items):
        raise InputError(
            f"solution {shown(solution)} is neither <answer> None </answer> nor a list of objects "
            "with bbox_2d and label inside <answer> ```json … ``` </answer>"
        )
    return [(one["label"], _corners(one)) for one in items]
