"""Response diversity D: how much the responses to one input disagree in accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

ZERO_VARIANCE = 1e-8
"""A group with a diversity of at most this has accuracies that are equal up to rounding errors."""

_ROUNDING = 1e-6


def response_diversity(accuracies: Sequence[float]) -> float:
    """Return D(x) = 4·Var(a_1 … a_G), four times the population variance of a group's accuracies.

    ``accuracies`` are G rewards in [0, 1]. The factor 4 makes 1 the maximum, which is reached when
    half of the responses are right and half are wrong. A group of one has diversity 0.

    Raises ValueError when the group is empty or an accuracy lies outside [0, 1] or is not a number.
    """
    values = [float(value) for value in accuracies]
    if not values:
        raise ValueError("response diversity of an empty group; roll out at least one response")
    outside = [value for value in values if not -_ROUNDING <= value <= 1.0 + _ROUNDING]
    if outside:
        raise ValueError(f"accuracy reward {outside[0]} is outside [0, 1]; check the task's score")
    mean = math.fsum(values) / len(values)
    return 4.0 * math.fsum((value - mean) ** 2 for value in values) / len(values)


def has_zero_variance(diversity: float) -> bool:
    """Return whether all accuracies of a group with this diversity are equal, so that their
    advantages are 0."""
    return diversity <= ZERO_VARIANCE
