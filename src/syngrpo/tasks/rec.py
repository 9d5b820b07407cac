"""REC, referring expression comprehension: a phrase → the box of the one object it refers to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from syngrpo.boxes import CoordinateFrame, clip, iou
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks.answer_reading import find_boxes, written_box
from syngrpo.tasks.base import (
    CORNERS,
    NO_COLUMNS,
    Constraints,
    Mark,
    PromptStyle,
    Task,
    full_prompt,
)
from syngrpo.tasks.labels import checked_box, labels_of, shown
from syngrpo.tasks.question_words import (
    may_mean_any_class,
    named_things,
    names_colour,
    speaks_of_the_picture,
)

NO_OR_SEVERAL = (
    "a phrase that fits no object or several is a sample of ovd, with the phrase as its class"
)

ANSWER_IS_OBJECT_IOU = 0.9
"""An object with at least this IoU with the answer is taken to be the answer's object."""


class ReferringExpression(Task):
    """Asks for the object that a phrase describes. The accuracy is the IoU of the first box in the
    answer with the labelled one."""

    name = "rec"
    asks_for = "object"
    thresholds = (0.5, 0.75, 0.9)
    headlines = MappingProxyType(
        {
            "greedy/acc@0.5": "Acc@0.5",
            "greedy/acc@0.75": "Acc@0.75",
            "greedy/acc@0.9": "Acc@0.9",
            "greedy/accuracy": "mean IoU",
        }
    )

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
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
        """Return the first box of a key "bbox_2d" or "bbox"; without one, that of another key or of
        a tag such as <box>, then the first ``[x1, y1, x2, y2]``, then the first in another
        notation. None when there is none, or when it is not finite or has no area."""
        surest = min(find_boxes(answer), key=lambda found: found.rank, default=None)
        return None if surest is None else surest.box

    def to_original(self, prediction: Box, frame: CoordinateFrame) -> Box:
        """Convert the box to original pixels and clip it to the image."""
        return frame.to_original_clipped(prediction)

    def score(self, prediction: Box | None, sample: Sample) -> float:
        """Return the IoU of the ground truth and the part of the predicted box inside the image."""
        if prediction is None:
            return 0.0
        return iou(clip(prediction, sample.image.width, sample.image.height), sample.answer)

    def constraints(self, sample: Sample) -> Constraints:
        """Keep every labelled object, and allow nothing new that the phrase could fit: no instance
        of a labelled class, and no word of the phrase that may name an object; no further things at
        all if the phrase names none, as "the small one". The judges tolerate no new instance and no
        lost object. All objects together may be seen from elsewhere, because a phrase such as "the
        left chair" compares objects with each other, unless the phrase speaks of the picture ("in
        the lower half of the picture")."""
        things = named_things(sample.question)
        return Constraints(
            keep=tuple(range(len(sample.objects))),
            forbidden_labels=labels_of(sample),
            forbidden_words=things,
            view="fixed" if speaks_of_the_picture(sample.question) else "free",
            names_colour=names_colour(sample.question),
            alone=not things or may_mean_any_class(sample.question),
        )

    def map_boxes(self, answer: Box, change: Callable[[Box], Box]) -> Box:
        return change(answer)

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        """Return ``{"bbox_2d": [x1, y1, x2, y2]}`` in whole model units; the box has an area."""
        return json.dumps({"bbox_2d": written_box(sample.answer, frame)})

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Box:
        """Check that the answer is the box of one of the objects, because a painted image keeps
        only these."""
        if value is None:
            raise InputError(f"the row has no answer; {NO_OR_SEVERAL}")
        if isinstance(value, list | tuple) and all(isinstance(one, list | tuple) for one in value):
            raise InputError(f"answer {shown(value)} holds {len(value)} boxes; {NO_OR_SEVERAL}")
        box = checked_box(value, image, "answer")
        if not any(iou(box, thing.box) >= ANSWER_IS_OBJECT_IOU for thing in objects):
            raise InputError(
                f"answer {list(box)} is none of the objects' boxes (IoU < {ANSWER_IS_OBJECT_IOU}); "
                "add it to objects"
            )
        return box

    def objects_from_answer(self, answer: Any, question: str) -> list[dict[str, Any]]:
        if answer is None:
            raise InputError(f"the row has no answer; {NO_OR_SEVERAL}")
        if isinstance(answer, list) and all(isinstance(one, list) for one in answer):
            raise InputError(f"answer {shown(answer)} holds {len(answer)} boxes; {NO_OR_SEVERAL}")
        return [{"label": question, "box": answer}]

    def marks(self, answer: Box) -> list[Mark]:
        x1, y1, x2, y2 = answer
        return [Mark("", box=(x1, y1, x2, y2))]

    def words(self, answer: Box) -> str:
        return ", ".join(f"{number:.0f}" for number in answer)
