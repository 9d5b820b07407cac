"""Lets the engine sample the batches of later steps while a step updates the policy.

With ``rollout.async_steps`` N the batch of a step is begun N steps before, with the weights of
then. The update corrects for the difference between these weights and the present ones by the
log-probabilities of sampling (``rollout.tis_cap``, ``method.off_policy_threshold``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from syngrpo.pool.stored_samples import PoolSample
from syngrpo.rollout.base import Response, Waiting

RolledOut = tuple[int, PoolSample, Any, list[Response]]
"""A group that was sampled: its place in the global batch, its sample, prompt and responses."""


@dataclass(frozen=True)
class Batch:
    """The groups of this process in one step, whose responses may still be being sampled.

    ``version`` is that of the policy that samples them. Each of ``asked`` has a place in the global
    batch, a sample and its prompt.
    """

    asked: Sequence[tuple[int, PoolSample, Any]]
    version: int
    waiting: Waiting

    def wait(self) -> list[RolledOut]:
        """Return the groups when all are sampled."""
        responses = self.waiting()
        return [(*one, group) for one, group in zip(self.asked, responses, strict=True)]


class BatchesAhead:
    """The batches of the next steps. ``begin`` draws and begins the batch of a step with the
    weights of now; ``steps`` is how many are begun ahead, ``last`` the number of steps of the
    run, after which there is nothing to begin."""

    def __init__(self, begin: Callable[[int], Batch], steps: int, last: int) -> None:
        self._begin = begin
        self._steps = steps
        self._last = last
        self._begun: deque[Batch] = deque()

    def take(self, step: int) -> Batch:
        """Return the batch of a step, and begin those of the next ones. Call it for each step in
        turn; the batch of the first steps is sampled with the weights of the first."""
        while len(self._begun) <= min(self._steps, self._last - step - 1):
            self._begun.append(self._begin(step + len(self._begun)))
        return self._begun.popleft()
