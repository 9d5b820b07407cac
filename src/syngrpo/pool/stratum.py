"""What a process that draws keeps in memory about the samples of one dataset."""

from __future__ import annotations

from collections.abc import Iterator, Set

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


class Stratum:
    """Standing and weights of a dataset's samples, kept up to date by changed rows.

    A sample's *place* is its rank by number among those of the dataset. What is drawn depends on
    the rows, the policy and the generator alone.
    """

    def __init__(self, policy: SamplingPolicy) -> None:
        self.policy = policy
        self.seeds = 0
        """Seeds in whatever state."""
        self.available = 0
        """Samples that may be drawn."""
        self._count = 0
        self._numbers = np.zeros(1024, np.int64)
        self._rows = np.zeros(1024, STANDING)
        self._drawable = np.zeros(1024, bool)
        self._unmeasured = np.zeros(1024, bool)
        self._first_unmeasured = 0  # none below
        self._seeds_by_visits = np.zeros(1, np.int64)
        self._least = 0
        self._coverage = WeightedIndex()
        self._seeds = WeightedIndex()
        self._synthetic = WeightedIndex()

    def update(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Numbers int (k,), ascending, and STANDING (k,). Numbers that are not known yet must be
        above all that are."""
        places = self._places(numbers, rows)
        self._count_seeds(places, -1)
        self.available -= int(self._drawable[places].sum())
        self._rows[places] = rows
        self._drawable[places] = drawable(rows, self.policy)
        self.available += int(self._drawable[places].sum())
        self._count_seeds(places, +1)
        self._weigh(places)

    def take(
        self, draw: Draw, synthetic: int, seeds: int, avoid: Set[int], rng: np.random.Generator
    ) -> None:
        """Adds so many of either kind to a draw; together at most as many as are available."""
        draw.among(self._numbers, self._rows["root"])
        left = {"synthetic": synthetic, "seed": seeds}
        for one_a_family, avoided in ((True, avoid), (False, avoid), (False, frozenset[int]())):
            draw.allow(one_a_family, avoided)
            left["synthetic"] -= self._take_synthetic(draw, left["synthetic"], rng)
            left["seed"] -= self._take_seeds(draw, left["seed"], rng)
            left["synthetic"] -= self._take_seeds(draw, left["synthetic"], rng)
            left["seed"] -= self._take_synthetic(draw, left["seed"], rng)

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
        """Places of unmeasured synthetic samples, oldest first."""
        start = self._first_unmeasured
        for low in range(start, len(self._unmeasured), _SCAN):
            found = np.flatnonzero(self._unmeasured[low : low + _SCAN]) + low
            if low == self._first_unmeasured:
                self._first_unmeasured = int(found[0]) if len(found) else low + _SCAN
            yield from found.tolist()

    def _places(self, numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Places of the numbers; those of new ones are made."""
        last = self._numbers[self._count - 1] if self._count else -1
        new = numbers[np.searchsorted(numbers, last, side="right") :]
        end = self._count + len(new)
        self._reserve(end)
        self._numbers[self._count : end] = new
        self._count = end
        self.seeds += int((rows["depth"][len(rows) - len(new) :] == 0).sum())
        return np.searchsorted(self._numbers[:end], numbers)

    def _reserve(self, size: int) -> None:
        missing = size - len(self._rows)
        if missing <= 0:
            return
        missing = max(missing, len(self._rows) // 2)
        self._numbers = np.concatenate([self._numbers, np.zeros(missing, np.int64)])
        self._rows = np.concatenate([self._rows, np.zeros(missing, STANDING)])
        self._drawable = np.concatenate([self._drawable, np.zeros(missing, bool)])
        self._unmeasured = np.concatenate([self._unmeasured, np.zeros(missing, bool)])

    def _count_seeds(self, places: np.ndarray, sign: int) -> None:
        rows = self._rows[places]
        visits = rows["visits"][self._drawable[places] & (rows["depth"] == 0)]
        counts = sign * np.bincount(visits, minlength=len(self._seeds_by_visits))
        counts[: len(self._seeds_by_visits)] += self._seeds_by_visits
        self._seeds_by_visits = counts

    def _weigh(self, places: np.ndarray) -> None:
        rows, usable = self._rows[places], self._drawable[places]
        seed, fresh = rows["depth"] == 0, rows["visits"] == 0
        weights = np.where(usable, diversity_weights(rows, self.policy), 0.0)
        self._seeds.set(places, np.where(seed, weights, 0.0))
        self._synthetic.set(places, np.where(~seed & ~fresh, weights, 0.0))
        self._unmeasured[places] = usable & ~seed & fresh
        self._first_unmeasured = min(
            self._first_unmeasured, int(places[usable & ~seed & fresh].min(initial=1 << 62))
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
            self._coverage.set(places, np.where(usable & seed, weights, 0.0))
