"""How the places of a batch are shared out among the datasets of a run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def dataset_weights(given: Mapping[str, float | None]) -> dict[str, float]:
    """Weights of datasets by name, from those that the user gave.

    Empty, which means by number of samples, where no dataset has one; else a dataset without a
    weight has 1.
    """
    if all(weight is None for weight in given.values()):
        return {}
    return {name: 1.0 if weight is None else weight for name, weight in given.items()}


def systematic(count: int, weights: np.ndarray, offset: float) -> np.ndarray:
    """Whole shares of ``count`` places, int (n,), for weights float (n,), ≥ 0 and not all 0.

    Every share is the floor or the ceiling of count·w/Σw, and its expectation over an ``offset``
    uniform in [0, 1) is exactly that, also where there are fewer places than weights. A share
    of weight 0 is 0.

    Systematic resampling (Kitagawa 1996, Monte Carlo filter and smoother, appendix): an evenly
    spaced comb, shifted by the offset, is laid over the cumulated weights.
    """
    edges = np.cumsum(weights / weights.max())  # not too small to divide by
    before = np.ceil(edges * (count / edges[-1]) - offset)  # teeth left of each edge
    before[edges == edges[-1]] = count
    return np.diff(np.clip(before, 0, count), prepend=0).astype(np.int64)


def allot(
    count: int, weights: np.ndarray, capacity: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Shares of up to ``count`` places, int (n,), none above its ``capacity``, int (n,).

    In proportion to ``weights``; what one cannot take goes to the others, by their weights. Adds up
    to less than ``count`` only when all those with a weight are full.
    """
    shares = np.zeros(len(weights), np.int64)
    while (missing := count - int(shares.sum())) > 0:
        still = np.where(shares < capacity, weights, 0.0)
        choices = np.count_nonzero(still)
        if choices == 0:
            break
        offset = rng.random() if choices > 1 else 0.0
        shares = np.minimum(shares + systematic(missing, still, offset), capacity)
    return shares
