"""Drawing positions in proportion to weights that change a little between draws."""

from __future__ import annotations

from collections.abc import Collection

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
        self._hidden: list[tuple[np.ndarray, np.ndarray]] = []

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

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """``count`` positions, independent, each with probability weight/total; none when all
        weights are 0."""
        blocks = np.cumsum(self._sums)
        if blocks[-1] <= 0:
            return []
        targets = rng.random(count) * blocks[-1]
        chosen = np.minimum(
            np.searchsorted(blocks, targets, side="right"), _last_positive(self._sums)
        )
        within = np.cumsum(self._weights[chosen], axis=1)  # (count, block)
        rest = targets - np.where(chosen > 0, blocks[chosen - 1], 0.0)
        places = (within <= rest[:, None]).sum(axis=1)
        for row in np.flatnonzero(places == _BLOCK):  # rounding took it past the end
            places[row] = _last_positive(self._weights[chosen[row]])
        return (chosen * _BLOCK + places).tolist()

    def hide(self, positions: Collection[int]) -> None:
        """Gives positions, all different, weight 0 until ``show``."""
        where = np.fromiter(positions, np.intp, len(positions))
        self._hidden.append((where, self._weights.reshape(-1)[where]))
        self.set(where, np.zeros(len(where)))

    def show(self) -> None:
        """Undoes every ``hide``."""
        while self._hidden:
            self.set(*self._hidden.pop())


def _last_positive(weights: np.ndarray) -> int:
    return int(np.flatnonzero(weights)[-1])
