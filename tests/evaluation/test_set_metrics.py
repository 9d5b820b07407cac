"""COCO's numbers over a whole set, against pycocotools."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

from syngrpo.evaluation.bootstrap import intervals
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.tasks import SetMetrics, get_task

SIZES = ("map_small", "map_medium", "map_large")
CLASSES = ("lamp", "sofa", "table", "rug", "vase")
Things = list[tuple[str, list[float]]]


def prediction(number: int, truth: Things, found: Things | None, image: str = "") -> Prediction:
    def things(pairs: Things) -> tuple[dict[str, object], ...]:
        return tuple({"label": label, "box": tuple(box)} for label, box in pairs)

    answer = Answer("", None if found is None else things(found), 0.0, True)
    own = f"sample-{number:04}"
    return Prediction(own, "ovd", "lamp, sofa", things(truth), None, answer, (), 0.0, image)


def random_boxes(rng: np.random.Generator, number: int) -> list[list[float]]:
    """Return boxes of all three sizes of COCO."""
    corners, sizes = rng.uniform(0, 80, (number, 2)), rng.uniform(9, 60, (number, 2))
    sizes *= rng.choice([1.0, 1.0, 3.0], (number, 1))
    return np.concatenate([corners, corners + sizes], axis=1).tolist()


def random_predictions(seed: int, number: int) -> list[Prediction]:
    """Jittered, missed, doubled and invented detections; some answers unreadable, some empty."""
    rng = np.random.default_rng(seed)

    def label() -> str:
        return CLASSES[int(rng.integers(len(CLASSES) - 1))]  # nothing is ever a vase

    result = []
    for place in range(number):
        truth = [(label(), box) for box in random_boxes(rng, int(rng.integers(0, 6)))]
        found: Things = [
            (name, (np.array(box) + rng.normal(0, rng.choice([0.1, 1.2]), 4)).tolist())
            for name, box in truth
            for _ in range(int(rng.integers(0, 3)))
        ]
        found += [(label(), box) for box in random_boxes(rng, int(rng.integers(0, 3)))]
        found += [("vase", box) for box in random_boxes(rng, int(rng.random() < 0.2))]
        found += [("Unicorn", box) for box in random_boxes(rng, int(rng.random() < 0.2))]
        order = rng.permutation(len(found))
        unreadable = rng.random() < 0.1
        result.append(prediction(place, truth, None if unreadable else [found[i] for i in order]))
    return result


def our_numbers(predictions: list[Prediction], counts: np.ndarray | None = None) -> np.ndarray:
    """Return mAP, AP50 and mAP of small, medium and large objects."""
    metrics = metrics_of(predictions)
    values = metrics.values(np.ones(len(predictions), dtype=np.int64) if counts is None else counts)
    named = dict(zip(metrics.names, values, strict=True))
    return np.array([named[f"greedy/{name}"] for name in ("map", "ap50", *SIZES)])


def pycocotools_numbers(predictions: list[Prediction]) -> np.ndarray:
    """Return the same the way COCO's own demo gets them, by ``loadRes`` and ``summarize``; NaN for
    its −1."""
    ids = {name: number for number, name in enumerate(CLASSES)}
    truth, found = [], []
    for image, one in enumerate(predictions):
        for things, rows in ((one.truth, truth), (one.greedy.prediction or (), found)):
            for thing in things:
                x1, y1, x2, y2 = thing["box"]
                if thing["label"] in ids:
                    row = {"image_id": image, "category_id": ids[thing["label"]], "score": 1.0}
                    row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "id": len(rows) + 1, "iscrowd": 0}
                    rows.append(row | {"area": (x2 - x1) * (y2 - y1)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(predictions))],
            "categories": [{"id": number} for number in ids.values()],
            "annotations": truth,
        }
        coco.createIndex()
        detections = coco.loadRes(found) if found else COCO()  # which has no class
        evaluation = COCOeval(coco, detections, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = np.asarray(evaluation.stats)[[0, 1, 3, 4, 5]]
    return np.where(numbers == -1, np.nan, numbers)


def metrics_of(predictions: list[Prediction]) -> SetMetrics:
    truths = [one.truth for one in predictions]
    found = get_task("ovd").set_metrics(truths, [one.greedy.prediction for one in predictions])
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(6))
def test_map_equals_pycocotools_on_random_detections(seed: int) -> None:
    predictions = random_predictions(seed, 40)
    ours = our_numbers(predictions)
    np.testing.assert_allclose(ours, pycocotools_numbers(predictions), rtol=0, atol=1e-12)
    assert 0.01 < ours[0] < ours[1] < 0.99
    assert len({*ours.round(6)}) == 5


@pytest.mark.slow
def test_map_equals_pycocotools_on_a_thousand_random_sets() -> None:
    seen = set()
    for seed in range(1000):
        number = int(np.random.default_rng(seed).integers(1, 6))
        predictions = random_predictions(seed, number)
        if seed % 50 == 1:  # nothing is found
            predictions = [
                replace(one, greedy=replace(one.greedy, prediction=())) for one in predictions
            ]
        if seed % 50 == 2:  # more than count
            boxes = random_boxes(np.random.default_rng(seed), 230)
            found = [(CLASSES[place % 2], box) for place, box in enumerate(boxes)]
            sofas = [("sofa", box) for box in boxes[:5]]
            predictions.append(prediction(number, sofas, found))
        ours, theirs = our_numbers(predictions), pycocotools_numbers(predictions)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12, err_msg=f"set {seed}")
        assert np.isnan(ours[0]) == (not any(one.truth for one in predictions))
        seen.add(-1 if np.isnan(theirs[0]) else round(theirs[0], 6))
    assert -1 in seen and 0 in seen and len(seen) > 600


@pytest.mark.parametrize("seed", range(3))
def test_map_of_a_resample_equals_pycocotools_on_the_repeated_set(seed: int) -> None:
    predictions = random_predictions(seed, 20)
    counts = np.bincount(np.random.default_rng(seed).integers(0, 20, 20), minlength=20)
    repeated = [p for p, count in zip(predictions, counts, strict=True) for _ in range(count)]
    ours = our_numbers(predictions, counts)
    np.testing.assert_allclose(ours, pycocotools_numbers(repeated), rtol=0, atol=1e-12)


def test_the_order_of_the_samples_does_not_matter() -> None:
    predictions = random_predictions(9, 30)
    one, other = summarise(predictions), summarise(predictions[::-1])
    for name in ("greedy/map", "greedy/ap50", "greedy/f1@0.5"):
        assert one.metrics[name] == other.metrics[name]
        low, high = one.intervals[name]
        assert low < one.metrics[name] < high


def test_absent_and_unknown_labels() -> None:
    """By hand: one lamp found; a false lamp where it was asked for and is absent; a unicorn."""
    box, elsewhere = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]
    right = prediction(2, [("lamp", box)], [("Lamp", box)])
    metrics = summarise([right]).metrics
    assert metrics["greedy/map"] == pytest.approx(1) and metrics["greedy/f1@0.5"] == 1
    # The false lamp ranks first (by the order of ids): precision 1/2 at every recall.
    absent = prediction(1, [], [("lamp", elsewhere)])
    metrics = summarise([right, absent]).metrics
    assert metrics["greedy/map"] == pytest.approx(0.5) and metrics[
        "greedy/f1@0.5"
    ] == pytest.approx(2 / 3)
    # A label that nobody has is in no class: COCO does not see it, F1 does.
    unknown = prediction(1, [], [("unicorn", elsewhere)])
    metrics = summarise([right, unknown]).metrics
    assert metrics["greedy/map"] == pytest.approx(1)
    assert metrics["greedy/f1@0.5"] == pytest.approx(2 / 3)
    # Nothing to be found anywhere: no average precision, and F1 is 1 when nothing was.
    metrics = summarise([prediction(1, [], [])]).metrics
    assert "greedy/map" not in metrics and metrics["greedy/f1@0.5"] == 1


def test_f1_takes_the_best_pair_first_and_each_box_once() -> None:
    truth = [("lamp", [0.0, 0.0, 10.0, 10.0]), ("lamp", [0.0, 0.0, 10.0, 6.0])]
    # The first detection overlaps both (0.8, 0.75), the second is exactly the first truth.
    found = [("lamp", [0.0, 0.0, 10.0, 8.0]), ("lamp", [0.0, 0.0, 10.0, 10.0])]
    assert summarise([prediction(0, truth, found)]).metrics["greedy/f1@0.5"] == 1
    twice = [("lamp", [0.0, 0.0, 10.0, 10.0])] * 2
    f1 = summarise([prediction(0, truth[:1], twice)]).metrics["greedy/f1@0.5"]
    assert f1 == pytest.approx(2 / 3)


def matched_by_hand(truth: Things, found: Things) -> int:
    """Pairs in descending order of IoU, each box once; torchvision's IoU."""
    if not truth or not found:
        return 0
    overlaps = box_iou(*(torch.tensor([box for _, box in t]).double() for t in (found, truth)))
    pairs = [
        (-float(overlaps[i, j]), i, j)
        for i, (label, _) in enumerate(found)
        for j, (other, _) in enumerate(truth)
        if label == other and overlaps[i, j] >= 0.5
    ]
    used: set[tuple[str, int]] = set()
    for _, i, j in sorted(pairs):
        if not {("found", i), ("truth", j)} & used:
            used |= {("found", i), ("truth", j)}
    return len(used) // 2


