"""Metrics of a detector over a whole set: COCO mAP and AP50, and greedy F1.

Answers name no confidence, so every detection has score 1 and COCO's ranking is the order of the
samples' ids, and within an answer the order in which the model wrote. A class has an average
precision when some sample of the set holds it; a detection of such a class is a false positive
wherever its box matches nothing, be the class asked for and absent or not asked for at all. Labels
that no sample holds are in no class of COCO's: they cost F1 alone. Labels are compared without
regard to case; the reward's option ``vlm_r1_labels`` changes nothing here.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from syngrpo.boxes import iou
from syngrpo.evaluation.predictions import Prediction
from syngrpo.tasks.average_precision import MAX_DETECTIONS
from syngrpo.tasks.labels import class_key

NAMES = ("greedy/map", "greedy/ap50", "greedy/f1@0.5")
BIASED = ("greedy/map", "greedy/ap50")
"""The precision of a ranking is taken at its best later point, and a resample, which holds fewer
different samples than the set, has more accidental bests: its precision is too high on average."""

F1_IOU = 0.5


@dataclass(frozen=True, eq=False)
class _Class:
    """One class over the N samples in COCO's order.

    ``matched`` bool (T, D): which of its D detections match at which IoU threshold; ``detections``
    and ``truths`` int (N,): how many each sample has.
    """

    matched: np.ndarray
    detections: np.ndarray
    truths: np.ndarray


class DetectionMetrics:
    """Matches every answer with its truth once; then measures any selection of the N samples."""

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        self._order = np.array(sorted(range(len(predictions)), key=lambda i: predictions[i].id))
        self._evaluation = _evaluate([predictions[i] for i in self._order])
        self._recalls: np.ndarray = self._evaluation.params.recThrs
        self._classes = _classes(self._evaluation, len(predictions))
        self._counts = np.array([_greedy_counts(p) for p in predictions], dtype=np.float64)

    def values(self, counts: np.ndarray) -> np.ndarray:
        """mAP@[.5:.95], AP50 and F1@0.5 of the samples taken ``counts`` (N,) times each.

        The first two are NaN when nothing is there to be found; F1 is 1 when, besides, nothing was.
        """
        matches, found, wanted = counts @ self._counts
        f1 = 2 * matches / (found + wanted) if found + wanted else 1.0
        ordered = counts[self._order]
        precisions = [
            self._precision(one, ordered) for one in self._classes if one.truths @ ordered
        ]
        if not precisions:
            return np.array([np.nan, np.nan, f1])
        by_threshold = np.mean(precisions, axis=0)
        return np.array([by_threshold.mean(), by_threshold[0], f1])

    def _precision(self, one: _Class, counts: np.ndarray) -> np.ndarray:
        """Average precision at every IoU threshold (T,), as ``COCOeval.accumulate`` computes it."""
        taken = _repeat_blocks(one.detections, counts)
        if len(taken) == 0:
            return np.zeros(len(one.matched))
        true = one.matched[:, taken].cumsum(axis=1)
        total = true.shape[1]
        precision = true / (np.arange(1, total + 1) + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
        wanted = int(one.truths @ counts)
        needed = np.searchsorted(np.arange(wanted + 1) / wanted, self._recalls)
        # One search for all thresholds: each row of counts is lifted above the row before it.
        row = np.arange(len(true))[:, None]
        lift = row * (total + wanted + 1)
        place = np.searchsorted((true + lift).ravel(), needed + lift) - row * total
        return best[row, place].mean(axis=1)


def _repeat_blocks(lengths: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Indices into consecutive blocks of these lengths, block i whole and ``counts[i]`` times."""
    blocks = np.repeat(np.arange(len(lengths)), counts)
    sizes = lengths[blocks]
    starts = (lengths.cumsum() - lengths)[blocks]
    return np.repeat(starts - (sizes.cumsum() - sizes), sizes) + np.arange(sizes.sum())


def _evaluate(predictions: Sequence[Prediction]) -> COCOeval:
    """COCO's own matching; image ids are positions in ``predictions``."""
    labels = sorted({class_key(thing["label"]) for p in predictions for thing in p.truth})
    category = {label: number for number, label in enumerate(labels, start=1)}
    truth, found = _Annotations(category), _Annotations(category)
    for image, prediction in enumerate(predictions):
        truth.add(image, prediction.truth)
        found.add(image, prediction.greedy.prediction or ())
    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth.index(len(predictions)), found.index(len(predictions)), "bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        # COCO's range "all" ends at 1e10 and forgives larger detections; nothing is forgiven here.
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, math.inf]], ["all"]
        evaluation.evaluate()
    return evaluation


class _Annotations:
    """Boxes as COCO writes them; those of other classes than ``category`` knows are left out."""

    def __init__(self, category: dict[str, int]) -> None:
        self._category = category
        self._rows: list[dict[str, Any]] = []

    def add(self, image: int, things: Sequence[dict[str, Any]]) -> None:
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


def _classes(evaluation: COCOeval, samples: int) -> list[_Class]:
    by_class = defaultdict(list)
    for image in filter(None, evaluation.evalImgs):
        by_class[image["category_id"]].append(image)
    classes = []
    for images in by_class.values():
        detections, truths = np.zeros(samples, dtype=np.int64), np.zeros(samples, dtype=np.int64)
        for image in images:
            detections[image["image_id"]] = len(image["dtIds"])
            truths[image["image_id"]] = len(image["gtIds"])
        matched = np.concatenate([image["dtMatches"] for image in images], axis=1) > 0
        classes.append(_Class(matched, detections, truths))
    return classes


def _greedy_counts(prediction: Prediction) -> tuple[int, int, int]:
    """Matches, detections, truths of one answer. Pairs of the same class with IoU ≥ 0.5 are taken
    the best first, each detection and each truth once."""
    found, truth = prediction.greedy.prediction or (), prediction.truth
    pairs = sorted(
        (
            (iou(detection["box"], thing["box"]), i, j)
            for i, detection in enumerate(found)
            for j, thing in enumerate(truth)
            if class_key(detection["label"]) == class_key(thing["label"])
        ),
        key=lambda pair: -pair[0],
    )
    used_found: set[int] = set()
    used_truth: set[int] = set()
    for overlap, i, j in pairs:
        if overlap >= F1_IOU and i not in used_found and j not in used_truth:
            used_found.add(i)
            used_truth.add(j)
    return len(used_found), len(found), len(truth)
