"""A task of a user's own: a phrase → one point, right when it is inside the object."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import Box, EncodedImage, LabelledObject, Sample
from syngrpo.tasks import Mark, PromptStyle, Task
from syngrpo.tasks.base import NO_COLUMNS

Point = tuple[float, float]


class Pointing(Task):
    """The ground truth is the middle of the object's box."""

    name = "pointing"
    asks_for = "object"
    headlines = MappingProxyType({"greedy/accuracy": "points inside"})
    metrics_note = "A point on the edge of <the> object is inside."

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        return f"point at {sample.question}"

    def read(self, answer: str) -> Point | None:
        found = re.fullmatch(r"\[([\d.]+), ([\d.]+)\]", answer)
        return (float(found[1]), float(found[2])) if found else None

    def to_original(self, prediction: Point, frame: CoordinateFrame) -> Point:
        x, y, _, _ = frame.to_original((*prediction, *prediction))
        return x, y

    def score(self, prediction: Point | None, sample: Sample) -> float:
        if prediction is None:
            return 0.0
        boxes = [thing.box for thing in sample.objects if _inside(sample.answer, thing.box)]
        return float(any(_inside(prediction, box) for box in boxes))

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        return json.dumps(list(frame.to_model((*sample.answer, *sample.answer))[:2]))

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Point:
        if len(value) == 2:  # a point that this method returned
            return (value[0], value[1])
        x1, y1, x2, y2 = value
        return (x1 + x2) / 2, (y1 + y2) / 2

    def marks(self, answer: Point) -> list[Mark]:
        return [Mark("", point=answer)]

    def words(self, answer: Point) -> str:
        return f"({answer[0]:.0f}, {answer[1]:.0f})"


def _inside(point: Point, box: Box) -> bool:
    (x, y), (x1, y1, x2, y2) = point, box
    return x1 <= x <= x2 and y1 <= y <= y2
