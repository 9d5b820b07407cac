"""Drawing positions in proportion to weights that change a little between draws."""

from __future__ import annotations

import numpy as np

_BLOCK = 1024


class WeightedIndex:
    """Weights of positions 0..n−1 with sums over blocks, so that a draw and a change cost O(√n).

    Block sums are always recomputed from the weights, never adjusted: what is drawn depends on
    the weights and the generator alone, not on the history of changes.
    """

    def __init__(self) -> None:
        self._weights = np.zeros((1, _BLOCK))
        self._sums = np.zeros(1)
        self._hidden: list[tuple[int, float]] = []

    def replace(self, weights: np.ndarray) -> None:
        """Sets all weights: float (n,), finite, ≥ 0."""
        blocks = max(1, -(-len(weights) // _BLOCK))
        self._weights = np.zeros((blocks, _BLOCK))
        self._weights.reshape(-1)[: len(weights)] = weights
        self._sums = self._weights.sum(axis=1)

    def set(self, positions: np.ndarray, weights: np.ndarray) -> None:
        """Changes some weights: positions int (k,), weights float (k,). Grows as needed."""
        if len(positions) == 0:
            return
        missing = int(positions.max()) // _BLOCK + 1 - len(self._sums)
        if missing > 0:
            grown = max(missing, len(self._sums))
            self._weights = np.concatenate([self._weights, np.zeros((grown, _BLOCK))])
            self._sums = np.concatenate([self._sums, np.zeros(grown)])
        self._weights.reshape(-1)[positions] = weights
        blocks = np.unique(positions // _BLOCK)
        self._sums[blocks] = self._weights[blocks].sum(axis=1)

    def draw(self, rng: np.random.Generator) -> int | None:
        """A position with probability weight/total; None when all weights are 0."""
        chance = rng.random()
        blocks = np.cumsum(self._sums)
        total = blocks[-1]
        if total <= 0:
            return None
        block = _first_above(blocks, chance * total)
        before = blocks[block - 1] if block else 0.0
        weights = np.cumsum(self._weights[block])
        return block * _BLOCK + _first_above(weights, chance * total - before)

    def hide(self, position: int) -> None:
        """Gives a position weight 0 until ``show``."""
        block, place = divmod(position, _BLOCK)
        self._hidden.append((position, float(self._weights[block, place])))
        self._weights[block, place] = 0.0
        self._sums[block] = self._weights[block].sum()

    def show(self) -> None:
        """Undoes every ``hide``."""
        for position, weight in reversed(self._hidden):
            self._weights[divmod(position, _BLOCK)] = weight
        touched = np.unique([position // _BLOCK for position, _ in self._hidden])
        blocks = touched.astype(np.intp)
        self._sums[blocks] = self._weights[blocks].sum(axis=1)
        self._hidden.clear()


def _first_above(cumulative: np.ndarray, target: float) -> int:
    """The first place whose cumulative weight exceeds the target; by rounding the target may reach
    the total, then the last place that adds anything."""
    place = int(np.searchsorted(cumulative, target, side="right"))
    if place < len(cumulative):
        return place
    return int(np.searchsorted(cumulative, cumulative[-1], side="left"))
