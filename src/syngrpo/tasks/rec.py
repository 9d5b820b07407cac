"""REC, referring expression comprehension: a phrase → the box of the one object it refers to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from syngrpo.boxes import CoordinateFrame, clip, iou
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks.labels import checked_box, labels_of
from syngrpo.tasks.task import Constraints, PromptStyle

FULL_PROMPT = """\
Exactly one object in this picture fits the phrase: "{phrase}"
Locate it. Afterwards picture the labelled objects ({labels}) in a completely different place.
Reply with these three parts, one after the other, and with nothing else:
<think>how you tell the object apart from the others</think>
<answer>{{"bbox_2d": [x1, y1, x2, y2]}}</answer>
<scene>the new place around the labelled objects</scene>
In <answer>, x1, y1 is the top-left and x2, y2 the bottom-right corner of the object's box. \
In <scene>, say in one or two sentences what the walls and the floor look like, their materials, \
patterns and colours, where the light comes from and how strong it is, and what clutter lies \
around. Leave the labelled objects as they are, and never bring in another object of the same kind.\
"""

# NaN and infinity are matched so that a first box holding one is unreadable, not skipped.
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
_FOUR = rf"\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,?\s*\]"
_BARE_BOX = re.compile(_FOUR, re.IGNORECASE)
_KEYED_BOX = re.compile(rf"bbox(?:_2d)?[\"']?\s*[:=]\s*\[?\s*{_FOUR}", re.IGNORECASE)

ANSWER_IS_OBJECT_IOU = 0.9
"""An object with at least this IoU with the answer is taken to be the answer's object."""


class ReferringExpression:
    """Accuracy is the IoU of the first box in the answer with the labelled one."""

    name = "rec"

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        """See ``Task.prompt``."""
        if style == "brief":
            return sample.question
        return FULL_PROMPT.format(phrase=sample.question, labels=", ".join(labels_of(sample)))

    def read(self, answer: str) -> Box | None:
        """The first box: of a "bbox_2d" or "bbox" key if there is one, else any ``[…]`` of four
        numbers. None without one, or when it is not finite or has no area."""
        match = _KEYED_BOX.search(answer) or _BARE_BOX.search(answer)
        if match is None:
            return None
        x1, y1, x2, y2 = (float(number) for number in match.groups())
        finite = all(math.isfinite(number) for number in (x1, y1, x2, y2))
        return (x1, y1, x2, y2) if finite and x1 < x2 and y1 < y2 else None

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

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        """``{"bbox_2d": [x1, y1, x2, y2]}`` in whole model units, never an empty box."""
        x1, y1, x2, y2 = (round(value) for value in frame.to_model(sample.answer))
        x1, y1 = min(x1, round(frame.width) - 1), min(y1, round(frame.height) - 1)
        return json.dumps({"bbox_2d": [x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)]})

    def ground_truth(
        self, value: Any, image: EncodedImage, objects: Sequence[LabelledObject]
    ) -> Box:
        """One box that is one of the objects: synthesis keeps what is labelled, nothing else."""
        box = checked_box(value, image, "answer")
        if not any(iou(box, thing.box) >= ANSWER_IS_OBJECT_IOU for thing in objects):
            raise InputError(
                f"answer {list(box)} is none of the objects' boxes (IoU < {ANSWER_IS_OBJECT_IOU}); "
                "add it to objects"
            )
        return box
