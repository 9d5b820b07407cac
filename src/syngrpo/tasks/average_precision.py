"""COCO average precision of one image, the number pycocotools gives, without its setting up.

Every detection scores the same, so their order is their rank. Definition: ``COCOeval`` of
pycocotools (``iouType="bbox"``, area range "all", at most 100 detections of a class); there the
greedy matching is ``evaluateImg``, the interpolation ``accumulate``, the mean ``summarize``.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100
LARGEST_AREA = 1e10
"""The end of the area range "all", in square pixels."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def average_precision(
    boxes: ArrayLike, classes: ArrayLike, truth_boxes: ArrayLike, truth_classes: ArrayLike
) -> float:
    """AP@[.5:.95] in [0, 1]: the mean over classes with ground truth, thresholds and recalls.

    ``boxes`` (D, 4) and ``truth_boxes`` (G, 4) are xyxy pixels, ``classes`` (D,) and
    ``truth_classes`` (G,) whole numbers; detections of classes without ground truth do not count.
    As in pycocotools, an unmatched detection whose area is negative (inverted) or above
    ``LARGEST_AREA`` is no false positive. Ground truth has a positive area up to that.

    Raises ValueError when there is no ground truth.
    """
    truth, truth_class = _boxes(truth_boxes), np.asarray(truth_classes, dtype=np.int64)
    if not len(truth):
        raise ValueError("average precision is not defined without ground truth")
    found, found_class = _boxes(boxes), np.asarray(classes, dtype=np.int64)
    labels, truths = np.unique(truth_class, return_counts=True)
    rows = [np.flatnonzero(found_class == label)[:MAX_DETECTIONS] for label in labels]
    order = np.concatenate(rows)  # class by class, in each by rank
    found, found_class = found[order], found_class[order]
    overlap = np.where(found_class[:, None] == truth_class, _iou(found, truth), 0.0)
    area = _area(found)
    hits = _match(overlap)
    counted = hits | ((area >= 0) & (area <= LARGEST_AREA))
    total, end = 0.0, 0
    for members, count in zip(rows, truths.tolist(), strict=True):
        start, end = end, end + len(members)
        total += _interpolated(hits[:, start:end], counted[:, start:end], count)
    return total / len(labels)


def _boxes(boxes: ArrayLike) -> Floats:
    """xyxy → (N, 4) xywh, in which pycocotools computes: equal to the last bit at a threshold."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _area(boxes: Floats) -> Floats:
    return boxes[:, 2] * boxes[:, 3]


def _iou(found: Floats, truth: Floats) -> Floats:
    """(D, 4) and (G, 4) xywh → (D, G)."""
    x, y, width, height = found.T[:, :, None]
    truth_x, truth_y, truth_width, truth_height = truth.T
    wide = np.minimum(x + width, truth_x + truth_width) - np.maximum(x, truth_x)
    high = np.minimum(y + height, truth_y + truth_height) - np.maximum(y, truth_y)
    common = wide * high
    touching = (wide > 0) & (high > 0)
    union = width * height + truth_width * truth_height - common
    return np.divide(common, union, out=np.zeros_like(common), where=touching)


def _match(overlap: Floats) -> Flags:
    """(D, G) IoU, 0 between classes → (thresholds, D): which detections are true positives.

    In the order of the detections each takes the free ground truth it overlaps most, of equal ones
    the last. All thresholds at once: a set of thresholds is a whole number, one bit each.
    """
    rows, columns = np.nonzero(overlap >= THRESHOLDS[0])
    best_first = np.lexsort((-columns, -overlap[rows, columns], rows))
    rows, columns = rows[best_first], columns[best_first]
    reached = np.searchsorted(THRESHOLDS, overlap[rows, columns], side="right")
    hits = [0] * overlap.shape[0]
    free = [-1] * overlap.shape[1]
    pairs = zip(rows.tolist(), columns.tolist(), ((1 << reached) - 1).tolist(), strict=True)
    for d, g, thresholds in pairs:
        taken = thresholds & free[g] & ~hits[d]
        free[g] &= ~taken
        hits[d] |= taken
    bits = np.array(hits, dtype=np.int64) >> np.arange(len(THRESHOLDS))[:, None]
    return (bits & 1).astype(bool)


def _interpolated(hits: Flags, counted: Flags, truths: int) -> float:
    """(thresholds, D) true positives, and which detections count at all → mean precision.

    The interpolated precision at a recall is the best one from there on, 0 where the recall is not
    reached. It changes only at true positives, so each stands for the recalls that it settles.
    """
    true = hits.cumsum(axis=1)
    precision = np.where(hits, true, 0) / np.maximum(counted.cumsum(axis=1), 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    settles = np.where(hits, _settled(truths)[true], 0)
    return float((best * settles).sum() / (len(THRESHOLDS) * len(RECALLS)))


@functools.cache
def _settled(truths: int) -> NDArray[np.int64]:
    """(truths + 1,): how many of the recalls the k-th true positive is the first to reach."""
    reached = np.arange(1, truths + 1) / truths
    first = np.searchsorted(reached, RECALLS, side="left") + 1
    return np.bincount(first, minlength=truths + 1)
