"""Measures the scoring of open-vocabulary detection: from the text of a response to its reward.

    python -m benchmarks.scoring

The reference gets the boxes as numbers (it reads no text) and asks pycocotools for the AP.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.results import write_section
from syngrpo.boxes import CoordinateFrame
from syngrpo.method.response import parse_response
from syngrpo.sample import Box, EncodedImage, LabelledObject, Sample
from syngrpo.tasks import get_task

CLASSES = ("chair", "lamp", "potted plant", "sofa")
WIDTH, HEIGHT = 640, 480
REFERENCE_REPEATS = 3
FRAME = CoordinateFrame(644, 476, WIDTH, HEIGHT)
Boxes = list[tuple[str, Box]]


def make_truth(rng: np.random.Generator, count: int) -> Boxes:
    corners = rng.uniform(0, 1, (count, 2)) * [WIDTH - 120, HEIGHT - 120]
    boxes = np.concatenate([corners, corners + rng.uniform(20, 120, (count, 2))], axis=1)
    return [(CLASSES[k % len(CLASSES)], tuple(box)) for k, box in enumerate(boxes.tolist())]


def make_prediction(rng: np.random.Generator, truth: Boxes, count: int) -> Boxes:
    """Return a prediction made from the truth: good and poor boxes, some of them twice, some with
    the wrong class."""
    made: Boxes = []
    for k in rng.integers(0, len(truth), count).tolist():
        label, box = truth[k]
        other = CLASSES[int(rng.integers(len(CLASSES)))]
        moved = np.round(np.array(box) + rng.normal(0, 4, 4))
        made.append((label if rng.random() < 0.8 else other, tuple(moved.tolist())))
    return made


def as_sample(truth: Boxes) -> Sample:
    return Sample(
        id="sample",
        task="ovd",
        image=EncodedImage(WIDTH, HEIGHT, data=b"never decoded"),
        question=", ".join(CLASSES),
        answer=tuple({"label": label, "box": box} for label, box in truth),
        objects=tuple(LabelledObject(label, box) for label, box in truth),
    )


def as_text(prediction: Boxes) -> str:
    rows = [{"bbox_2d": [int(v) for v in box], "label": label} for label, box in prediction]
    listed = "```json\n" + ",\n".join(json.dumps(row) for row in rows) + "\n```"
    return f"<think>There are some.</think><answer>{listed}</answer><scene>A hall.</scene>"


def ours(texts: list[str], samples: list[Sample]) -> list[float]:
    task = get_task("ovd")
    scores = []
    for text, sample in zip(texts, samples, strict=True):
        answer = parse_response(text).answer
        read = task.read(answer) if answer is not None else None
        prediction = task.to_original(read, FRAME) if read is not None else None
        scores.append(task.score(prediction, sample))
    return scores


def reference(predictions: list[Boxes], truths: list[Boxes]) -> list[float]:
    return [
        coco_ap(p, t) * min(1, len(t) / len(p)) for p, t in zip(predictions, truths, strict=True)
    ]


def coco_ap(prediction: Boxes, truth: Boxes) -> float:
    names = {label: number for number, label in enumerate(dict.fromkeys(name for name, _ in truth))}
    rows, found = _annotations(truth, names), _annotations(prediction, names)
    for row in found:
        row["score"] = 1.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": number} for number in names.values()]
        coco.dataset = {"images": [{"id": 0}], "annotations": rows, "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def _annotations(boxes: Boxes, names: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "image_id": 0,
            "category_id": names[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for number, (label, (x1, y1, x2, y2)) in enumerate(boxes, start=1)
        if label in names
    ]


def seconds(call: Callable[[], list[float]], repeats: int) -> tuple[float, float]:
    """Return the fastest of the repeats: wall clock, and processor time."""
    call()
    taken = []
    for _ in range(repeats):
        start = np.array([time.perf_counter(), time.process_time()])
        call()
        taken.append(np.array([time.perf_counter(), time.process_time()]) - start)
    clock, processor = np.min(taken, axis=0).tolist()
    return clock, processor


def measure(responses: int, boxes: int, repeats: int) -> str:
    rng = np.random.default_rng(0)
    truths = [make_truth(rng, 12) for _ in range(responses)]
    predictions = [make_prediction(rng, truth, boxes) for truth in truths]
    samples, texts = [as_sample(truth) for truth in truths], [as_text(p) for p in predictions]
    moved = [
        [(label, FRAME.to_original(box)) for label, box in prediction] for prediction in predictions
    ]
    apart = np.abs(np.array(ours(texts, samples)) - reference(moved, truths)).max()
    if apart > 1e-9:
        raise SystemExit(f"the scores differ by {apart}")
    rows = {
        "text → boxes → reward": seconds(lambda: ours(texts, samples), repeats),
        "pycocotools, from the boxes": seconds(lambda: reference(moved, truths), REFERENCE_REPEATS),
    }
    (clock, processor), (their_clock, their_processor) = rows.values()
    return "\n".join(
        [
            f"{responses} responses with {boxes} boxes of {len(CLASSES)} classes each, 12 true "
            f"boxes an image; fastest of {repeats} (pycocotools: of {REFERENCE_REPEATS}), all "
            f"scores equal to 1e-9. Load of the machine: {os.getloadavg()[0]:.1f}.",
            "",
            "| ms for all responses | clock | processor |",
            "|---|---|---|",
            *(f"| {name} | {c * 1e3:.1f} | {p * 1e3:.1f} |" for name, (c, p) in rows.items()),
            f"| ratio | {their_clock / clock:.0f}× | {their_processor / processor:.0f}× |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=64)
    parser.add_argument("--boxes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    body = measure(arguments.responses, arguments.boxes, arguments.repeats)
    print(body)
    write_section("Scoring detections", body)


if __name__ == "__main__":
    main()
