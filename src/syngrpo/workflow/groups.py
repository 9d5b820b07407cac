"""Groups: one drawn sample, its G responses and their rewards.

``score_group`` computes the rewards. The ``Group`` stays in the process that rolled it out;
``report_group`` makes a small ``GroupReport`` of it for the main process, which records the
measurements in the pool and submits the descriptions. The trainer calls both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from syngrpo.data_server.group_reports import (
    GroupReport,
    WrittenResponse,
    report_of,
    written_descriptions,
)
from syngrpo.method.base import Method
from syngrpo.method.diversity import response_diversity
from syngrpo.method.language import NO_LIMITS, WordingLimits
from syngrpo.method.response import ParsedResponse, format_reward, parse_response
from syngrpo.method.token_spans import span_tokens
from syngrpo.policy.encode import Prompt
from syngrpo.pool.stored_samples import PoolSample
from syngrpo.rollout.base import Response
from syngrpo.tasks.asking import scored_answer
from syngrpo.tasks.rewards import Reward, score_rewards


@dataclass(frozen=True)
class Group:
    """A scored group.

    ``index`` is the group's place in the global batch of the step; ``accuracies`` are the G
    accuracy rewards, ``format`` is float32 (G,), ``diversity`` is D(x) in [0, 1]; ``custom`` holds
    the values of the user's rewards by name, None for a response to which a reward does not apply;
    ``predictions`` are the answers as read, in original pixels, None where that is not possible;
    ``unreadable`` is the number of responses whose answer is missing or cannot be read: they score
    0. ``other_scale`` and ``outside`` are numbers of answers, see ``ScoredAnswer``.
    """

    index: int
    drawn: PoolSample
    prompt: Prompt
    responses: list[Response]
    parsed: list[ParsedResponse]
    accuracies: Sequence[float]
    format: Tensor
    diversity: float
    custom: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    unreadable: int = 0
    other_scale: int = 0
    outside: int = 0
    predictions: Sequence[Any] = ()

    @property
    def task(self) -> str:
        return self.drawn.sample.task

    @property
    def accuracy(self) -> Tensor:
        """float32 (G,): the accuracy rewards."""
        return torch.tensor(self.accuracies, dtype=torch.float32)

    @property
    def synthetic(self) -> bool:
        return self.drawn.sample.parent is not None

    @property
    def entropy(self) -> Tensor:
        """float32 (total tokens,): entropy of the sampling distribution at every token, in nats."""
        return torch.cat([response.entropy for response in self.responses])


def score_group(
    index: int,
    drawn: PoolSample,
    prompt: Prompt,
    responses: Sequence[Response],
    rewards: Sequence[Reward] = (),
    question: str = "",
    limits: WordingLimits = NO_LIMITS,
) -> Group:
    """Compute accuracy, format and custom rewards of every response, and D of the group.

    The first ``prompt.going_on`` responses describe new surroundings, the others end after the
    answer.

    ``question`` is the text beside the image, for the custom ``rewards``; one of them may replace
    the task's accuracy. ``limits`` are those of the wording of descriptions. Raises InputError when
    the task or a custom reward fails.
    """
    parsed = [
        parse_response(response.text, limits, describes=place < prompt.going_on)
        for place, response in enumerate(responses)
    ]
    scored = [scored_answer(drawn.sample, part.answer, prompt.frame) for part in parsed]
    accuracies = [one.accuracy for one in scored]
    texts = [response.text for response in responses]
    custom = score_rewards(rewards, [question] * len(texts), texts, [drawn.sample] * len(texts))
    for reward in rewards:
        if reward.replaces_accuracy:
            accuracies = [0.0 if value is None else value for value in custom[reward.name]]
    return Group(
        index=index,
        drawn=drawn,
        prompt=prompt,
        responses=list(responses),
        parsed=parsed,
        accuracies=accuracies,
        format=torch.tensor([format_reward(part) for part in parsed]),
        diversity=response_diversity(accuracies),
        custom=custom,
        unreadable=sum(one.prediction is None for one in scored),
        other_scale=sum(one.other_scale for one in scored),
        outside=sum(one.outside for one in scored),
        predictions=[one.prediction for one in scored],
    )


def is_phantom(group: Group, rewards: Sequence[Reward], format_weight: float) -> bool:
    """Return whether all answers of a group are wrong, and yet their tokens get advantages: by
    format, or by custom rewards that are about more than the scene."""
    if any(group.accuracies):
        return False
    others: list[Sequence[float | None]] = [group.format.tolist()] if format_weight else []
    for reward in rewards:
        if reward.weight and reward.on != "scene" and not reward.replaces_accuracy:
            others.append(group.custom[reward.name])
    return any(len({value for value in values if value is not None}) > 1 for values in others)


def report_group(
    group: Group, tokenizer: Any, method: Method, max_depth: int, version: int
) -> GroupReport:
    """Return the report of a group, with as many of its descriptions as the method submits.
    ``max_depth`` is that of ``parenthood``, ``version`` that of the policy that answered."""
    sample, job_id = group.drawn.sample, group.drawn.job_id
    report = report_of(group.index, sample, job_id, group.accuracies, method, max_depth)
    written = (
        (
            parsed,
            WrittenResponse(
                response.text,
                response.token_ids.numpy(),
                response.logprobs.numpy(),
                span_tokens(tokenizer, response.token_ids.numpy(), parsed.scene_span or (0, 0)),
            ),
        )
        for response, parsed in zip(group.responses, group.parsed, strict=True)
        if parsed.well_formed and parsed.scene is not None
    )
    described = written_descriptions(written, method.written_descriptions)
    return replace(report, version=version, descriptions=described)
