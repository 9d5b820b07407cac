"""What samples the responses of a run."""

from __future__ import annotations

from collections.abc import Callable

from syngrpo.config import Config
from syngrpo.policy.loading import Policy
from syngrpo.rollout import Rollout, make_rollout
from syngrpo.workflow.noisy_rollout import NoisyRollout, waning


def rollout_of(config: Config, policy: Policy, steps_done: Callable[[], int]) -> Rollout:
    """The engine that was configured, and what the method puts around it. Raises InputError as
    ``make_rollout``, and for a token file that cannot be read."""
    options, method = config.rollout, config.method
    rollout = make_rollout(
        options.engine,
        policy,
        options.vllm_cache_gib,
        options.vllm_max_length,
        options.server_address(),
        options.server_patience_s,
    )
    if method.name != "noisy-rollout":
        return rollout
    return NoisyRollout(rollout, lambda: waning(method.noise, steps_done(), config.trainer.steps))
