"""Phantom instances and recall: what a detector found in the child, against the parent.

Parent and child share exactly the kept pixels. So a detection in the child is *explained* when it
shows those, and is a *phantom* otherwise: it shows something painted.

- It lies where a kept object of any class is labelled: the detector's name for that object, right
  or wrong, is not the painter's doing.
- Nearly all of its box is kept pixels: part of an object.
- Some of its box is kept pixels, and the parent has such a detection at the same place: one box
  around two objects, half an object. A detection of the parent that shows *no* kept pixels explains
  nothing: what it showed was erased, and what is found there now has been painted anew.

An object counts as lost only when it was found in the parent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syngrpo.boxes import box_mask, iou
from syngrpo.painting.judges.judge import Detection, Scores, Verdict
from syngrpo.painting.judges.options import JudgeThresholds, TaskPolicy
from syngrpo.sample import LabelledObject
from syngrpo.tasks.labels import class_key


def judge_instances(
    before: Sequence[Detection],
    after: Sequence[Detection],
    objects: Sequence[LabelledObject],
    keep: np.ndarray,
    limits: JudgeThresholds,
    policy: TaskPolicy,
) -> Verdict:
    """``before`` was found in the parent, ``after`` in the child, both asked for the same classes.

    Reasons: ``phantom_instance``, ``recall``. Scores: ``phantoms``; ``phantom_score``, the highest
    of an unexplained detection, however low; ``recall``, 1 when nothing was found in the parent;
    ``lost``, how many objects were.
    """
    strange = unexplained(before, after, objects, keep, limits)
    phantoms = sum(one.score >= policy.phantom_score for one in strange)
    found = [thing for thing in objects if _score_at(thing, before, limits) >= limits.found_score]
    lost = sum(_score_at(thing, after, limits) < limits.lost_score for thing in found)
    scores: Scores = {
        "phantoms": float(phantoms),
        "phantom_score": max((one.score for one in strange), default=0.0),
        "recall": 1 - lost / len(found) if found else 1.0,
        "lost": float(lost),
    }
    if phantoms > policy.max_phantoms:
        return "phantom_instance", scores
    return "recall" if scores["recall"] < policy.min_recall else None, scores


def unexplained(
    before: Sequence[Detection],
    after: Sequence[Detection],
    objects: Sequence[LabelledObject],
    keep: np.ndarray,
    limits: JudgeThresholds,
) -> list[Detection]:
    """Detections of the child that show something painted, see the module."""

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
    """Share of the box's pixels inside the image that are kept."""
    inside = box_mask(found.box, keep.shape[1], keep.shape[0])
    return float(keep[inside].mean()) if inside.any() else 0.0


def _score_at(thing: LabelledObject, found: Sequence[Detection], limits: JudgeThresholds) -> float:
    """The best score of a detection of the object's class at its place."""
    key = class_key(thing.label)
    return max(
        (
            one.score
            for one in found
            if class_key(one.label) == key and iou(one.box, thing.box) >= limits.same_place
        ),
        default=0.0,
    )
