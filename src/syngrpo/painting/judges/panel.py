"""The judges of a gate, in the order in which they are asked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from syngrpo.painting.judges import JUDGES
from syngrpo.painting.judges.base import (
    Candidate,
    Detector,
    Judge,
    Scores,
    Segmenter,
    Similarity,
    Verdict,
)
from syngrpo.painting.judges.instances import InstanceJudge
from syngrpo.painting.judges.judge_options import JudgeOptions
from syngrpo.painting.judges.object_extent import ContinuationJudge, ExpansionJudge
from syngrpo.sample import InputError


class SimilarityJudge:
    """Records how well the description fits the picture and rejects nothing. Score:
    ``similarity``."""

    def __init__(self, similarity: Similarity) -> None:
        self._similarity = similarity

    def judge(self, candidate: Candidate) -> Verdict:
        score = self._similarity.similarity(candidate.child, candidate.description)
        return Verdict(None, {"similarity": score})


class Judges:
    """The judges of one worker. ``segmenter`` also makes masks for objects that have none."""

    def __init__(self, judges: Sequence[Judge], segmenter: Segmenter | None = None) -> None:
        self._judges = list(judges)
        self.segmenter = segmenter

    def inspect(self, candidate: Candidate) -> Verdict:
        """Ask one judge after the other, up to the first that rejects the picture."""
        scores: Scores = {}
        for judge in self._judges:
            reason, found = judge.judge(candidate)
            scores |= found
            if reason is not None:
                return Verdict(reason, scores)
        return Verdict(None, scores)


def judges_of(
    detector: Detector | None = None,
    segmenter: Segmenter | None = None,
    similarity: Similarity | None = None,
    options: JudgeOptions | None = None,
    more: Sequence[Judge] = (),
) -> Judges:
    """Put the judges together, the cheapest first: the model-free estimate of object expansion,
    then those of the models that are there, then ``more``. ``options`` gives the limits."""
    limits = options or JudgeOptions()
    judges: list[Judge] = [ContinuationJudge(limits.max_continuation)]
    if segmenter is not None:
        judges.append(ExpansionJudge(segmenter, limits.max_expansion))
    if detector is not None:
        judges.append(InstanceJudge(detector))
    if similarity is not None:
        judges.append(SimilarityJudge(similarity))
    return Judges([*judges, *more], segmenter)


def load_judges(options: JudgeOptions) -> Judges:
    """Load the models that the options name, and make the user's judges.

    Torch and transformers are imported only if there are models. Raises InputError, one line that
    names the option, for a model that cannot be loaded, a device that is not there, and a judge
    that is unknown or does not take its options.
    """
    where = (options.device, options.dtype)
    detector = segmenter = similarity = None
    if options.detector is not None:
        from syngrpo.painting.judges.judging_models import load_detector

        detector = load_detector(options.detector, *where)
    if options.segmenter is not None:
        from syngrpo.painting.judges.judging_models import load_segmenter

        segmenter = load_segmenter(options.segmenter, *where)
    if options.similarity is not None:
        from syngrpo.painting.judges.judging_models import load_similarity

        similarity = load_similarity(options.similarity, *where)
    more = [make_judge(judge.use, judge.options) for judge in options.more]
    return judges_of(detector, segmenter, similarity, options, more)


def make_judge(name: str, options: Mapping[str, Any]) -> Judge:
    """Return the judge with this name, called with these options as keyword arguments.

    Raises InputError for an unknown name and for options that its signature does not take.
    """
    make = JUDGES.load(name)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise InputError(f"judge '{name}' does not take these options ({error})") from None
    return make(**options)
