"""What samples responses: our own rollout, or another program in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import Policy
from syngrpo.rollout.native import Response, rollout
from syngrpo.rollout.remote import PATIENCE_S, RemoteRollout
from syngrpo.rollout.sampling import Sampling
from syngrpo.serving.http_client import ServerAddress


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
    engine: Literal["native", "vllm"],
    policy: Policy,
    cache_gib: float,
    max_length: int,
    server: ServerAddress | None = None,
    patience_s: float = PATIENCE_S,
) -> Rollout:
    """The rollout function of an engine, or of a server if there is one, which is waited for for
    ``patience_s``. ``cache_gib`` and ``max_length`` are those of vLLM in this process. Raises
    InputError when that is not installed, and as ``RemoteRollout``."""
    if server is not None:
        return RemoteRollout(policy, server, patience_s)
    if engine == "native":
        return rollout
    from syngrpo.rollout.vllm_engine import VllmEngine

    return VllmEngine(policy, cache_gib, max_length)
