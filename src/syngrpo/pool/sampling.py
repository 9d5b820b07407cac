"""Which samples the next batch holds: the policy, its weights, and one draw.

The ``count`` places of a draw are first shared out among the datasets (see ``mixture``); synthetic
samples belong to the dataset of their seed. A dataset that has fewer samples than places leaves the
rest to the others. Each then fills its places, in this order:

1. its share of synthetic samples: unmeasured ones first, oldest admitted first, so that their
   descriptions get their reward while it still means something; then measured ones at random,
   weighted by diversity;
2. its share of seeds: ``seed_coverage`` of them the least visited, at random among equals; the
   others weighted by diversity;
3. seeds for synthetic samples that are missing, and the reverse.

The diversity weight is ``diversity_floor`` + the average of a sample's mean D and its last D: the
mean is steadier than one measurement, the last is what the policy of now finds. A seed that was
never measured counts as D = 1.

No sample comes twice in a draw. At most one member of a family (a seed and all that descends from
it) comes in a draw while its dataset has enough families, and nothing in ``avoid`` comes while the
dataset has enough else: these two rules are given up in that order, each only for the places still
open.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

import numpy as np

from syngrpo.pool.weighted import WeightedIndex
from syngrpo.sample import InputError

_HALVINGS_PER_VISIT = 20.0  # so that of a million seeds the one unvisited is as likely as the rest


@dataclass(frozen=True)
class SamplingPolicy:
    """How batches are mixed and when synthetic samples retire.

    ``synthetic_ratio`` and ``seed_coverage`` are shares in [0, 1]; a fraction of a sample is
    rounded at random. With ``seed_coverage`` 1 seeds come in shuffled epochs, as in plain GRPO.
    ``max_children`` caps the active synthetic samples plus open jobs in the family of one seed: a
    retired child makes room for another. ``max_unmeasured`` caps the admitted samples that wait
    for their first visit: beyond it new jobs are dropped, or rewards would come too late to use.
    A synthetic sample retires after ``max_visits``, or when its mean D is below ``retire_below``
    after ``retire_after`` visits. Seeds never retire.

    ``weights`` says in which proportion datasets are drawn, by name; one that it does not name is
    not drawn. Empty, the proportion is that of their numbers of seeds.
    """

    synthetic_ratio: float = 0.5
    seed_coverage: float = 0.5
    diversity_floor: float = 0.05
    max_depth: int = 1
    max_children: int = 8
    max_visits: int = 8
    max_unmeasured: int = 256
    retire_below: float = 0.05
    retire_after: int = 2
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = {
            "synthetic_ratio": (0, 1),
            "seed_coverage": (0, 1),
            "diversity_floor": (1e-6, 1),
            "retire_below": (0, 1),
            "max_visits": (1, None),
            "max_unmeasured": (1, None),
            "retire_after": (1, None),
            "max_depth": (0, None),
            "max_children": (0, None),
        }
        assert limits.keys() | {"weights"} == {one.name for one in dataclasses.fields(self)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not value >= low or (high is not None and value > high):
                allowed = f"at least {low}" if high is None else f"between {low} and {high}"
                raise InputError(f"pool.{name} is {value}; it must be {allowed}")
        for name, weight in self.weights.items():
            if not 0 < weight < math.inf:
                raise InputError(f"dataset {name!r} has weight {weight}; it must be above 0")

    def retires(self, visits: int, diversity_mean: float) -> str | None:
        """Why a synthetic sample with these measurements retires, or None."""
        if visits >= self.max_visits:
            return f"visited {visits} times"
        if visits >= self.retire_after and diversity_mean < self.retire_below:
            return f"mean diversity {diversity_mean:.3f} after {visits} visits"
        return None


STANDING = np.dtype(
    [
        ("root", "i4"),
        ("depth", "i2"),
        ("active", "?"),
        ("visits", "i4"),
        ("mean", "f4"),
        ("last", "f4"),
    ]
)
"""What a draw knows of a sample."""


def drawable(rows: np.ndarray, policy: SamplingPolicy) -> np.ndarray:
    """bool (n,) for STANDING (n,): active and within the caps of the policy."""
    retired = (rows["visits"] >= policy.max_visits) | (
        (rows["visits"] >= policy.retire_after) & (rows["mean"] < policy.retire_below)
    )
    seed = rows["depth"] == 0
    return rows["active"] & (seed | (~retired & (rows["depth"] <= policy.max_depth)))


def diversity_weights(rows: np.ndarray, policy: SamplingPolicy) -> np.ndarray:
    """float (n,) for STANDING (n,), > 0."""
    measured = (rows["mean"].astype(float) + rows["last"]) / 2
    return policy.diversity_floor + np.where(rows["visits"] > 0, measured, 1.0)


def coverage_weights(visits: np.ndarray, least: int) -> np.ndarray:
    """float (n,): each visit more than the least makes a seed a million times less likely.

    Exact powers of two, so that rounding does not depend on ``least``.
    """
    return np.exp2(-_HALVINGS_PER_VISIT * np.clip(visits - least, 0, 50))


class Draw:
    """One draw in progress: what it has taken, and the rule for what it may still take."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._numbers = self._roots = np.zeros(0, np.int64)
        self._families: set[int] = set()
        self._one_a_family = True
        self._avoid: Set[int] = frozenset()
        self.taken: dict[int, None] = {}  # numbers, in order

    def among(self, numbers: np.ndarray, roots: np.ndarray) -> None:
        """The dataset whose places the next calls mean: number and seed of the sample at each."""
        self._numbers, self._roots = numbers, roots

    def allow(self, one_a_family: bool, avoid: Set[int]) -> None:
        self._one_a_family, self._avoid = one_a_family, avoid

    def first(self, places: Iterable[int], wanted: int) -> int:
        """Takes up to ``wanted`` in the order given; returns how many it took."""
        taken = 0
        for place in places:
            if taken >= wanted:
                break
            taken += self._take(place)
        return taken

    def weighted(self, index: WeightedIndex, wanted: int, rng: np.random.Generator) -> int:
        """Takes up to ``wanted`` at random, without repetition; returns how many it took.

        Gives up after as many refusals as families within their cap could cause.
        """
        # Independent draws, of which repeated ones are skipped and past ones get weight 0, are
        # distributed like one draw after the other from what is left.
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


def round_at_random(share: float, rng: np.random.Generator) -> int:
    """An integer whose expectation is ``share`` ≥ 0."""
    return int(np.floor(share + rng.random()))
