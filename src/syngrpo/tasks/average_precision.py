"""COCO's average precision of one image, the reward of detection.

It is the number that ``COCOeval`` of pycocotools computes (``iouType="bbox"``, area range "all", at
most 100 detections of a class), but faster: ``evaluateImg`` there does the greedy matching,
``accumulate`` the interpolation, ``summarize`` the mean. All detections have the same score, so
their order is their rank.

A reward is computed for every response, and an answer has few boxes of a class. For so few, plain
Python takes less time than arrays.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain, repeat

import numpy as np

THRESHOLDS: list[float] = np.linspace(0.5, 0.95, 10).tolist()
"""The IoU from which on a detection matches a ground truth."""
RECALLS: list[float] = np.linspace(0.0, 1.0, 101).tolist()
MAX_DETECTIONS = 100
LARGEST_AREA = 1e10
"""The end of the area range "all", in square pixels."""

Outcome = bool | None
"""What a detection is at one threshold: true positive, false positive, or neither (None)."""

_ALL = (1 << len(THRESHOLDS)) - 1
"""A set of thresholds is an integer whose bit t stands for threshold t. These are all of them."""
_OUTCOMES: list[tuple[bool, ...]] = [
    tuple(bool(hits >> t & 1) for t in range(len(THRESHOLDS))) for hits in range(_ALL + 1)
]


_Rectangle = tuple[float, float, float, float, float]
"""Left, top, right and bottom edge and area of a box. The right edge is x1 + (x2 - x1), as
pycocotools computes it, so that rounding is the same at a threshold."""


def average_precision(
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    truth_boxes: Sequence[Sequence[float]],
    truth_classes: Sequence[int],
) -> float:
    """Return AP@[.5:.95] in [0, 1]: the mean over classes with ground truth, thresholds, recalls.

    ``boxes`` (D, 4) and ``truth_boxes`` (G, 4) are xyxy pixels, ``classes`` (D,) and
    ``truth_classes`` (G,) whole numbers; detections of classes without ground truth do not count.
    As in pycocotools, an unmatched detection whose area is negative (inverted) or above
    ``LARGEST_AREA`` is no false positive. The area of every ground truth must lie in between.

    Raises ValueError when there is no ground truth.
    """
    if not len(truth_boxes):
        raise ValueError("average precision is not defined without ground truth")
    truths: dict[int, list[_Rectangle]] = {label: [] for label in sorted(truth_classes)}
    found: dict[int, list[_Rectangle]] = {label: [] for label in truths}
    for box, label in zip(truth_boxes, truth_classes, strict=True):
        truths[label].append(_rectangle(box))
    for box, label in zip(boxes, classes, strict=True):
        if label in found:
            found[label].append(_rectangle(box))
    total = 0.0
    for label, wanted in truths.items():
        total += _class_precision(found[label][:MAX_DETECTIONS], wanted)
    return total / len(truths)


def _rectangle(box: Sequence[float]) -> _Rectangle:
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return x1, y1, x1 + width, y1 + height, width * height


def _class_precision(found: Sequence[_Rectangle], truths: Sequence[_Rectangle]) -> float:
    """Return the mean precision over all recalls and thresholds of the detections of one class, in
    the order of their rank."""
    hits = _match(found, truths)
    if not any(hits):
        return 0.0
    outcomes = [
        _OUTCOMES[thresholds]
        if 0 <= one[4] <= LARGEST_AREA
        else tuple([hit or None for hit in _OUTCOMES[thresholds]])
        for one, thresholds in zip(found, hits, strict=True)
    ]
    rows = map(_interpolated, zip(*outcomes, strict=True), repeat(len(truths)))
    # The sum of np.array(rows), in less time.
    parts = np.fromiter(chain.from_iterable(rows), float, len(THRESHOLDS) * len(found))
    return float(np.add.reduce(parts)) / (len(THRESHOLDS) * len(RECALLS))


def _match(found: Sequence[_Rectangle], truths: Sequence[_Rectangle]) -> list[int]:
    """Return for every detection the thresholds at which it is a true positive.

    In their order, each detection takes the free ground truth that it overlaps most, the last of
    several equal ones.
    """
    free = [_ALL] * len(truths)
    matched = []
    for one in found:
        hits = 0
        overlaps = _overlaps(one, truths)
        if len(overlaps) > 1:
            overlaps.sort(reverse=True)
        for overlap, number in overlaps:
            reached = (1 << bisect_right(THRESHOLDS, overlap)) - 1
            taken = reached & free[number] & ~hits
            free[number] &= ~taken
            hits |= taken
        matched.append(hits)
    return matched


def _overlaps(one: _Rectangle, truths: Sequence[_Rectangle]) -> list[tuple[float, int]]:
    """Return the IoU with every ground truth that overlaps enough for some threshold, and the
    number of this ground truth."""
    left, top, right, bottom, area = one
    overlaps = []
    for number, (x1, y1, x2, y2, truth_area) in enumerate(truths):
        wide = (right if right < x2 else x2) - (left if left > x1 else x1)
        if wide <= 0:
            continue
        high = (bottom if bottom < y2 else y2) - (top if top > y1 else y1)
        if high <= 0:
            continue
        common = wide * high
        union = area + truth_area - common
        if union > 0 and (overlap := common / union) >= THRESHOLDS[0]:
            overlaps.append((overlap, number))
    return overlaps


@lru_cache(maxsize=4096)
def _interpolated(outcomes: tuple[Outcome, ...], truths: int) -> tuple[float, ...]:
    """Return the parts that the detections of one class add to the sum of the interpolated
    precision over all recalls, at one threshold.

    The interpolated precision at a recall is the highest precision at this or any larger recall,
    and 0 for a recall that is not reached. It changes only at true positives, so each true positive
    is weighted by the number of recalls that it is the first to reach.
    """
    settled = _settled(truths)
    true = list(accumulate(hit is True for hit in outcomes))
    counted = accumulate(hit is not None for hit in outcomes)
    precision = [t / c if hit else 0.0 for hit, t, c in zip(outcomes, true, counted, strict=True)]
    best = list(accumulate(reversed(precision), max))[::-1]
    return tuple(
        value * settled[t] if hit else 0.0
        for hit, t, value in zip(outcomes, true, best, strict=True)
    )


@lru_cache(maxsize=1024)
def _settled(truths: int) -> list[int]:
    """Return for k from 0 to ``truths`` the number of recalls that the k-th true positive is the
    first to reach."""
    reached = np.arange(1, truths + 1) / truths
    first = np.searchsorted(reached, RECALLS, side="left") + 1
    return np.bincount(first, minlength=truths + 1).tolist()
