"""What a trainer reports about one group of responses: its measurements and its descriptions.

A group is one drawn sample with its G responses. ``report_of`` makes the ``GroupReport`` from the
accuracies of the group; ``written_descriptions`` finds the descriptions in its responses. With
several processes each makes the reports of its groups, and the main process gets all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from syngrpo.method.base import Method
from syngrpo.method.diversity import has_zero_variance, response_diversity
from syngrpo.method.ledger import token_span
from syngrpo.method.response import ParsedResponse, parse_response
from syngrpo.method.token_spans import decoded, span_tokens
from syngrpo.painting.prompt import clean_description
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.asking import chance_of, constraints_of

Companion = TypeVar("Companion")

Parenthood = Literal["parent", "too deep", "nothing to keep"]
"""Whether images may be painted from a sample, or why not: ``pool.max_depth`` is reached, or it has
no labelled objects around which to paint."""


def parenthood(sample: Sample, max_depth: int) -> Parenthood:
    """Return whether a sample may be the parent of new images; the one rule for who describes new
    surroundings and whose descriptions are submitted."""
    if sample.depth >= max_depth:
        return "too deep"
    return "parent" if constraints_of(sample).keep else "nothing to keep"


@dataclass(frozen=True, eq=False)
class Description:
    """A description of new surroundings, taken from a response.

    ``text`` is the cleaned description, ``response`` the whole text. ``token_ids`` and ``logprobs``
    (L,) are the response's tokens and their sampling log-probabilities; ``scene_tokens`` is the
    half-open range of the description in them. The update needs these when the reward is known.
    """

    text: str
    response: str
    token_ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    scene_tokens: tuple[int, int]


@dataclass(frozen=True, eq=False)
class WrittenResponse:
    """One response as a policy wrote it.

    ``text`` is what ``parse_response`` reads, without special tokens. ``token_ids`` and
    ``logprobs`` (L,) are its tokens, without the prompt and without padding, and their
    log-probabilities under the policy that sampled them. ``scene_mask`` bool (L,) marks the tokens
    from ``<scene>`` to the end of the response, or to its next part: one run of tokens.
    Log-probabilities that are not known are NaN; the description then gets no reward. Raises
    InputError for arrays that do not fit together.
    """

    text: str
    token_ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    scene_mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        arrays = (self.token_ids, self.logprobs, self.scene_mask)
        if {np.shape(one) for one in arrays} != {(len(self.token_ids),)}:
            sizes = [np.size(one) for one in arrays]
            raise InputError(
                "a response has {} tokens, {} log-probabilities and a scene_mask of {}; give one "
                "of each for each token, without the prompt and without padding".format(*sizes)
            )

    @classmethod
    def of(
        cls, tokenizer: Any, token_ids: Sequence[int], logprobs: Sequence[float]
    ) -> WrittenResponse:
        """Return the response with these tokens. ``tokenizer`` is one of transformers, or anything
        with the same ``decode`` and ``all_special_ids``. Raises InputError when there are not as
        many log-probabilities as tokens."""
        ids, scores = np.asarray(token_ids, np.int64), np.asarray(logprobs, np.float32)
        if ids.shape != scores.shape or ids.ndim != 1:
            raise InputError(
                f"a response has {ids.size} tokens and {scores.size} log-probabilities; give one "
                "for each token, without the prompt and without padding"
            )
        text = decoded(tokenizer, ids)
        span = parse_response(text).scene_span or (0, 0)
        return cls(text, ids, scores, span_tokens(tokenizer, ids, span))


@dataclass(frozen=True, eq=False)
class GroupReport:
    """The part of a group that is sent to the main process.

    ``index`` is the group's place in the global batch; ``diversity`` is D of the accuracies,
    ``rewarded_diversity`` the one that the description of the sample is rewarded with;
    ``accuracy`` is the mean of the group; ``parenthood`` says whether images may be painted from
    the sample. ``job_id`` is the job that painted the sample, None for a seed. ``version`` is that
    of the policy that sampled the responses, None for the present one.
    """

    index: int
    sample_id: str
    task: str
    job_id: str | None
    diversity: float
    rewarded_diversity: float
    accuracy: float
    parenthood: Parenthood
    version: int | None = None
    descriptions: list[Description] = field(default_factory=list)


def report_of(
    index: int,
    sample: Sample,
    job_id: str | None,
    accuracies: Sequence[float],
    method: Method,
    max_depth: int,
) -> GroupReport:
    """Return the report of a group, without descriptions. ``max_depth`` is that of ``parenthood``.

    Raises InputError for accuracies that are no numbers in [0, 1].
    """
    try:
        diversity = response_diversity(accuracies)
    except ValueError as error:
        raise InputError(f"sample {sample.id}: {error}") from None
    except TypeError:
        raise InputError(
            f"sample {sample.id}: accuracies {accuracies!r:.200} are not numbers in [0, 1], one "
            "for each response"
        ) from None
    return GroupReport(
        index=index,
        sample_id=sample.id,
        task=sample.task,
        job_id=job_id,
        diversity=diversity,
        rewarded_diversity=method.rewarded_diversity(
            accuracies, get_task(sample.task).hit, chance_of(sample)
        ),
        accuracy=float(np.mean(np.asarray(accuracies, dtype=np.float32))),
        parenthood=parenthood(sample, max_depth),
    )


def report_metrics(reports: Sequence[GroupReport]) -> dict[str, float]:
    """Return means over the groups of a step by the names of their metrics: D, and the share of
    groups whose responses are all equally accurate; of all groups, those on seeds, and those on
    painted samples. What there is none of has no metric."""
    numbers: dict[str, float] = {}
    painted = [report for report in reports if report.job_id is not None]
    seeds = [report for report in reports if report.job_id is None]
    for part, group in (("", reports), ("_seed", seeds), ("_synthetic", painted)):
        if group:
            values = [report.diversity for report in group]
            equal = [float(has_zero_variance(value)) for value in values]
            numbers[f"diversity/response{part}"] = sum(values) / len(values)
            numbers[f"diversity/zero_variance_groups{part}"] = sum(equal) / len(equal)
    return numbers


def written_descriptions(
    responses: Iterable[tuple[ParsedResponse, WrittenResponse]], wanted: int
) -> list[Description]:
    """Return up to ``wanted`` different descriptions, from the first well-formed responses. Each
    response comes with what was read in it.

    The responses of a group are sampled independently, so the first ones are a random choice.
    """
    marked = (pair for pair in responses if np.asarray(pair[1].scene_mask, np.bool_).any())
    return [
        Description(
            text,
            response.text.encode("utf-8", "replace").decode(),  # a half surrogate
            response.token_ids,
            response.logprobs,
            _scene_tokens(np.asarray(response.scene_mask, np.bool_)),
        )
        for text, response in islice(different_descriptions(marked), wanted)
    ]


def different_descriptions(
    responses: Iterable[tuple[ParsedResponse, Companion]],
) -> Iterator[tuple[str, Companion]]:
    """Yield the text of each description in well-formed responses that no response before it has,
    with what came with its response."""
    known: set[str] = set()
    for parsed, companion in responses:
        text = clean_description(parsed.scene) if parsed.well_formed and parsed.scene else ""
        if text and text.casefold() not in known:
            known.add(text.casefold())
            yield text, companion


def _scene_tokens(mask: NDArray[np.bool_]) -> tuple[int, int]:
    try:
        return token_span(mask)
    except ValueError as error:
        raise InputError(f"the scene_mask of a response is wrong: {error}") from None
