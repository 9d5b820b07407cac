"""REC, referring expression comprehension: a phrase → the box of the one object it refers to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from syngrpo.boxes import CoordinateFrame, clip, iou, moved
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks.answer_reading import find_boxes, written_box
from syngrpo.tasks.base import NO_COLUMNS, Constraints, PromptStyle
from syngrpo.tasks.labels import checked_box, labels_of
from syngrpo.tasks.response_prompt import CORNERS, full_prompt

ANSWER_IS_OBJECT_IOU = 0.9
"""An object with at least this IoU with the answer is taken to be the answer's object."""


class ReferringExpression:
    """Accuracy is the IoU of the first box in the answer with the labelled one."""

    name = "rec"

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        """See ``Task.prompt``."""
        if style == "brief":
            return sample.question
        phrase, labels = sample.question, ", ".join(labels_of(sample))
        return full_prompt(
            ask=f'Exactly one object in this picture fits the phrase: "{phrase}"\nLocate it.',
            think="how you tell the object apart from the others",
            answer='{"bbox_2d": [x1, y1, x2, y2]}',
            explain=f"In <answer>, {CORNERS} of the object's box.",
            keep=f"the labelled objects ({labels})",
            stay="Leave the labelled objects as they are, and never bring in another object of the "
            "same kind.",
        )

    def read(self, answer: str) -> Box | None:
        """The first box: of a "bbox_2d" or "bbox" key if there is one, else any ``[…]`` of four
        numbers. None without one, or when it is not finite or has no area."""
        boxes = list(find_boxes(answer))
        named = (found.box for found in boxes if found.keyed)
        return next(named, boxes[0].box if boxes else None)

    def to_original(self, prediction: Box, frame: CoordinateFrame) -> Box:
        """See ``Task.to_original``."""
        return frame.to_original(prediction)

    def score(self, prediction: Box | None, sample: Sample) -> float:
        """IoU with the ground truth of the part of the predicted box inside the image."""
        if prediction is None:
            return 0.0
        return iou(clip(prediction, sample.image.width, sample.image.height), sample.answer)

    def respects(self, sample: Sample) -> Constraints:
        """Every labelled object stays, and no second one of a labelled class may appear: the
        phrase has to go on fitting exactly one object."""
        return Constraints(
            keep=tuple(range(len(sample.objects))), forbidden_labels=labels_of(sample)
        )

    def moved(self, answer: Box, right: float) -> Box:
        """See ``Task.moved``."""
        return moved(answer, right)

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        """``{"bbox_2d": [x1, y1, x2, y2]}`` in whole model units, never an empty box."""
        return json.dumps({"bbox_2d": written_box(sample.answer, frame)})

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Box:
        """One box that is one of the objects: synthesis keeps what is labelled, nothing else."""
        box = checked_box(value, image, "answer")
        if not any(iou(box, thing.box) >= ANSWER_IS_OBJECT_IOU for thing in objects):
            raise InputError(
                f"answer {list(box)} is none of the objects' boxes (IoU < {ANSWER_IS_OBJECT_IOU}); "
                "add it to objects"
            )
        return box
