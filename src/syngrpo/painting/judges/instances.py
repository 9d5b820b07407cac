"""Finds phantom instances and lost objects: compares a detector's results for parent and child.

Parent and child share exactly the kept pixels. So a detection in the child is *explained* when it
shows kept pixels, and is a *phantom* when it shows something painted. It counts as explained when

- it lies where a kept object of any class is labelled: if the detector gives that object a wrong
  name, the painting is not the cause;
- nearly all of its box is kept pixels: it is a part of an object;
- some of its box is kept pixels, and the parent has a detection of the same class at the same
  place: one box around two objects, or half an object. A detection of the parent that shows *no*
  kept pixels explains nothing, because what it showed was erased.

An object counts as lost only when it was found in the parent.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syngrpo.boxes import box_mask, iou
from syngrpo.painting.judges.base import Candidate, Detection, Detector, Scores, Verdict
from syngrpo.sample import LabelledObject
from syngrpo.tasks import Constraints
from syngrpo.tasks.labels import class_key

REMEMBERED = 64
"""Number of parents whose detections an InstanceJudge keeps."""


@dataclass(frozen=True)
class DetectionLimits:
    """How detections are compared.

    An object counts as found in the parent if its score is at least ``found_score``, and as lost in
    the child if its score there is below ``lost_score``, which is lower because an object may be
    harder to see before new surroundings. Two boxes of an IoU of at least ``same_place`` are at the
    same place. A detection shows kept pixels if they are at least ``kept_share`` of its box, or
    ``touched_share`` where the parent has a detection of that class at the same place.
    """

    found_score: float = 0.3
    lost_score: float = 0.15
    same_place: float = 0.5
    kept_share: float = 0.7
    touched_share: float = 0.2


LIMITS = DetectionLimits()


class InstanceJudge:
    """Compares what a detector finds in the child and in the parent; see ``judge_instances``.

    The detections of the last REMEMBERED parents are kept, because a parent's children tend to be
    painted soon after each other.
    """

    def __init__(self, detector: Detector, limits: DetectionLimits = LIMITS) -> None:
        self.detector = detector
        self._limits = limits
        self._parents: OrderedDict[tuple[bytes, tuple[str, ...]], list[Detection]] = OrderedDict()

    def judge(self, candidate: Candidate) -> Verdict:
        names = watched_classes(candidate)
        before = self._before(candidate.original, names)
        after = self.detector.detect(candidate.child, names)
        objects, keep = candidate.objects, candidate.keep
        return judge_instances(before, after, objects, keep, candidate.constraints, self._limits)

    def _before(self, image: np.ndarray, names: tuple[str, ...]) -> list[Detection]:
        key = (hashlib.sha256(image.tobytes()).digest(), names)
        if key not in self._parents:
            self._parents[key] = self.detector.detect(image, names)
            if len(self._parents) > REMEMBERED:
                self._parents.popitem(last=False)
        self._parents.move_to_end(key)
        return self._parents[key]


def watched_classes(candidate: Candidate) -> tuple[str, ...]:
    """Return the classes that may not appear anew, and those of the kept objects, each once."""
    kept: Sequence[str] = [thing.label for thing in candidate.objects]
    names = (*candidate.constraints.forbidden_labels, *kept)
    return tuple({class_key(name): name for name in reversed(names)}.values())[::-1]


def judge_instances(
    before: Sequence[Detection],
    after: Sequence[Detection],
    objects: Sequence[LabelledObject],
    keep: np.ndarray,
    constraints: Constraints,
    limits: DetectionLimits = LIMITS,
) -> Verdict:
    """Compare detections in the parent (``before``) and the child (``after``) of the same classes.

    ``constraints`` say what the task tolerates. The reason is ``phantom_instance`` or ``recall``.
    Scores: ``phantoms``, the number of phantoms; ``phantom_score``, the highest score of an
    unexplained detection, also below the threshold; ``recall``, the share of the objects found in
    the parent that are found in the child, 1 when none was found in the parent; ``lost``, the
    number of objects that were lost.
    """
    strange = unexplained(before, after, objects, keep, limits)
    phantoms = sum(one.score >= constraints.phantom_score for one in strange)
    found = [thing for thing in objects if _score_at(thing, before, limits) >= limits.found_score]
    lost = sum(_score_at(thing, after, limits) < limits.lost_score for thing in found)
    scores: Scores = {
        "phantoms": float(phantoms),
        "phantom_score": max((one.score for one in strange), default=0.0),
        "recall": 1 - lost / len(found) if found else 1.0,
        "lost": float(lost),
    }
    if phantoms > constraints.max_phantoms:
        return Verdict("phantom_instance", scores)
    return Verdict("recall" if scores["recall"] < constraints.min_recall else None, scores)


def unexplained(
    before: Sequence[Detection],
    after: Sequence[Detection],
    objects: Sequence[LabelledObject],
    keep: np.ndarray,
    limits: DetectionLimits,
) -> list[Detection]:
    """Return the detections of the child that show something painted, by the rules at the head of
    this module."""

    def explained(found: Detection) -> bool:
        if any(iou(found.box, thing.box) >= limits.same_place for thing in objects):
            return True
        share = _kept_share(found, keep)
        if share >= limits.kept_share:
            return True
        key = class_key(found.label)
        return share >= limits.touched_share and any(
            class_key(other.label) == key and iou(found.box, other.box) >= limits.same_place
            for other in before
        )

    return [found for found in after if not explained(found)]


def _kept_share(found: Detection, keep: np.ndarray) -> float:
    """Return the share of kept pixels among the box's pixels inside the image."""
    inside = box_mask(found.box, keep.shape[1], keep.shape[0])
    return float(keep[inside].mean()) if inside.any() else 0.0


def _score_at(thing: LabelledObject, found: Sequence[Detection], limits: DetectionLimits) -> float:
    """Return the best score of a detection of the object's class at its place, 0 without one."""
    key = class_key(thing.label)
    return max(
        (
            one.score
            for one in found
            if class_key(one.label) == key and iou(one.box, thing.box) >= limits.same_place
        ),
        default=0.0,
    )
