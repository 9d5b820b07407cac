"""The models that look at a painted picture, together."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from syngrpo.painting.judges.continuation import object_continuation
from syngrpo.painting.judges.expansion import object_expansion
from syngrpo.painting.judges.instances import judge_instances
from syngrpo.painting.judges.judge import (
    Candidate,
    Detection,
    Detector,
    Scores,
    Segmenter,
    Similarity,
    Verdict,
)
from syngrpo.painting.judges.options import JudgeThresholds
from syngrpo.tasks.labels import class_key

REMEMBERED = 64
"""Parents whose detections are kept: one gets several children, one soon after the other."""


@dataclass
class Judges:
    """Any of the models may be missing; what it would say is then neither scored nor required."""

    detector: Detector | None = None
    segmenter: Segmenter | None = None
    similarity: Similarity | None = None
    thresholds: JudgeThresholds = field(default_factory=JudgeThresholds)
    _parents: OrderedDict[tuple[bytes, tuple[str, ...]], list[Detection]] = field(
        default_factory=OrderedDict, repr=False
    )

    def inspect(self, candidate: Candidate) -> Verdict:
        """Cheapest first, up to the first that refuses: ``object_expansion``, then
        ``phantom_instance`` and ``recall``; the similarity to the description is only recorded."""
        limits = self.thresholds
        scores: Scores = {}
        scores["continuation"] = grown = object_continuation(candidate)
        if limits.max_continuation is not None and grown > limits.max_continuation:
            return "object_expansion", scores
        if self.segmenter is not None:
            scores["expansion"] = object_expansion(candidate, self.segmenter)
            if scores["expansion"] > limits.max_expansion:
                return "object_expansion", scores
        if self.detector is not None:
            reason, found = self._compare(candidate, self.detector)
            scores |= found
            if reason is not None:
                return reason, scores
        if self.similarity is not None:
            text = candidate.description
            scores["similarity"] = self.similarity.similarity(candidate.child, text)
        return None, scores

    def _compare(self, candidate: Candidate, detector: Detector) -> Verdict:
        objects = candidate.objects
        names = watched_classes(candidate)
        before = self._before(candidate.original, names, detector)
        return judge_instances(
            before,
            detector.detect(candidate.child, names),
            objects,
            candidate.keep,
            self.thresholds,
            self.thresholds.policy(candidate.sample.task),
        )

    def _before(
        self, image: np.ndarray, names: tuple[str, ...], detector: Detector
    ) -> list[Detection]:
        key = (hashlib.sha256(image.tobytes()).digest(), names)
        if key not in self._parents:
            self._parents[key] = detector.detect(image, names)
            if len(self._parents) > REMEMBERED:
                self._parents.popitem(last=False)
        self._parents.move_to_end(key)
        return self._parents[key]


def watched_classes(candidate: Candidate) -> tuple[str, ...]:
    """The classes that may not appear anew, and those of the kept objects, each once."""
    kept: Sequence[str] = [thing.label for thing in candidate.objects]
    names = (*candidate.constraints.forbidden_labels, *kept)
    return tuple({class_key(name): name for name in reversed(names)}.values())[::-1]
