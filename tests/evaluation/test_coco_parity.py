"""mAP and AP50 of COCO files and of random answers, against pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import read_data
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from syngrpo.tasks import get_task

SIDE = 640
Row = dict[str, Any]
Things = tuple[Mapping[str, Any], ...]


def pycocotools_numbers(images: int, truth: list[Row], found: list[Row]) -> tuple[float, float]:
    """stats[0] and stats[1] of pycocotools, with its own limits and area ranges; −1 where not
    defined."""
    categories = [{"id": number} for number in sorted({row["category_id"] for row in truth})]
    with contextlib.redirect_stdout(io.StringIO()):
        both = []
        for rows in (truth, found):
            coco = COCO()
            numbered = [{**row, "id": number} for number, row in enumerate(rows, start=1)]
            listed = [{"id": image} for image in range(images)]
            coco.dataset = {"images": listed, "annotations": numbered, "categories": categories}
            coco.createIndex()
            both.append(coco)
        evaluation = COCOeval(*both, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def row(image: int, category: int, box: Sequence[float], crowd: bool = False) -> Row:
    x1, y1, x2, y2 = box
    xywh = [x1, y1, x2 - x1, y2 - y1]
    return {
        "image_id": image,
        "category_id": category,
        "bbox": xywh,
        "area": xywh[2] * xywh[3],
        "iscrowd": int(crowd),
        "score": 1.0,
    }


def boxes(rng: np.random.Generator, number: int) -> list[list[float]]:
    """Boxes of all sizes, from none to the whole image, on whole pixels."""
    size = (SIDE * rng.random((number, 2)) ** rng.choice([1, 3])).round()
    corner = (rng.random((number, 2)) * (SIDE - size)).round()
    return np.concatenate([corner, corner + size], axis=1).tolist()


def shaken(rng: np.random.Generator, box: Sequence[float]) -> list[float]:
    corners = np.clip(np.array(box) + rng.normal(0, 3, 4).round(), 0, SIDE).reshape(2, 2)
    return np.sort(corners, axis=0).ravel().tolist()


def detections(
    rng: np.random.Generator, truth: list[Row], asked: list[tuple[int, int]]
) -> list[Row]:
    """Detections of the asked (image, category): none, few, or more than count."""
    found = []
    for image, category in asked:
        near = [
            [x, y, x + w, y + h]
            for one in truth
            if (one["image_id"], one["category_id"]) == (image, category)
            for x, y, w, h in [one["bbox"]]
        ]
        number = int(rng.choice([0, 1, 5, 130], p=[0.2, 0.4, 0.37, 0.03]))
        for box in boxes(rng, number):
            taken = near and rng.random() < 0.7
            box = shaken(rng, near[rng.integers(len(near))]) if taken else box
            found.append(row(image, category, box))
    return found


def ours(truths: Sequence[Things], predictions: Sequence[Things | None]) -> tuple[float, float]:
    metrics = get_task("ovd").set_metrics(truths, predictions)
    assert metrics is not None
    values = metrics.values(np.ones(len(truths), dtype=np.int64))
    return tuple(np.nan_to_num(values[:2], nan=-1.0).tolist())


def things(rows: list[Row], image: int) -> Things:
    return tuple(
        {"label": f"class {one['category_id']}", "box": (x, y, x + w, y + h)}
        for one in rows
        if one["image_id"] == image
        for x, y, w, h in [one["bbox"]]
    )


def random_case(seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    truth = [
        row(image, int(rng.integers(classes)), box)
        for image in range(images)
        for box in boxes(rng, int(rng.choice([0, 1, 3, 12])))
        if box[0] < box[2] and box[1] < box[3] and seed % 20
    ]
    asked = [(image, category) for image in range(images) for category in range(classes)]
    found = detections(rng, truth, asked) if seed % 17 else []
    if found and seed % 11 == 0:  # larger than COCO's largest area
        found.insert(0, row(0, 0, [0, 0, 2e5, 2e5]))
    known = {one["category_id"] for one in truth}
    theirs = pycocotools_numbers(
        images, truth, [one for one in found if one["category_id"] in known]
    )
    answers = [
        things(found, image) or (() if rng.random() < 0.5 else None) for image in range(images)
    ]
    numbers = ours([things(truth, image) for image in range(images)], answers)
    assert numbers == pytest.approx(theirs, abs=1e-12), f"case {seed}"
    return theirs


def test_equals_pycocotools() -> None:
    """No detections, no ground truth, more detections than count, every size of a box."""
    values = [random_case(seed) for seed in range(60)]
    assert -1.0 in [value for value, _ in values] and 0.0 in [value for value, _ in values]


@pytest.mark.slow
def test_equals_pycocotools_in_a_thousand_cases() -> None:
    values = [random_case(seed) for seed in range(60, 1060)]
    assert len(set(values)) > 600


@pytest.mark.parametrize("seed", range(12))
def test_a_coco_file_with_crowds_gives_the_numbers_of_pycocotools(
    tmp_path: Path, seed: int
) -> None:
    """Category id 0, images without annotations, and crowds: as pycocotools does on the same file,
    for the classes that are asked for. A class with a crowd is not asked for in that image."""
    rng = np.random.default_rng(seed)
    images, classes = 6, 4
    for image in range(images):
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / f"{image}.png")
    truth = [
        row(image, int(rng.integers(classes)), box, crowd=rng.random() < 0.2)
        for image in range(images)
        for box in boxes(rng, int(rng.choice([0, 1, 3, 8])))
        if box[0] < box[2] and box[1] < box[3]
    ]
    content = {
        "images": [
            {"id": image, "file_name": f"{image}.png", "width": SIDE, "height": SIDE}
            for image in range(images)
        ],
        "annotations": [{**one, "id": number} for number, one in enumerate(truth, start=1)],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(classes)],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    samples = {int(one.id.rsplit("-", 1)[1]): one for one in read_data(tmp_path / "instances.json")}
    asked = [
        (image, int(name.removeprefix("class ")))
        for image, sample in samples.items()
        for name in sample.question.split(", ")
    ]
    found = detections(rng, truth, asked)
    kept = [one for one in truth if (one["image_id"], one["category_id"]) in asked]
    known = {one["category_id"] for one in kept}
    theirs = pycocotools_numbers(images, kept, [f for f in found if f["category_id"] in known])
    order = sorted(samples)
    numbers = ours([samples[image].answer for image in order], [things(found, i) for i in order])
    assert numbers == pytest.approx(theirs, abs=1e-12)
    assert not any(one["iscrowd"] for one in kept)
