"""Response diversity D: how much the responses to one input disagree in accuracy.

``response_diversity`` is D itself, which the pool and the metrics record. ``REWARDED`` lists what a
description can be rewarded with: D of the accuracies, or another measure of how much the responses
to its image disagree. ``method.diversity_of`` names one, and ``Method.rewarded_diversity`` asks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from syngrpo.method.advantages import sample_std

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


@dataclass(frozen=True)
class Scale:
    """What accuracies mean, apart from being numbers in [0, 1].

    ``hit``: an answer with at least this accuracy is a hit. ``chance``: the expected accuracy of a
    guess by somebody who does not see the image, in [0, 1). Both are the task's. ``floor``: the
    smallest divisor of an accuracy advantage (``method.advantage_floor``).
    """

    hit: float
    chance: float
    floor: float


def hit_diversity(accuracies: Sequence[float], scale: Scale) -> float:
    """Return D of the 0/1 hits: 1 where half of the responses are hits, 0 where all or none are."""
    return response_diversity([float(value >= scale.hit) for value in accuracies])


def learning_signal(accuracies: Sequence[float], scale: Scale) -> float:
    """Return min(1, std / floor), the size that the accuracy advantages of the group have.

    ``std`` is the sample standard deviation that advantages are divided by. Above the floor all
    groups are equal, because their advantages are normalised.
    """
    return min(1.0, sample_std(accuracies) / scale.floor)


def diversity_above_chance(accuracies: Sequence[float], scale: Scale) -> float:
    """Return D without the part that guesses have: D · max(0, m − c) / (m · (1 − c)²).

    m is the mean accuracy and c the chance of a guess. For 0/1 accuracies D is 4·m·(1 − m), and
    this is 4·k·(1 − k) with k = (m − c) / (1 − c), the share of responses that knew the answer by
    the usual correction for guessing: those that do not know it are right with probability c. So
    it is 0 for an image that nobody can see, 1 where half of the responses know the answer, and D
    itself where a guess is never right. It is in [0, 1] for other accuracies, too.
    """
    mean = math.fsum(accuracies) / len(accuracies)
    if mean <= scale.chance:
        return 0.0
    share = (mean - scale.chance) / (mean * (1.0 - scale.chance) ** 2)
    return response_diversity(accuracies) * share


REWARDED: Mapping[str, Callable[[Sequence[float], Scale], float]] = MappingProxyType(
    {
        "accuracy": lambda accuracies, scale: response_diversity(accuracies),
        "hits": hit_diversity,
        "signal": learning_signal,
        "above_chance": diversity_above_chance,
    }
)
"""The values of ``method.diversity_of``: what a description is rewarded with, in [0, 1]."""
