"""Measures the scoring of open-vocabulary detection: from the text of a response to its reward.

    python -m benchmarks.scoring

Answers in the form that the prompt asks for are read in a short way (``tasks.asked_form``). The
same answers with a comment in them are read as any other text. Every repeat has answers of its own,
so that no cache holds their results already.

The reference gets the boxes as numbers (it reads no text) and asks pycocotools for the AP.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from typing import Any, NamedTuple

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


def with_comment(text: str) -> str:
    """Return the response with a comment, which says nothing, behind the first comma."""
    return text.replace("},", "}, // more below", 1)


class Scoring(NamedTuple):
    """The scores of responses, and the processor seconds that each part took for all of them."""

    scores: list[float]
    seconds: list[float]


PARTS = ("response → its parts", "answer → boxes", "boxes → pixels", "boxes → reward")


def ours(texts: list[str], samples: list[Sample]) -> Scoring:
    task = get_task("ovd")
    clock = [time.process_time()]
    answers = [parse_response(text).answer for text in texts]
    clock.append(time.process_time())
    read = [task.read(answer) if answer is not None else None for answer in answers]
    clock.append(time.process_time())
    found = [task.to_original(one, FRAME) if one is not None else None for one in read]
    clock.append(time.process_time())
    scores = [task.score(one, sample) for one, sample in zip(found, samples, strict=True)]
    clock.append(time.process_time())
    return Scoring(scores, np.diff(clock).tolist())


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


def reference_seconds(predictions: list[Boxes], truths: list[Boxes]) -> float:
    """Return the processor seconds of pycocotools, the fastest of its repeats."""
    taken = []
    for _ in range(REFERENCE_REPEATS):
        start = time.process_time()
        reference(predictions, truths)
        taken.append(time.process_time() - start)
    return min(taken)


def measure(responses: int, boxes: int, repeats: int) -> str:
    rng = np.random.default_rng(0)
    truths = [make_truth(rng, 12) for _ in range(responses)]
    samples = [as_sample(truth) for truth in truths]
    asked, any_form = list[list[float]](), list[list[float]]()
    for _ in range(repeats):
        predictions = [make_prediction(rng, truth, boxes) for truth in truths]
        texts = [as_text(prediction) for prediction in predictions]
        short, long = ours(texts, samples), ours([*map(with_comment, texts)], samples)
        if short.scores != long.scores:
            raise SystemExit("an answer with a comment has another score")
        asked.append(short.seconds)
        any_form.append(long.seconds)
    moved = [
        [(label, FRAME.to_original_clipped(box)) for label, box in prediction]
        for prediction in predictions
    ]
    apart = np.abs(np.array(short.scores) - reference(moved, truths)).max()
    if apart > 1e-9:
        raise SystemExit(f"the scores differ by {apart}")
    fastest = [min(one, key=sum) for one in (asked, any_form)]
    theirs = reference_seconds(moved, truths)
    rows = [*zip(PARTS, *fastest, strict=True), ("all", *map(sum, fastest))]
    return "\n".join(
        [
            f"{responses} responses with {boxes} boxes of {len(CLASSES)} classes each, 12 true "
            f"boxes an image; fastest of {repeats}, each with other answers (pycocotools, from the "
            f"boxes: of {REFERENCE_REPEATS}), all scores equal to 1e-9. Load of the machine: "
            f"{os.getloadavg()[0]:.1f}.",
            "",
            "| processor ms for all responses | as asked for | with a comment |",
            "|---|---|---|",
            *(f"| {name} | {a * 1e3:.1f} | {b * 1e3:.1f} |" for name, a, b in rows),
            f"| pycocotools | {theirs * 1e3:.0f} | |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=64)
    parser.add_argument("--boxes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    body = measure(arguments.responses, arguments.boxes, arguments.repeats)
    print(body)
    write_section("Scoring detections", body)


if __name__ == "__main__":
    main()
