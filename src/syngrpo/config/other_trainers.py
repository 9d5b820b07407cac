"""What options of TRL and verl are called here, for messages about unknown keys and values.

``docs/losses.md`` compares the options themselves; a test holds the names against it. An option may
differ in more than its name, so messages name that page.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from syngrpo.method import METHODS
from syngrpo.method.losses import LOSSES

PAGE = "docs/losses.md"

KEYS: Mapping[str, str] = MappingProxyType(
    {
        "loss_type": "method.loss",
        "loss_mode": "method.loss",
        "loss_agg_mode": "method.loss",
        "importance_sampling_level": "method.loss",
        "scale_rewards": "method.advantage",
        "adv_estimator": "method.advantage",
        "norm_adv_by_std_in_grpo": "method.advantage",
        "epsilon": "method.clip_low",
        "clip_ratio_low": "method.clip_low",
        "epsilon_high": "method.clip_high",
        "clip_ratio_high": "method.clip_high",
        "delta": "method.dual_clip",
        "clip_ratio_c": "method.dual_clip",
        "use_kl_loss": "method.beta",
        "kl_loss_coef": "method.beta",
        "kl_loss_type": "method.kl_estimator",
        "entropy_coef": "method.entropy_weight",
        "entropy_coeff": "method.entropy_weight",
        "use_adaptive_entropy": "method.entropy_target",
        "entropy_coef_delta": "method.entropy_step",
        "entropy_coef_max": "method.entropy_limit",
        "off_policy_mask_threshold": "method.off_policy_threshold",
        "vllm_importance_sampling_clip_max": "rollout.tis_cap",
        "vllm_importance_sampling_mode": "rollout.importance",
        "num_generations": "rollout.group_size",
        "n": "rollout.group_size",
        "max_completion_length": "rollout.max_new_tokens",
        "max_response_length": "rollout.max_new_tokens",
        "num_iterations": "trainer.updates_per_rollout",
        "ppo_epochs": "trainer.updates_per_rollout",
    }
)
"""The last part of a key of TRL or verl → the key here."""

_ADVANTAGES = {
    "rloo": "rloo",
    "reinforce++": "batch",
    "reinforce_plus_plus": "batch",
    "reinforce_plus_plus_baseline": "batch",
}
"""Algorithms that are a way here in which rewards become advantages."""


def belongs_elsewhere(key: str, value: object) -> str | None:
    """Return what is wrong with an algorithm that is the value of another key, and where it
    belongs; None for any other value. ``key`` is ``method.name`` or ``method.loss``."""
    if not isinstance(value, str):
        return None
    name = value.lower().replace("-", "_")
    if key == "method.name" and name in LOSSES and name not in METHODS:
        return (
            f"{key}: {value!r} is a loss, not a method; set method.loss to {name}, and method.name "
            f"to grpo or another method (see {PAGE})"
        )
    if key in ("method.name", "method.loss") and name in _ADVANTAGES:
        kind = "method" if key == "method.name" else "loss"
        return (
            f"{key}: {value!r} is a way to compute advantages, not a {kind}; set method.advantage "
            f"to {_ADVANTAGES[name]}, and {key} to grpo or another {kind} (see {PAGE})"
        )
    return None
