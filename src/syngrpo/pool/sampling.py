"""Which samples the next batch holds: the rules of a draw, and the options that set them.

The places of a batch are first shared out among the datasets of the run (``share_places``);
synthetic samples belong to the dataset of their seed. A dataset with fewer samples than places
leaves the rest to the others. Each dataset then fills its places in this order:

1. its share of synthetic samples: unmeasured ones first, oldest admitted first, because the reward
   of their descriptions waits for their first visit; then measured ones at random, weighted by
   diversity;
2. its share of seeds: ``seed_coverage`` of them the least visited ones, at random among equals; the
   others at random, weighted by diversity;
3. seeds in place of missing synthetic samples, and the reverse.

The diversity weight is ``diversity_floor`` plus the average of a sample's mean D and its last D:
the mean is steadier than one measurement, the last tells what the present policy finds. A seed that
was never measured counts as D = 1.

No sample comes twice in a draw. At most one member of a family (a seed and its descendants) comes
in a draw while its dataset has enough families, and no sample of ``avoid`` comes while the dataset
has enough others. These two rules are given up in that order, each only for the places still open.

``draw_index`` applies these rules to the samples of a pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from syngrpo.options import option
from syngrpo.sample import InputError

_HALVINGS_PER_VISIT = 20.0  # so that of a million seeds the one unvisited is as likely as the rest


@dataclass(frozen=True)
class SamplingPolicy:
    """How batches are drawn from the pool, and when synthetic samples retire. Seeds never retire.

    A share of a batch that is not a whole number of samples is rounded at random. With
    ``seed_coverage`` 1 seeds come in shuffled epochs, as in plain GRPO. ``max_children`` limits the
    active synthetic samples plus open jobs in the family of one seed: when a child retires, another
    can be made. Jobs beyond ``max_unmeasured`` are dropped, because their rewards would come too
    late to be used.
    """

    synthetic_ratio: float = option(0.5, "share of synthetic samples in a batch", ge=0, le=1)
    seed_coverage: float = option(
        0.5, "share of a batch's seeds that is drawn by least visits", ge=0, le=1
    )
    diversity_floor: float = option(
        0.05, "drawing weight of a sample without any diversity", ge=1e-6, le=1
    )
    max_depth: int = option(
        1, "generations of synthetic samples; 1: only seeds have children", ge=0
    )
    max_children: int = option(8, "active descendants of one seed", ge=0)
    max_visits: int = option(8, "visits after which a synthetic sample retires", ge=1)
    max_unmeasured: int | None = option(
        None,
        "synthetic samples that wait for their first visit; with more, new jobs are dropped; null: "
        "as many as are drawn in four steps",
        ge=1,
    )
    retire_below: float = option(
        0.05, "mean diversity below which a synthetic sample retires", ge=0, le=1
    )
    retire_after: int = option(2, "visits before a sample can retire for that", ge=1)

    def retires(self, visits: int, diversity_mean: float) -> str | None:
        """The reason why a synthetic sample with these measurements retires, or None."""
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
"""What a draw knows of a sample: the row number of its seed, its depth, whether it is active, its
visits, and its mean and last diversity."""


def drawable(rows: np.ndarray, policy: SamplingPolicy) -> np.ndarray:
    """Which samples may be drawn: bool (n,) for STANDING (n,). They are active and within the
    limits of the policy."""
    retired = (rows["visits"] >= policy.max_visits) | (
        (rows["visits"] >= policy.retire_after) & (rows["mean"] < policy.retire_below)
    )
    seed = rows["depth"] == 0
    return rows["active"] & (seed | (~retired & (rows["depth"] <= policy.max_depth)))


def diversity_weights(rows: np.ndarray, policy: SamplingPolicy) -> np.ndarray:
    """The diversity weight of each sample: float (n,) > 0 for STANDING (n,)."""
    measured = (rows["mean"].astype(float) + rows["last"]) / 2
    return policy.diversity_floor + np.where(rows["visits"] > 0, measured, 1.0)


def coverage_weights(visits: np.ndarray, least: int) -> np.ndarray:
    """Weights float (n,) that prefer the least visited seeds: each visit above ``least`` makes a
    seed a million times less likely. Powers of two, so that rounding does not depend on
    ``least``."""
    return np.exp2(-_HALVINGS_PER_VISIT * np.clip(visits - least, 0, 50))


def dataset_weights(given: Mapping[str, float | None]) -> dict[str, float]:
    """The drawing weights of datasets by name, from those that the user gave.

    Where the user gave none the result is empty, and datasets are drawn in proportion to their
    numbers of seeds. Otherwise a dataset without a weight gets 1. Raises InputError for a weight
    that is not a finite number above 0.
    """
    if all(weight is None for weight in given.values()):
        return {}
    for name, weight in given.items():
        if weight is not None and not 0 < weight < math.inf:
            raise InputError(f"dataset {name!r} has weight {weight}; it must be above 0")
    return {name: 1.0 if weight is None else weight for name, weight in given.items()}


def systematic_shares(count: int, weights: np.ndarray, offset: float) -> np.ndarray:
    """Divide ``count`` places by weights float (n,), ≥ 0 and not all 0, into whole shares int (n,).

    Every share is count·w/Σw rounded down or up. Its mean over an ``offset`` uniform in [0, 1) is
    exactly count·w/Σw, also where there are fewer places than weights. The share of weight 0 is 0.

    Systematic resampling (Kitagawa 1996, Monte Carlo filter and smoother, appendix): an evenly
    spaced comb, shifted by the offset, is laid over the cumulated weights.
    """
    edges = np.cumsum(
        weights / weights.max()
    )  # scaled, so that the sum is not too small to divide by
    before = np.ceil(edges * (count / edges[-1]) - offset)  # teeth left of each edge
    before[edges == edges[-1]] = count
    return np.diff(np.clip(before, 0, count), prepend=0).astype(np.int64)


def share_places(
    count: int, weights: np.ndarray, capacity: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Divide up to ``count`` places by weights float (n,) into shares int (n,), each at most its
    ``capacity`` int (n,).

    What exceeds the capacity of one goes to the others, by their weights. The shares add up to less
    than ``count`` only when all those with a weight are at their capacity.
    """
    shares = np.zeros(len(weights), np.int64)
    while (missing := count - int(shares.sum())) > 0:
        still = np.where(shares < capacity, weights, 0.0)
        choices = np.count_nonzero(still)
        if choices == 0:
            break
        offset = rng.random() if choices > 1 else 0.0
        shares = np.minimum(shares + systematic_shares(missing, still, offset), capacity)
    return shares


def round_at_random(share: float, rng: np.random.Generator) -> int:
    """Round ``share`` ≥ 0 down or up at random, so that the mean of the result is ``share``."""
    return int(np.floor(share + rng.random()))
