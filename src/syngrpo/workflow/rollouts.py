"""What samples the responses of a run."""

from __future__ import annotations

from collections.abc import Callable

from syngrpo.config import Config
from syngrpo.policy.model import Policy
from syngrpo.rollout import RolloutOptions, make_rollout
from syngrpo.rollout.base import Rollout
from syngrpo.workflow.noisy_rollout import NoisyRollout, waning


def rollout_of(config: Config, policy: Policy, steps_done: Callable[[], int]) -> Rollout:
    """The engine that was configured, and what the method puts around it. Raises InputError as
    ``make_rollout``."""
    options = config.rollout.model_dump()
    if options["server"] is not None:
        options["engine"] = "server"
    rollout = make_rollout(RolloutOptions(**options), policy)
    method = config.method
    if method.name != "noisy-rollout":
        return rollout
    return NoisyRollout(rollout, lambda: waning(method.noise, steps_done(), config.trainer.steps))
