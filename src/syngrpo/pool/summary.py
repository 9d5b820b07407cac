"""What a process that draws keeps in memory about every sample: some 50 bytes each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from syngrpo.pool.mixture import allot
from syngrpo.pool.sampling import STANDING, Draw, SamplingPolicy, round_at_random
from syngrpo.pool.stratum import Stratum

Change = tuple[int, int, int, int, int, int, float, float, int]
"""A row of the table ``standing``: number, dataset, root, depth, active, visits, mean, last,
changed."""

_FIELDS = ("root", "depth", "active", "visits", "mean", "last")


class Summary:
    """All samples, dataset by dataset, kept up to date by changed rows.

    What is drawn depends on the rows, the policy and the generator alone: a summary that followed
    every change draws what one built from the final rows draws.
    """

    def __init__(self, policy: SamplingPolicy) -> None:
        self.policy = policy
        self.cursor = 0
        """The highest ``standing.changed`` seen."""
        self._names: Mapping[int, str] = {}
        self._strata: dict[int, Stratum] = {}

    def name(self, datasets: Mapping[int, str]) -> None:
        """The names, by number, of the datasets that rows speak of."""
        self._names = datasets

    def update(self, changes: Sequence[Change]) -> None:
        """Rows by ascending number; new samples have higher ones than all that are known."""
        table = np.array(changes, dtype=np.float64)  # exact for integers below 2**53
        numbers = table[:, 0].astype(np.int64)
        rows = np.zeros(len(numbers), STANDING)
        for column, field in enumerate(_FIELDS, 2):
            rows[field] = table[:, column]
        for dataset in np.unique(table[:, 1]).astype(int).tolist():
            stratum = self._strata.setdefault(dataset, Stratum(self.policy))
            chosen = table[:, 1] == dataset
            stratum.update(numbers[chosen], rows[chosen])
        self.cursor = max(self.cursor, int(table[:, -1].max()))

    def draw(self, count: int, rng: np.random.Generator, avoid: Set[int]) -> list[int]:
        """Numbers of up to ``count`` samples in random order; fewer only when there are fewer."""
        policy = self.policy
        synthetic = min(round_at_random(count * policy.synthetic_ratio, rng), count)
        datasets = sorted(self._strata)
        strata = [self._strata[dataset] for dataset in datasets]
        weights = np.array([self._weight(dataset) for dataset in datasets], dtype=float)
        shares = allot(count, weights, np.array([stratum.available for stratum in strata]), rng)
        # Out of the shares, so that a dataset's rounded parts add up to its rounded share.
        parts = allot(min(synthetic, int(shares.sum())), shares.astype(float), shares, rng)
        draw = Draw(patience=count * (policy.max_children + 1))
        for stratum, share, part in zip(strata, shares.tolist(), parts.tolist(), strict=True):
            if share:
                stratum.take(draw, part, share - part, avoid, rng)
        taken = np.fromiter(draw.taken, np.intp)
        return [int(number) for number in rng.permutation(taken)]

    def _weight(self, dataset: int) -> float:
        if not self.policy.weights:
            return self._strata[dataset].seeds
        return self.policy.weights.get(self._names.get(dataset, ""), 0.0)
