"""The advantages of responses by reward, for trainers that keep their rewards in one table.

``workflow.response_credit`` does the same for ``syngrpo train``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from syngrpo.method.base import Method


def response_advantages(
    rewards: np.ndarray, group_size: int, method: Method, weights: Iterable[float]
) -> np.ndarray:
    """Return the weighted advantages float32 (N, F) of N responses from F rewards, the first of
    which is accuracy. Adjacent ``group_size`` responses are a group. A reward that is NaN does not
    apply to its response, and gives it the advantage 0."""
    factors = [float(weight) for weight in weights]
    advantages = np.zeros_like(rewards, dtype=np.float32)
    for start in range(0, len(rewards), group_size):
        group = slice(start, start + group_size)
        phantom = 1.0 if rewards[group, 0].any() else method.options.phantom_weight
        for kind in range(rewards.shape[1]):
            values = rewards[group, kind]
            known = ~np.isnan(values)
            if known.any():
                weight = factors[kind] * (phantom if kind else 1.0)
                found = method.answer_advantages(values[known].tolist())
                advantages[group, kind][known] = np.float32(weight) * found
    return advantages
