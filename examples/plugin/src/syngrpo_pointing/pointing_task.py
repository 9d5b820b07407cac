"""The task ``pointing``: a phrase → one point, right when it lies inside the object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks.base import NO_COLUMNS, Mark, PromptStyle, Task, full_prompt
from syngrpo.tasks.labels import checked_box, labels_of

Point = tuple[float, float]

_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?")


class Pointing(Task):
    """A prediction is a point; the ground truth is the box of the object.

    What synthesis must respect is left at its default: every labelled object stays, and no second
    one of its class appears, so that the phrase goes on fitting one object.
    """

    name = "pointing"
    asks_for = "object"
    headlines = MappingProxyType({"greedy/accuracy": "points inside the object"})

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        if style == "brief":
            return sample.question
        return full_prompt(
            ask=f'Exactly one object in this picture fits the phrase: "{sample.question}"\n'
            "Point at it.",
            think="how you tell the object apart from the others",
            answer="[x, y]",
            explain="In <answer>, x, y is any point inside the object.",
            keep=f"the labelled objects ({', '.join(labels_of(sample))})",
            stay="Leave the labelled objects as they are, and never bring in another object of the "
            "same kind.",
        )

    def read(self, answer: str) -> Point | None:
        """Return the point that two numbers say, or the centre of the box that four say."""
        numbers = [float(number) for number in _NUMBER.findall(answer.replace("bbox_2d", ""))]
        if len(numbers) == 2:
            return (numbers[0], numbers[1])
        if len(numbers) == 4:
            x1, y1, x2, y2 = numbers
            return ((x1 + x2) / 2, (y1 + y2) / 2)
        return None

    def to_original(self, prediction: Point, frame: CoordinateFrame) -> Point:
        x, y = prediction
        x, y, *_ = frame.to_original((x, y, x, y))
        return (x, y)

    def score(self, prediction: Point | None, sample: Sample) -> float:
        if prediction is None:
            return 0.0
        (x, y), (x1, y1, x2, y2) = prediction, sample.answer
        return float(x1 <= x < x2 and y1 <= y < y2)

    def map_boxes(self, answer: Box, change: Callable[[Box], Box]) -> Box:
        return change(answer)

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        """Write the centre of the object as ``[x, y]`` in whole model units."""
        x1, y1, x2, y2 = frame.to_model(sample.answer)
        return json.dumps([round((x1 + x2) / 2), round((y1 + y2) / 2)])

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Box:
        """Check that the answer of a row is a box inside the image."""
        if value is None:
            raise InputError("the row has no answer; write the box of the object")
        return checked_box(value, image, "answer")

    def objects_from_answer(self, answer: Any, question: str) -> list[dict[str, Any]]:
        """A row without objects labels the one that the phrase means."""
        if answer is None:
            raise InputError("the row has no answer; write the box of the object")
        return [{"label": question, "box": answer}]

    def marks(self, answer: Any) -> list[Mark]:
        """Draw the box of a ground truth, the point of a prediction."""
        if len(answer) == 4:
            return [Mark("", box=tuple(answer))]
        return [Mark("", point=tuple(answer))]

    def words(self, answer: Any) -> str:
        return ", ".join(f"{number:.0f}" for number in answer)
