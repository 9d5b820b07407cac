"""COCO's metrics of detection of a whole data set.

``DetectionMetrics`` computes mAP, also of small, medium and large objects, AP50 and greedy F1 of a
data set. Answers have no confidence, so every detection has score 1. COCO's ranking is then the
order of the samples, and within an answer the order in which the model wrote. A class has an
average precision if some sample holds it; a detection of such a class is a false positive if its
box matches nothing, also in an image that does not hold the class or was not asked for it. Labels
that no sample holds belong to no class of COCO: they lower F1 only. Labels are compared without
regard to case, also with ``vlm_r1_labels``.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from syngrpo.boxes import ious
from syngrpo.sample import Box
from syngrpo.tasks.average_precision import LARGEST_AREA, MAX_DETECTIONS, THRESHOLDS
from syngrpo.tasks.labels import class_key

_PAIRS = 4096
"""Pairs of boxes that become Python objects at a time."""
AREAS = {
    "all": (0.0, LARGEST_AREA),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, LARGEST_AREA),
}
"""COCO's ranges of the area of a box, in square pixels of the original image."""

F1_IOU = 0.5
"""In F1, a detection matches an instance of its class if their IoU is at least this."""

Instances = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class _Class:
    """One class over the N samples in COCO's order.

    ``matched`` bool (T, D): whether each of its D detections matches at each of T IoU thresholds;
    ``counted`` bool (T, D): whether it counts at all, which it does not outside COCO's area range;
    ``detections`` and ``truths`` int (N,): the numbers of them in each sample.
    """

    matched: np.ndarray
    counted: np.ndarray
    detections: np.ndarray
    truths: np.ndarray


