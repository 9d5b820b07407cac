"""Our AP of one image against pycocotools' COCOeval."""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import ArrayLike
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from syngrpo.tasks.average_precision import average_precision as of_lists

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def average_precision(*case: ArrayLike) -> float:
    return of_lists(*(np.asarray(part).tolist() for part in case))


def coco_ap(boxes: np.ndarray, classes: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> float:
    """stats[0] of pycocotools: one image, the categories with ground truth, every score 1."""
    sides = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (boxes, truth)]
    known = set(labels.tolist())
    rows = [
        [
            {"image_id": 0, "category_id": label, "bbox": box, "score": 1.0}
            for box, label in zip(xywh.tolist(), names.tolist(), strict=True)
            if label in known
        ]
        for xywh, names in zip(sides, (classes, labels), strict=True)
    ]
    if not rows[0]:
        return 0.0
    for number, row in enumerate(rows[1], start=1):
        row |= {"id": number, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": label} for label in sorted(known)]
        coco.dataset = {"images": [{"id": 0}], "annotations": rows[1], "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows[0]), "bbox")
        evaluation.params.areaRng = [[0, 1e10]]  # "all" alone: stats[0] is the same, sooner
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def corners(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([starts, starts + sizes], axis=1).astype(float)


def shaken(rng: np.random.Generator, found: int, truths: int, classes: int) -> Case:
    """Crowded boxes on whole pixels, so that IoUs are often equal; detections are shaken copies,
    some exact, some twice, some of another or of an unknown class, some empty or inverted."""
    truth = corners(rng.integers(0, 40, (truths, 2)), rng.integers(1, 20, (truths, 2)))
    labels = rng.integers(0, classes, truths)
    source = rng.integers(0, truths, found)
    noise = rng.normal(0, 2, (found, 4)).round() * (rng.random((found, 1)) < 0.7)
    others = rng.integers(0, classes + 1, found)
    named = np.where(rng.random(found) < 0.8, labels[source], others)
    boxes = truth[source] + noise
    empty = rng.random(found) < 0.05
    boxes[empty, 2:] = boxes[empty, :2]
    return boxes, named, truth, labels


def scattered(rng: np.random.Generator, found: int, truths: int, classes: int) -> Case:
    """Boxes anywhere, in fractions of pixels."""
    boxes = corners(rng.uniform(0, 300, (found, 2)), rng.uniform(0, 200, (found, 2)))
    truth = corners(rng.uniform(0, 300, (truths, 2)), rng.uniform(1, 200, (truths, 2)))
    return boxes, rng.integers(0, classes + 1, found), truth, rng.integers(0, classes, truths)


def cases() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for _ in range(150):
        found, truths = rng.choice([0, 1, 4, 10, 25]), rng.integers(1, 15)
        yield shaken(rng, found, truths, rng.integers(1, 5))
        yield scattered(rng, found, truths, rng.integers(1, 3))
    for _ in range(5):  # more detections than count, and many classes
        yield shaken(rng, 260, 30, 2)
        yield shaken(rng, 120, 60, 40)


def test_equals_pycocotools() -> None:
    values = []
    for number, case in enumerate(cases()):
        values.append(average_precision(*case))
        assert values[-1] == pytest.approx(coco_ap(*case), abs=1e-12), f"case {number}"
    assert len(values) >= 300
    assert len(set(values)) > 100  # many are 0


def test_equals_pycocotools_where_overlaps_are_equal_to_each_other_and_to_a_threshold() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        # A detection of 20 columns and truths of 10 to 19 of them: IoU .5, .55, … .95 exactly.
        widths = rng.integers(10, 20, 6)
        truth = corners(np.zeros((6, 2)), np.stack([widths, np.full(6, 20)], axis=1))
        boxes = np.tile([0.0, 0.0, 20.0, 20.0], (8, 1))
        boxes[rng.random(8) < 0.5, 2] = rng.integers(10, 20)
        case = boxes, rng.integers(0, 2, 8), truth, rng.integers(0, 2, 6)
        assert average_precision(*case) == pytest.approx(coco_ap(*case), abs=1e-12)


def test_equals_pycocotools_for_boxes_larger_than_any_area_range() -> None:
    truth = np.array([[0.0, 0, 100, 100]])
    boxes = np.array([[0.0, 0, 1e6, 1e6], [0, 0, 100, 100]])
    case = boxes, np.zeros(2, int), truth, np.zeros(1, int)
    assert average_precision(*case) == pytest.approx(coco_ap(*case), abs=1e-12)


def test_perfect_detections_score_one_and_none_score_zero() -> None:
    boxes, _, truth, labels = shaken(np.random.default_rng(2), 3, 9, 3)
    assert average_precision(truth, labels, truth, labels) == 1.0
    assert average_precision([], [], truth, labels) == 0.0
    assert average_precision(boxes, [99, 99, 99], truth, labels) == 0.0


def test_without_ground_truth_it_is_not_defined() -> None:
    with pytest.raises(ValueError, match="without ground truth"):
        average_precision([[0, 0, 1, 1]], [0], [], [])
