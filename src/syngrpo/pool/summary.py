"""What a process that draws keeps in memory about every sample: some 40 bytes each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

import numpy as np

from syngrpo.pool.sampling import (
    STANDING,
    Draw,
    SamplingPolicy,
    coverage_weights,
    diversity_weights,
    drawable,
    round_at_random,
)
from syngrpo.pool.weighted import WeightedIndex

_SCAN = 4096


class Summary:
    """Standing and weights of all samples, by number, kept up to date by changed rows.

    What is drawn depends on the rows, the policy and the generator alone: a summary that followed
    every change draws what one built from the final rows draws.
    """

    def __init__(self, policy: SamplingPolicy) -> None:
        self.policy = policy
        self.cursor = 0
        """The highest ``standing.changed`` seen."""
        self._rows = np.zeros(1024, STANDING)
        self._drawable = np.zeros(1024, bool)
        self._unmeasured = np.zeros(1024, bool)
        self._first_unmeasured = 0  # none below
        self._seeds_by_visits = np.zeros(1, np.int64)
        self._least = 0
        self._coverage = WeightedIndex()
        self._seeds = WeightedIndex()
        self._synthetic = WeightedIndex()

    def update(self, changes: Sequence[tuple[int, int, int, int, int, float, float, int]]) -> None:
        """Rows (number, root, depth, active, visits, mean, last, changed), numbers all different"""
        table = np.array(changes, dtype=np.float64)  # exact for integers below 2**53
        numbers = table[:, 0].astype(np.intp)
        self._reserve(int(numbers.max()) + 1)
        self._count_seeds(numbers, -1)
        rows = np.zeros(len(numbers), STANDING)
        for column, name in enumerate(("root", "depth", "active", "visits", "mean", "last"), 1):
            rows[name] = table[:, column]
        self._rows[numbers] = rows
        self._drawable[numbers] = drawable(rows, self.policy)
        self._count_seeds(numbers, +1)
        self._weigh(numbers)
        self.cursor = max(self.cursor, int(table[:, 7].max()))

    def draw(self, count: int, rng: np.random.Generator, avoid: Set[int]) -> list[int]:
        """Numbers of up to ``count`` samples in random order; fewer only when there are fewer."""
        policy = self.policy
        synthetic = round_at_random(count * policy.synthetic_ratio, rng)
        draw = Draw(self._rows["root"], patience=count * (policy.max_children + 1))
        left = {"synthetic": min(synthetic, count), "seed": count - min(synthetic, count)}
        for one_a_family, avoided in ((True, avoid), (False, avoid), (False, frozenset[int]())):
            draw.allow(one_a_family, avoided)
            left["synthetic"] -= self._take_synthetic(draw, left["synthetic"], rng)
            left["seed"] -= self._take_seeds(draw, left["seed"], rng)
            left["synthetic"] -= self._take_seeds(draw, left["synthetic"], rng)
            left["seed"] -= self._take_synthetic(draw, left["seed"], rng)
        taken = np.fromiter(draw.taken, np.intp)
        return [int(number) for number in rng.permutation(taken)]

    def _take_synthetic(self, draw: Draw, wanted: int, rng: np.random.Generator) -> int:
        if wanted == 0:
            return 0
        taken = draw.first(self._fresh(), wanted)
        return taken + draw.weighted(self._synthetic, wanted - taken, rng)

    def _take_seeds(self, draw: Draw, wanted: int, rng: np.random.Generator) -> int:
        if wanted == 0:
            return 0
        covering = round_at_random(wanted * self.policy.seed_coverage, rng)
        taken = draw.weighted(self._coverage, min(covering, wanted), rng)
        return taken + draw.weighted(self._seeds, wanted - taken, rng)

    def _fresh(self) -> Iterator[int]:
        """Unmeasured synthetic samples, oldest first."""
        start = self._first_unmeasured
        for low in range(start, len(self._unmeasured), _SCAN):
            found = np.flatnonzero(self._unmeasured[low : low + _SCAN]) + low
            if low == self._first_unmeasured:
                self._first_unmeasured = int(found[0]) if len(found) else low + _SCAN
            yield from found.tolist()

    def _reserve(self, size: int) -> None:
        missing = size - len(self._rows)
        if missing <= 0:
            return
        missing = max(missing, len(self._rows) // 2)
        self._rows = np.concatenate([self._rows, np.zeros(missing, STANDING)])
        self._drawable = np.concatenate([self._drawable, np.zeros(missing, bool)])
        self._unmeasured = np.concatenate([self._unmeasured, np.zeros(missing, bool)])

    def _count_seeds(self, numbers: np.ndarray, sign: int) -> None:
        rows = self._rows[numbers]
        visits = rows["visits"][self._drawable[numbers] & (rows["depth"] == 0)]
        counts = sign * np.bincount(visits, minlength=len(self._seeds_by_visits))
        counts[: len(self._seeds_by_visits)] += self._seeds_by_visits
        self._seeds_by_visits = counts

    def _weigh(self, numbers: np.ndarray) -> None:
        rows, usable = self._rows[numbers], self._drawable[numbers]
        seed, fresh = rows["depth"] == 0, rows["visits"] == 0
        weights = np.where(usable, diversity_weights(rows, self.policy), 0.0)
        self._seeds.set(numbers, np.where(seed, weights, 0.0))
        self._synthetic.set(numbers, np.where(~seed & ~fresh, weights, 0.0))
        self._unmeasured[numbers] = usable & ~seed & fresh
        self._first_unmeasured = min(
            self._first_unmeasured, int(numbers[usable & ~seed & fresh].min(initial=1 << 62))
        )
        levels = np.flatnonzero(self._seeds_by_visits)
        least = int(levels[0]) if len(levels) else 0
        if least != self._least:
            self._least = least
            everyone = self._drawable & (self._rows["depth"] == 0)
            weights = coverage_weights(self._rows["visits"], least)
            self._coverage.replace(np.where(everyone, weights, 0.0))
        else:
            weights = coverage_weights(rows["visits"], least)
            self._coverage.set(numbers, np.where(usable & seed, weights, 0.0))
