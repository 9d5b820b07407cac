"""What samples responses: our own rollout, or another program in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import Policy
from syngrpo.policy.rollout import Response, rollout
from syngrpo.policy.sampling import Sampling


class Rollout(Protocol):
    """See ``policy.rollout.rollout``."""

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]: ...


def make_rollout(
    engine: Literal["native", "vllm"], policy: Policy, cache_gib: float, max_length: int
) -> Rollout:
    """The rollout function of an engine; the last two are vLLM's. Raises InputError when it is not
    installed."""
    if engine == "native":
        return rollout
    from syngrpo.policy.engines.vllm_engine import VllmEngine

    return VllmEngine(policy, cache_gib, max_length)
