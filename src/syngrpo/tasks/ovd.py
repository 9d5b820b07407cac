"""OVD, open-vocabulary detection: class names → every instance of them, or None."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypedDict

import numpy as np

from syngrpo.boxes import CoordinateFrame, ious
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks.absent_answers import says_none
from syngrpo.tasks.answer_reading import find_objects, written_box
from syngrpo.tasks.average_precision import average_precision
from syngrpo.tasks.base import (
    CORNERS,
    NO_COLUMNS,
    Constraints,
    Mark,
    PromptStyle,
    SetMetrics,
    Task,
    full_prompt,
)
from syngrpo.tasks.detection_metrics import DetectionMetrics
from syngrpo.tasks.labels import asked_classes, checked_box, class_key, labels_of, shown
from syngrpo.tasks.question_words import depends_on_view, names_colour

ANSWER_IS_OBJECT_IOU = 0.9
"""An instance of the answer is taken to be an object of its class if their IoU is at least this."""


class Instance(TypedDict):
    """One labelled box, of the ground truth or of a prediction."""

    label: str
    box: Box


Instances = tuple[Instance, ...]


class OpenVocabularyDetection(Task):
    """Asks for all instances of some classes. The accuracy is COCO AP@[.5:.95] of the image ×
    min(1, instances / predicted instances). If the image holds no asked class, the accuracy is 1
    for the answer None, else 0.

    Labels are compared without regard to case. Every predicted instance counts in the second
    factor, also those of classes without ground truth, so that every false positive lowers the
    accuracy, whatever its label. With ``vlm_r1_labels`` labels are compared letter by letter, as
    VLM-R1 does; its published rule also leaves unknown labels out of the precision and not out of
    the number of predicted instances.
    """

    asks_for = "classes"
    needs_objects = False
    headlines = MappingProxyType(
        {"greedy/map": "COCO mAP", "greedy/ap50": "AP50", "greedy/f1@0.5": "F1@0.5"}
    )
    metrics_note = (
        "COCO mAP over the whole set, every detection with score 1. A detection of a class that "
        "was asked for and is absent, or that was not asked for, is a false positive of its "
        "class; labels that no sample of the set holds lower only F1 and the reward."
    )

    def __init__(self, vlm_r1_labels: bool = False) -> None:
        self.vlm_r1_labels = vlm_r1_labels
        self.name = "ovd-vlm-r1" if vlm_r1_labels else "ovd"

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        """Return the text beside the image. It does not name the labelled objects, because they are
        the answer."""
        if style == "brief":
            return f"detect {sample.question}"
        return full_prompt(
            ask="Find every object of these classes in this picture, some of which may be absent: "
            f"{sample.question}\nLocate all of them.",
            think="which of the classes you see, how often and where",
            answer='[{"bbox_2d": [x1, y1, x2, y2], "label": "class"}, ...]',
            explain=f"In <answer>, list every object once; {CORNERS} of its box, label its class "
            "as it is written above. When there is no object of these classes, answer None.",
            keep="the objects of this picture",
            things="objects",
            stay="Leave the objects as they are, and never bring in another object of the classes "
            "above.",
        )

    def read(self, answer: str) -> Instances | None:
        """Return every object with a readable box and a label, in order; ``()`` for the answer
        None or an empty list; None when the text has neither."""
        found: Instances = tuple(
            {"label": label, "box": box}
            for label, box in find_objects(answer)
            if box is not None and label.strip()
        )
        return found if found or says_none(answer) else None

    def to_original(self, prediction: Instances, frame: CoordinateFrame) -> Instances:
        """Convert all boxes to original pixels and clip them to the image."""
        return self.map_boxes(prediction, frame.to_original_clipped)

    def score(self, prediction: Instances | None, sample: Sample) -> float:
        truth: Instances = sample.answer
        if prediction is None or not truth or not prediction:
            return float(prediction is not None and not truth and not prediction)
        wanted, found = self._keys(truth), self._keys(prediction)
        known = {key: number for number, key in enumerate(wanted)}
        precision = average_precision(
            [one["box"] for one in prediction],
            [known.get(key, -1) for key in found],
            [one["box"] for one in truth],
            [known[key] for key in wanted],
        )
        return precision * min(1.0, len(truth) / len(prediction))

    def _keys(self, instances: Instances) -> list[str]:
        """Return for every instance a text that is the same for all spellings of its class."""
        labels = [one["label"] for one in instances]
        return labels if self.vlm_r1_labels else [*map(class_key, labels)]

    def constraints(self, sample: Sample) -> Constraints:
        """Keep every labelled object and allow no new instance of an asked or labelled class. The
        judges tolerate that one object in ten is lost, because a detector misses some of many. The
        view is fixed if a class is a phrase about a place ("chair on the left")."""
        labels = {class_key(label): label for label in labels_of(sample)}
        asked = {class_key(label): label for label in asked_classes(sample.question)}
        return Constraints(
            keep=tuple(range(len(sample.objects))),
            forbidden_labels=tuple((asked | labels).values()),
            min_recall=0.9,
            view="fixed" if any(map(_names_place, asked.values())) else "free",
            names_colour=names_colour(sample.question),
        )

    def map_boxes(self, answer: Instances, change: Callable[[Box], Box]) -> Instances:
        return tuple({"label": one["label"], "box": change(one["box"])} for one in answer)

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        """Write ``[{"bbox_2d": [x1, y1, x2, y2], "label": "…"}, …]`` in whole model units, or
        None."""
        rows = [
            {"bbox_2d": written_box(one["box"], frame), "label": one["label"]}
            for one in sample.answer
        ]
        return json.dumps(rows, ensure_ascii=False) if rows else "None"

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Instances:
        """Check that the answer lists exactly the objects of the asked classes; without an answer,
        take those."""
        asked = {class_key(label) for label in asked_classes(question)}
        wanted = [thing for thing in objects if class_key(thing.label) in asked]
        if value is None:
            return tuple(Instance(label=thing.label, box=thing.box) for thing in wanted)
        if not isinstance(value, list | tuple):
            raise InputError(
                f"answer {shown(value)} is not a list of instances; write "
                '[{"label": "…", "box": [x1, y1, x2, y2]}, …], or leave it out'
            )
        instances = tuple(
            _instance(one, image, f"answer[{place}]") for place, one in enumerate(value)
        )
        if lacking := _not_in_answer(wanted, instances):
            raise InputError(
                f"answer lacks the {shown(lacking[0].label)} at {list(lacking[0].box)}, an object "
                "of an asked class; add it, or leave the answer out"
            )
        return instances

    def objects_from_answer(self, answer: Any, question: str) -> Any:
        if answer is None:
            raise InputError("the row has no answer and no objects; write one of them")
        return answer

    def set_metrics(
        self, truths: Sequence[Instances], predictions: Sequence[Instances | None]
    ) -> SetMetrics:
        return DetectionMetrics(truths, predictions)

    def marks(self, answer: Instances) -> list[Mark]:
        return [Mark(one["label"], box=one["box"]) for one in answer]

    def words(self, answer: Instances) -> str:
        """Count the instances by class: "2 lamp, 1 chair"."""
        counts = Counter(instance["label"] for instance in answer)
        return ", ".join(f"{count} {label}" for label, count in counts.items()) or "none of them"


VLM_R1_DETECTION = OpenVocabularyDetection(vlm_r1_labels=True)


def _instance(value: Any, image: EncodedImage, name: str) -> Instance:
    if not isinstance(value, dict) or set(value) != {"label", "box"}:
        raise InputError(f"{name} is {shown(value)}, not an object with label and box")
    if not isinstance(value["label"], str):
        raise InputError(f"{name}.label is {shown(value['label'])}, not a text")
    return Instance(label=value["label"], box=checked_box(value["box"], image, f"{name}.box"))


def _not_in_answer(objects: Sequence[LabelledObject], instances: Instances) -> list[LabelledObject]:
    """Return the objects for which no instance stands.

    An instance stands for an object of its class with the same box; if there is none, for the one
    that it overlaps most of those that are left. Raises InputError when none of them is close
    enough. A sample may have thousands of objects, hence the dictionary and the arrays.
    """
    by_box: defaultdict[tuple[str, Box], list[int]] = defaultdict(list)
    for number, thing in enumerate(objects):
        by_box[class_key(thing.label), thing.box].append(number)
    moved = []
    for place, one in enumerate(instances):
        same = by_box.get((class_key(one["label"]), one["box"]))
        if same:
            same.pop()
        else:
            moved.append((place, one))
    left: defaultdict[str, list[int]] = defaultdict(list)
    for (key, _), numbers in by_box.items():
        left[key] += numbers
    boxes = {key: np.array([objects[n].box for n in left[key]]) for key in left if left[key]}
    taken: set[int] = set()
    for place, one in moved:
        key = class_key(one["label"])
        overlaps = ious(one["box"], boxes[key]) if key in boxes else np.zeros(1)
        best = int(overlaps.argmax())
        if overlaps[best] < ANSWER_IS_OBJECT_IOU:
            raise InputError(
                f"answer[{place}], {shown(one['label'])} at {list(one['box'])}, is no object of "
                f"an asked class (IoU < {ANSWER_IS_OBJECT_IOU}); add it to objects, or its class "
                "to question"
            )
        taken.add(left[key][best])
        boxes[key][best] = 0.0  # overlaps nothing
    return [objects[n] for n in sorted({n for numbers in left.values() for n in numbers} - taken)]


def _names_place(name: str) -> bool:
    """Return whether a class is a phrase about a place, as "chair on the left" is and
    "picture frame" is not."""
    return " the " in f" {name} " and depends_on_view(name)
