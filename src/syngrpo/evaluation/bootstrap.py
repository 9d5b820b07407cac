"""Computes bootstrap intervals of any number that is computed from predictions.

A resample is given as counts: how often it holds each prediction. Whole images are drawn, because
several questions about one image are not independent.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, chapters 8 (resampling units), 10
(estimating bias) and 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

Interval = tuple[float, float]
Metrics = Callable[[np.ndarray], np.ndarray]
"""A function of counts, int (N,), how often each of N predictions is taken. It returns M numbers,
float (M,), NaN where one is undefined."""

RESAMPLES = 1000
LEVEL = 0.95


def resamples(units: Sequence[str], number: int, seed: int) -> Iterator[np.ndarray]:
    """Yield ``number`` resamples as counts, int (N,).

    ``units`` (N,) are the images of the predictions. Each resample draws as many images as there
    are different ones, with replacement; all predictions of an image come with it.
    """
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(number):
        drawn = rng.integers(0, len(names), size=len(names))
        yield np.bincount(drawn, minlength=len(names))[unit]


def intervals(
    metrics: Metrics,
    units: Sequence[str],
    biased: Sequence[bool],
    number: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Interval | None]:
    """Return a percentile interval for each of the M metrics, None for one that is never defined.

    ``biased`` (M,) marks metrics that are on average too high or too low over a resample: their
    intervals are moved by the bootstrap's estimate of that bias.
    """
    values = np.stack([metrics(counts) for counts in resamples(units, number, seed)])
    whole = metrics(np.ones(len(units), dtype=np.int64))
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
