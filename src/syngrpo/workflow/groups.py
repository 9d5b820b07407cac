"""A group: one drawn sample, its G responses, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syngrpo.method.diversity import response_diversity
from syngrpo.method.response import ParsedResponse, format_reward, parse_response
from syngrpo.policy.encode import Prompt
from syngrpo.pool.stored_samples import PoolSample
from syngrpo.rollout.base import Response
from syngrpo.tasks import get_task


@dataclass(frozen=True)
class Group:
    """``index`` is the group's place in the global batch of the step; ``accuracy`` and ``format``
    are float32 (G,), ``diversity`` is D(x) in [0, 1]."""

    index: int
    drawn: PoolSample
    prompt: Prompt
    responses: list[Response]
    parsed: list[ParsedResponse]
    accuracy: Tensor
    format: Tensor
    diversity: float

    @property
    def task(self) -> str:
        return self.drawn.sample.task

    @property
    def synthetic(self) -> bool:
        return self.drawn.sample.parent is not None

    @property
    def unreadable(self) -> int:
        """Responses whose answer could not be read; they score 0."""
        task = get_task(self.task)
        return sum(p.answer is None or task.read(p.answer) is None for p in self.parsed)

    @property
    def entropy(self) -> Tensor:
        """float32 (total tokens,): entropy of the sampling distribution at every token."""
        return torch.cat([response.entropy for response in self.responses])


def score_group(
    index: int, drawn: PoolSample, prompt: Prompt, responses: Sequence[Response]
) -> Group:
    """Accuracy and format of every response, and the diversity of the group."""
    task = get_task(drawn.sample.task)
    parsed = [parse_response(response.text) for response in responses]
    accuracies = []
    for part in parsed:
        prediction = task.read(part.answer) if part.answer is not None else None
        if prediction is not None:
            prediction = task.to_original(prediction, prompt.frame)
        accuracies.append(task.score(prediction, drawn.sample))
    return Group(
        index=index,
        drawn=drawn,
        prompt=prompt,
        responses=list(responses),
        parsed=parsed,
        accuracy=torch.tensor(accuracies, dtype=torch.float32),
        format=torch.tensor([format_reward(part) for part in parsed]),
        diversity=response_diversity(accuracies),
    )