def test_f1_equals_its_definition_also_with_many_equal_overlaps() -> None:
    rng = np.random.default_rng(5)

    def things(most: int) -> Things:
        corners = rng.integers(0, 6, (int(rng.integers(0, most)), 2))
        boxes = np.concatenate([corners, corners + rng.integers(1, 6, corners.shape)], axis=1)
        return [(str(rng.choice(["lamp", "sofa"])), box) for box in boxes.astype(float).tolist()]

    for _ in range(300):
        truth, found = things(25), things(25)
        f1 = metrics_of([prediction(0, truth, found)]).values(np.ones(1, dtype=np.int64))[2]
        both = len(truth) + len(found)
        assert f1 == (2 * matched_by_hand(truth, found) / both if both else 1)


def test_intervals_hold_the_number_that_such_sets_have_on_average() -> None:
    """Of 30 intervals at 95 %, of 30 random sets, at least 24 have to hold it."""
    metrics = [metrics_of(random_predictions(100 + seed, 50)) for seed in range(30)]
    expected = np.mean([one.values(np.ones(50, dtype=np.int64)) for one in metrics], axis=0)
    units = [str(number) for number in range(50)]
    biased = [name in metrics[0].biased for name in metrics[0].names]
    held = np.zeros(len(biased))
    for one in metrics:
        for place, interval in enumerate(intervals(one.values, units, biased, 40)):
            assert interval is not None
            held[place] += interval[0] <= expected[place] <= interval[1]
    assert held.min() >= 24, held
