"""The index in memory from which a process draws batches: about 50 bytes per sample of the pool.

``Pool.draw`` updates the index from the table ``standing`` and draws from it. ``DrawIndex`` holds
one ``DatasetIndex`` per dataset, which keeps the weights of its samples in ``WeightedIndex``
objects. ``DrawIndex.draw`` divides the places of a batch among the datasets, and lets each add its
part to a ``Draw``. The rules are those of ``sampling``.

A draw depends only on the rows, the policy and the random generator. So an index that was updated
step by step draws the same samples as one that is built from the final rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice

import numpy as np

from syngrpo.pool.sampling import (
    STANDING,
    SamplingPolicy,
    coverage_weights,
    diversity_weights,
    drawable,
    round_at_random,
    share_places,
)

Change = tuple[int, int, int, int, int, int, float, float, int, int]
"""A row of the table ``standing``: number, dataset, root, depth, active, visits, mean, last,
bundle, changed. A sample that waits for siblings is not active here."""

_FIELDS = ("root", "depth", "active", "visits", "mean", "last", "bundle")
_SCAN = 4096
_BLOCK = 1024


class DrawIndex:
    """All samples of a pool, by dataset. ``update`` adds what changed since the last update."""

    def __init__(self, sampling: SamplingPolicy) -> None:
        self.sampling = sampling
        self.cursor = 0
        """The highest ``standing.changed`` that the index has seen."""
        self._names: Mapping[int, str] = {}
        self._datasets: dict[int, DatasetIndex] = {}

    def set_names(self, datasets: Mapping[int, str]) -> None:
        """Set the names of the datasets, by their numbers."""
        self._names = datasets

    def update(self, changes: Sequence[Change]) -> None:
        """Add new rows and replace changed ones. Rows are in ascending order of their numbers; new
        samples must have higher numbers than all known ones."""
        table = np.array(changes, dtype=np.float64)  # exact for integers below 2**53
        numbers = table[:, 0].astype(np.int64)
        rows = np.zeros(len(numbers), STANDING)
        for column, field in enumerate(_FIELDS, 2):
            rows[field] = table[:, column]
        for number in np.unique(table[:, 1]).astype(int).tolist():
            dataset = self._datasets.setdefault(number, DatasetIndex(self.sampling))
            chosen = table[:, 1] == number
            dataset.update(numbers[chosen], rows[chosen])
        self.cursor = max(self.cursor, int(table[:, -1].max()))

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        avoid: Set[int],
        weights: Mapping[str, float] | None = None,
    ) -> list[int]:
        """Return the row numbers of ``count`` samples in random order; of all if there are fewer.

        ``weights`` are those of ``Pool.draw``.
        """
        sampling = self.sampling
        synthetic = min(round_at_random(count * sampling.synthetic_ratio, rng), count)
        numbers = sorted(self._datasets)
        datasets = [self._datasets[number] for number in numbers]
        wanted = np.array([self._weight(number, weights) for number in numbers], dtype=float)
        available = np.array([dataset.available for dataset in datasets])
        draw = Draw(patience=count * (sampling.max_children + 1) + len(avoid))
        together = self._take_bundles(draw, datasets, wanted, synthetic, avoid, rng)
        count, synthetic = count - together, synthetic - together
        shares = share_places(count, wanted, available, rng)
        # The synthetic samples are divided in proportion to the shares, so that the rounded
        # parts of a dataset add up to its rounded share.
        parts = share_places(min(synthetic, int(shares.sum())), shares.astype(float), shares, rng)
        for dataset, share, part in zip(datasets, shares.tolist(), parts.tolist(), strict=True):
            if share:
                dataset.take(draw, part, share - part, avoid, rng)
        taken = np.fromiter(draw.taken, np.intp)
        return [int(number) for number in rng.permutation(taken)]

    def _take_bundles(
        self,
        draw: Draw,
        datasets: Sequence[DatasetIndex],
        weights: np.ndarray,
        places: int,
        avoid: Set[int],
        rng: np.random.Generator,
    ) -> int:
        """Add whole bundles to a draw as long as one fits in the places that are left. Return how
        many places they took.

        Each bundle is one of a dataset drawn by ``weights`` among those that have one that fits.
        """
        left = np.array([weights[n] if one.bundles else 0.0 for n, one in enumerate(datasets)])
        taken = 0
        while taken < places and (choices := np.count_nonzero(left)):
            chosen = int(left.argmax())
            if choices > 1:
                chosen = int(rng.choice(len(left), p=left / left.sum()))
            size = datasets[chosen].take_bundle(draw, places - taken, avoid)
            taken += size
            if size == 0:
                left[chosen] = 0.0
        return taken

    def _weight(self, number: int, weights: Mapping[str, float] | None) -> float:
        if not weights:
            return self._datasets[number].seeds
        return weights.get(self._names.get(number, ""), 0.0)


class DatasetIndex:
    """The standing and the drawing weights of the samples of one dataset.

    The *place* of a sample is its index among the samples of the dataset in the order of their row
    numbers; the arrays are indexed by it.
    """

    def __init__(self, sampling: SamplingPolicy) -> None:
        self.sampling = sampling
        self.seeds = 0
        """Number of seeds, in any state."""
        self.available = 0
        """Number of samples that may be drawn one by one."""
        self.bundles = Bundles()
        """The bundles that may be drawn, of which no sample is measured yet."""
        self._count = 0
        self._numbers = np.zeros(1024, np.int64)
        self._rows = np.zeros(1024, STANDING)
        self._drawable = np.zeros(1024, bool)
        self._unmeasured = np.zeros(1024, bool)
        self._first_unmeasured = 0  # no place below it is unmeasured
        self._seeds_by_visits = np.zeros(1, np.int64)
        self._least = 0
        self._coverage = WeightedIndex()
        self._seeds = WeightedIndex()
        self._synthetic = WeightedIndex()

    def update(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Add new rows and replace changed ones: STANDING (k,), with their row numbers int (k,),
        ascending. New numbers must be higher than all known ones."""
        places = self._places(numbers, rows)
        self._count_seeds(places, -1)
        self.available -= int(self._drawable[places].sum())
        self._rows[places] = rows
        usable = drawable(rows, self.sampling)
        together = usable & (rows["bundle"] > 0) & (rows["visits"] == 0)
        self.bundles.update(places, rows["bundle"], together)
        self._drawable[places] = usable & ~together
        self.available += int(self._drawable[places].sum())
        self._count_seeds(places, +1)
        self._weigh(places)

    def take_bundle(self, draw: Draw, places: int, avoid: Set[int]) -> int:
        """Add the oldest bundle that fits in this many places and that the rules allow. Return its
        number of samples, 0 if there is none."""
        draw.among(self._numbers, self._rows["root"])
        draw.allow(True, avoid)
        return draw.together(self.bundles, places)

    def take(
        self, draw: Draw, synthetic: int, seeds: int, avoid: Set[int], rng: np.random.Generator
    ) -> None:
        """Add this many synthetic samples and seeds to a draw, together at most ``available``."""
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
        covering = round_at_random(wanted * self.sampling.seed_coverage, rng)
        taken = draw.weighted(self._coverage, min(covering, wanted), rng)
        return taken + draw.weighted(self._seeds, wanted - taken, rng)

    def _fresh(self) -> Iterator[int]:
        """Yield the places of unmeasured synthetic samples, oldest first."""
        start = self._first_unmeasured
        for low in range(start, len(self._unmeasured), _SCAN):
            found = np.flatnonzero(self._unmeasured[low : low + _SCAN]) + low
            if low == self._first_unmeasured:
                self._first_unmeasured = int(found[0]) if len(found) else low + _SCAN
            yield from found.tolist()

    def _places(self, numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the places of the samples with these row numbers. New samples get new places."""
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
        """Add the drawable seeds at these places to the counts by visits, or subtract them."""
        rows = self._rows[places]
        visits = rows["visits"][self._drawable[places] & (rows["depth"] == 0)]
        counts = sign * np.bincount(visits, minlength=len(self._seeds_by_visits))
        counts[: len(self._seeds_by_visits)] += self._seeds_by_visits
        self._seeds_by_visits = counts

    def _weigh(self, places: np.ndarray) -> None:
        """Set the weights at these places. Set all coverage weights when the least number of visits
        has changed."""
        rows, usable = self._rows[places], self._drawable[places]
        seed, fresh = rows["depth"] == 0, rows["visits"] == 0
        weights = np.where(usable, diversity_weights(rows, self.sampling), 0.0)
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
            every_seed = self._drawable & (self._rows["depth"] == 0)
            weights = coverage_weights(self._rows["visits"], least)
            self._coverage.replace(np.where(every_seed, weights, 0.0))
        else:
            weights = coverage_weights(rows["visits"], least)
            self._coverage.set(places, np.where(usable & seed, weights, 0.0))


class Bundles:
    """Bundles of unmeasured siblings in one dataset: the places of their samples, oldest first."""

    def __init__(self) -> None:
        self._included = np.zeros(1024, bool)
        self._members: dict[int, list[int]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the places of each bundle, ascending."""
        return (self._members[bundle] for bundle in self._order)

    def update(self, places: np.ndarray, bundles: np.ndarray, included: np.ndarray) -> None:
        """Set whether the samples at these places are included, bool (k,), in the bundles with
        these numbers int (k,)."""
        missing = int(places.max(initial=-1)) + 1 - len(self._included)
        if missing > 0:
            grown = max(missing, len(self._included))
            self._included = np.concatenate([self._included, np.zeros(grown, bool)])
        changed = np.flatnonzero(self._included[places] != included)
        self._included[places] = included
        for row in changed.tolist():
            bundle, place = int(bundles[row]), int(places[row])
            if included[row]:
                self._add(bundle, place)
            else:
                self._remove(bundle, place)

    def _add(self, bundle: int, place: int) -> None:
        if bundle not in self._members:
            self._members[bundle] = []
            insort(self._order, bundle)
        insort(self._members[bundle], place)

    def _remove(self, bundle: int, place: int) -> None:
        self._members[bundle].remove(place)
        if not self._members[bundle]:
            del self._members[bundle]
            del self._order[bisect_left(self._order, bundle)]


class Draw:
    """One draw in progress: the samples taken so far, and the rules for further ones.

    ``together`` and ``weighted`` give up after they have refused ``patience`` samples.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._numbers = self._roots = np.zeros(0, np.int64)
        self._families: set[int] = set()
        self._one_a_family = True
        self._avoid: Set[int] = frozenset()
        self.taken: dict[int, None] = {}
        """Row numbers, in the order in which they were taken."""

    def among(self, numbers: np.ndarray, roots: np.ndarray) -> None:
        """Set the dataset for the next calls. The arrays hold the row number of the sample at each
        place, and that of its seed."""
        self._numbers, self._roots = numbers, roots

    def allow(self, one_a_family: bool, avoid: Set[int]) -> None:
        """Set what the next calls refuse: the samples in ``avoid``, and with ``one_a_family`` also
        further members of a family."""
        self._one_a_family, self._avoid = one_a_family, avoid

    def first(self, places: Iterable[int], wanted: int) -> int:
        """Take up to ``wanted`` samples in the given order. Return how many were taken."""
        taken = 0
        for place in places:
            if taken >= wanted:
                break
            taken += self._take(place)
        return taken

    def together(self, bundles: Iterable[Sequence[int]], most: int) -> int:
        """Take all samples of the first bundle that has at most ``most`` and of which none is
        refused; siblings do not exclude each other. Return how many samples it has, 0 if there is
        no such bundle."""
        for places in islice(bundles, self._patience):
            numbers = [int(self._numbers[place]) for place in places]
            root = int(self._roots[places[0]])
            if len(places) > most or root in self._families or not self._avoid.isdisjoint(numbers):
                continue
            self.taken |= dict.fromkeys(numbers)
            self._families.add(root)
            return len(places)
        return 0

    def weighted(self, index: WeightedIndex, wanted: int, rng: np.random.Generator) -> int:
        """Take up to ``wanted`` different samples at random. Return how many were taken.

        Stops after more than ``patience`` refusals. Families within ``max_children`` cause fewer.
        """
        # This draws several places at once, ignores repeated ones, and sets their weights to 0.
        # The result has the same distribution as drawing one after the other.
        taken = refused = 0
        try:
            while taken < wanted and refused <= self._patience:
                places = dict.fromkeys(index.draw(wanted - taken, rng))
                if not places:
                    break
                index.hide(places)
                accepted = sum(self._take(place) for place in places)
                taken += accepted
                refused += len(places) - accepted
        finally:
            index.show()
        return taken

    def _take(self, place: int) -> bool:
        number, root = int(self._numbers[place]), int(self._roots[place])
        if number in self.taken or number in self._avoid:
            return False
        if self._one_a_family and root in self._families:
            return False
        self.taken[number] = None
        self._families.add(root)
        return True


class WeightedIndex:
    """Weights of positions 0..n−1, with sums over blocks, so that a draw and a change cost O(√n).

    Block sums are always computed from the weights and never adjusted, so that rounding errors do
    not depend on earlier changes.
    """

    def __init__(self) -> None:
        self._weights = np.zeros((1, _BLOCK))
        self._sums = np.zeros(1)
        self._hidden: list[tuple[np.ndarray, np.ndarray]] = []

    def replace(self, weights: np.ndarray) -> None:
        """Set all weights: float (n,), finite, ≥ 0."""
        blocks = max(1, -(-len(weights) // _BLOCK))
        self._weights = np.zeros((blocks, _BLOCK))
        self._weights.reshape(-1)[: len(weights)] = weights
        self._sums = self._weights.sum(axis=1)

    def set(self, positions: np.ndarray, weights: np.ndarray) -> None:
        """Change some weights: positions int (k,), weights float (k,). Grows as needed."""
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
        """Return ``count`` independent positions, each with probability weight/total. Return none
        if all weights are 0."""
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
        for row in np.flatnonzero(places == _BLOCK):  # a rounding error led past the end
            places[row] = _last_positive(self._weights[chosen[row]])
        return (chosen * _BLOCK + places).tolist()

    def hide(self, positions: Collection[int]) -> None:
        """Set the weights of different positions to 0 until ``show``."""
        where = np.fromiter(positions, np.intp, len(positions))
        self._hidden.append((where, self._weights.reshape(-1)[where]))
        self.set(where, np.zeros(len(where)))

    def show(self) -> None:
        """Undo every ``hide``."""
        while self._hidden:
            self.set(*self._hidden.pop())


def _last_positive(weights: np.ndarray) -> int:
    return int(np.flatnonzero(weights)[-1])
