"""The judges of a worker: their options, how they are made, and the order in which they are asked.

``JudgeOptions`` are the configuration's ``synthesis.judges``. A worker calls ``load_judges`` with
them once; the gate then calls ``Judges.inspect`` for each picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from syngrpo.extensions import made
from syngrpo.options import REQUIRED, option, require_arguments
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
from syngrpo.painting.judges.object_extent import ContinuationJudge, ExpansionJudge
from syngrpo.sample import InputError


@dataclass(frozen=True)
class FurtherJudge:
    """A judge beside the built-in ones: of an installed package, or the user's own."""

    use: str = option(REQUIRED, "name of a judge, or package.module:name of a class or function")
    options: Mapping[str, Any] = option(dict, "its keyword arguments")


@dataclass(frozen=True)
class JudgeOptions:
    """Which judges look at a painted picture, and how strictly; see docs/gate.md.

    Each model is a directory or an id on the Hugging Face hub. The checks of a model that is not
    given are left out. Without models the gate does not import torch.
    """

    detector: str | None = option(
        None,
        "model that finds objects: Grounding DINO, MM-Grounding-DINO, LLMDet, OWL-ViT or OWLv2; "
        "null: none",
    )
    segmenter: str | None = option(None, "model that outlines objects: SAM 2; null: none")
    similarity: str | None = option(
        None, "model that compares pictures with texts: CLIP or SigLIP; null: none"
    )
    device: str = option("cpu", 'device of these models: "cpu", "cuda", "cuda:1"')
    dtype: Literal["float32", "bfloat16", "float16"] = option(
        "float32", "number format of the weights of these models"
    )
    max_expansion: float = option(
        0.2, "share of its area by which an object may grow; needs a segmenter", ge=0
    )
    max_continuation: float | None = option(
        None,
        "largest share of an object's border where it may seem to have grown, estimated without a "
        "model; null: the estimate is recorded and rejects nothing",
        ge=0,
        le=1,
    )
    more: tuple[FurtherJudge, ...] = option(
        (), "further judges, asked in this order: [{use: package.module:name, options: {…}}]"
    )


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
        """Ask one judge after the other, up to the first that rejects the picture. Returns its
        reason, None if no judge rejects the picture, and the scores of all that were asked."""
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
    """Return the judges, the cheapest first: the estimate of object expansion without a model, then
    one for each model that is given, then ``more``. ``options`` gives their limits."""
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
    """Load the models that the options name, and make all judges, the user's too.

    Torch and transformers are imported only if a model is named. Raises InputError, one line that
    names the option, for a model that cannot be loaded, a device that does not exist, and a judge
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

    Raises InputError for an unknown name, for options that its signature does not take, and when
    no judge comes out.
    """
    what = f"judge '{name}'"
    judge = made(what, check_judge(name, options), **options)
    if not isinstance(judge, Judge):
        raise InputError(f"{what} has no method judge: it is {judge!r}")
    return judge


def check_judge(name: str, options: Mapping[str, Any]) -> Callable[..., Judge]:
    """Return the class or function of a judge whose signature takes these options.

    Raises InputError when there is none of that name, or when it does not take them.
    """
    make = JUDGES.load(name)
    require_arguments(make, options, f"judge '{name}'")
    return make