class DetectionMetrics:
    """Matches every answer with its ground truth once; then computes the metrics of any selection
    of the N samples.

    ``truths`` and ``predictions`` hold one tuple of instances (label and xyxy box) for each sample;
    a prediction is None when it could not be read. Their order is the rank of the samples.

    mAP and AP50 are biased in a bootstrap: COCO's interpolated precision is a maximum over the rest
    of the ranking, and in a resample, which holds fewer different samples, it is higher by chance.
    """

    _of_sizes = tuple(f"greedy/map_{size}" for size in AREAS if size != "all")
    names: tuple[str, ...] = ("greedy/map", "greedy/ap50", "greedy/f1@0.5", *_of_sizes)
    biased: frozenset[str] = frozenset({"greedy/map", "greedy/ap50", *_of_sizes})

    def __init__(
        self, truths: Sequence[Instances], predictions: Sequence[Instances | None]
    ) -> None:
        found = [prediction or () for prediction in predictions]
        self._evaluation = _evaluate(truths, found)
        self._recalls: np.ndarray = self._evaluation.params.recThrs
        self._classes = {
            size: _classes(self._evaluation, area, len(truths)) for size, area in AREAS.items()
        }
        pairs = zip(truths, found, strict=True)
        self._counts = np.array([_f1_counts(*pair) for pair in pairs], dtype=np.float64)

    def values(self, counts: np.ndarray) -> np.ndarray:
        """Return mAP@[.5:.95], AP50, F1@0.5, and mAP of small, medium and large objects, of a
        selection that holds sample i ``counts[i]`` times.

        mAP and AP50 are NaN when the samples hold no instance (of that size); F1 is 1 when they
        hold none and none was predicted.
        """
        matches, found, wanted = counts @ self._counts
        f1 = 2 * matches / (found + wanted) if found + wanted else 1.0
        whole, *of_sizes = (self._mean(size, counts) for size in AREAS)
        return np.array([whole.mean(), whole[0], f1, *(one.mean() for one in of_sizes)])

    def _mean(self, size: str, counts: np.ndarray) -> np.ndarray:
        """Return the mean over classes of the average precision at every IoU threshold (T,), NaN
        without an instance of this size."""
        classes = [one for one in self._classes[size] if one.truths @ counts]
        if not classes:
            return np.full(len(THRESHOLDS), np.nan)
        return np.mean([self._precision(one, counts) for one in classes], axis=0)

    def _precision(self, one: _Class, counts: np.ndarray) -> np.ndarray:
        """Return the average precision at every IoU threshold (T,), computed as by
        ``COCOeval.accumulate``."""
        taken = _repeat_blocks(one.detections, counts)
        if len(taken) == 0:
            return np.zeros(len(one.matched))
        true = one.matched[:, taken].cumsum(axis=1)
        total = true.shape[1]
        precision = true / (one.counted[:, taken].cumsum(axis=1) + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
        wanted = int(one.truths @ counts)
        needed = np.searchsorted(np.arange(wanted + 1) / wanted, self._recalls)
        # All thresholds are searched at once, in one ascending sequence: to each row of counts a
        # number is added that makes it larger than the row before.
        row = np.arange(len(true))[:, None]
        lift = row * (total + wanted + 1)
        place = np.searchsorted((true + lift).ravel(), needed + lift) - row * total
        return best[row, place].mean(axis=1)


def _repeat_blocks(lengths: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return indices that take block i of consecutive blocks ``counts[i]`` times.

    ``lengths`` (of the blocks) and ``counts``: int (N,).
    """
    blocks = np.repeat(np.arange(len(lengths)), counts)
    sizes = lengths[blocks]
    starts = (lengths.cumsum() - lengths)[blocks]
    return np.repeat(starts - (sizes.cumsum() - sizes), sizes) + np.arange(sizes.sum())


def _evaluate(truths: Sequence[Instances], predictions: Sequence[Instances]) -> COCOeval:
    """Return COCO's own matching; image ids are positions in ``truths``."""
    labels = sorted({class_key(thing["label"]) for truth in truths for thing in truth})
    category = {label: number for number, label in enumerate(labels, start=1)}
    wanted, found = _Annotations(category), _Annotations(category)
    for image, (truth, prediction) in enumerate(zip(truths, predictions, strict=True)):
        wanted.add(image, truth)
        found.add(image, prediction)
    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(wanted.index(len(truths)), found.index(len(truths)), "bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng = [list(area) for area in AREAS.values()]
        evaluation.params.areaRngLbl = list(AREAS)
        evaluation.evaluate()
    return evaluation


class _Annotations:
    """Collects boxes as COCO writes them, leaving out classes that ``category`` does not hold."""

    def __init__(self, category: dict[str, int]) -> None:
        self._category = category
        self._rows: list[dict[str, Any]] = []

    def add(self, image: int, things: Instances) -> None:
        for thing in things:
            category = self._category.get(class_key(thing["label"]))
            if category is not None:
                x1, y1, x2, y2 = thing["box"]
                width, height = max(x2 - x1, 0.0), max(y2 - y1, 0.0)
                self._rows.append(
                    {
                        "id": len(self._rows) + 1,  # 0 would mean "not matched"
                        "image_id": image,
                        "category_id": category,
                        "bbox": [x1, y1, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                        "score": 1.0,
                    }
                )

    def index(self, images: int) -> COCO:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(images)],
            "categories": [{"id": number} for number in self._category.values()],
            "annotations": self._rows,
        }
        coco.createIndex()
        return coco


def _classes(evaluation: COCOeval, area: tuple[float, float], samples: int) -> list[_Class]:
    """Return the classes as they are matched within a range of areas."""
    by_class = defaultdict(list)
    for image in filter(None, evaluation.evalImgs):
        if tuple(image["aRng"]) == area:
            by_class[image["category_id"]].append(image)
    classes = []
    for images in by_class.values():
        detections, truths = np.zeros(samples, dtype=np.int64), np.zeros(samples, dtype=np.int64)
        for image in images:
            detections[image["image_id"]] = len(image["dtIds"])
            truths[image["image_id"]] = len(image["gtIds"]) - np.count_nonzero(image["gtIgnore"])
        counted = ~np.concatenate([image["dtIgnore"] for image in images], axis=1).astype(bool)
        matched = np.concatenate([image["dtMatches"] for image in images], axis=1) > 0
        classes.append(_Class(matched & counted, counted, detections, truths))
    return classes


def _f1_counts(truth: Instances, found: Instances) -> tuple[int, int, int]:
    """Return the numbers of matches, detections and truths of one answer. Pairs of the same class
    with IoU ≥ ``F1_IOU`` match in descending order of IoU, each detection and each truth once."""
    wanted, given = _by_class(truth), _by_class(found)
    matches = sum(_best_first(given[key], wanted[key]) for key in given if key in wanted)
    return matches, len(found), len(truth)


def _by_class(instances: Instances) -> dict[str, list[Box]]:
    boxes: defaultdict[str, list[Box]] = defaultdict(list)
    for one in instances:
        boxes[class_key(one["label"])].append(one["box"])
    return boxes


def _best_first(found: Sequence[Box], truth: Sequence[Box]) -> int:
    """Return the number of pairs when the boxes of one class are matched, the best pair first.

    An image may have thousands of boxes. So pairs are compared in arrays, and most of those whose
    boxes are matched already are left out there.
    """
    others = np.asarray(truth, dtype=np.float64)
    overlaps = [ious(box, others) for box in found]
    near = [np.flatnonzero(one >= F1_IOU) for one in overlaps]
    rows = np.repeat(np.arange(len(found)), [len(one) for one in near])
    columns = np.concatenate(near)
    overlap = np.concatenate([one[places] for one, places in zip(overlaps, near, strict=True)])
    order = np.argsort(-overlap, kind="stable")
    used_found, used_truth = (np.zeros(len(boxes), dtype=bool) for boxes in (found, truth))
    for start in range(0, len(order), _PAIRS):
        part = order[start : start + _PAIRS]
        part = part[~(used_found[rows[part]] | used_truth[columns[part]])]
        for i, j in zip(rows[part].tolist(), columns[part].tolist(), strict=True):
            if not used_found[i] and not used_truth[j]:
                used_found[i] = used_truth[j] = True
    return int(used_found.sum())
