"""Bootstrap intervals of any number that is computed from predictions.

A resample is told as counts: how often each prediction is taken. Whole images are drawn, so that
several questions about one picture never pass for independent evidence. Efron & Tibshirani, An
Introduction to the Bootstrap, chapters 8, 10 and 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

Interval = tuple[float, float]
Statistic = Callable[[np.ndarray], np.ndarray]
"""How often each of N predictions is taken, int (N,) → M numbers, float (M,), NaN if undefined."""

RESAMPLES = 1000
LEVEL = 0.95


def resamples(units: Sequence[str], number: int, seed: int) -> Iterator[np.ndarray]:
    """``number`` resamples as counts (N,): as many of the different units are drawn as there are,
    with replacement, and predictions of the same unit come together."""
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(number):
        drawn = rng.integers(0, len(names), size=len(names))
        yield np.bincount(drawn, minlength=len(names))[unit]


def intervals(
    statistic: Statistic,
    units: Sequence[str],
    biased: Sequence[bool],
    number: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Interval | None]:
    """One percentile interval for each of the statistic's M numbers; None where it is never
    defined.

    ``biased`` (M,) says of which numbers a resample is biased against the whole: their intervals
    are moved by the bootstrap's own estimate of that bias.
    """
    values = np.stack([statistic(counts) for counts in resamples(units, number, seed)])
    whole = statistic(np.ones(len(units), dtype=np.int64))
    tail = 100 * (1 - level) / 2
    result: list[Interval | None] = []
    for column, value, moves in zip(values.T, whole, biased, strict=True):
        defined = column[~np.isnan(column)]
        if len(defined) == 0 or np.isnan(value):
            result.append(None)
            continue
        low, high = np.percentile(defined, [tail, 100 - tail])
        bias = defined.mean() - value if moves else 0.0
        result.append((float(low - bias), float(high - bias)))
    return result
