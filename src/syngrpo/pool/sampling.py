"""The rules by which the samples of a batch are drawn, and the options of these rules.

The places of a batch are first divided among the datasets of the run (``share_places``). Synthetic
samples belong to the dataset of their seed. If a dataset has fewer samples than places, the others
get the rest. Each dataset then fills its places in this order:

1. its share of synthetic samples: first unmeasured ones, in the order of admission, because the
   reward of their descriptions waits for their first visit; then measured ones at random, weighted
   by diversity;
2. its share of seeds: a part of ``seed_coverage`` are the least visited ones, at random among
   equals; the others are drawn at random, weighted by diversity;
3. seeds in place of missing synthetic samples, and synthetic samples in place of missing seeds.

The diversity weight is ``diversity_floor`` plus the average of a sample's mean D and its last D.
The mean has less noise than one measurement, and the last D belongs to a recent policy. A seed that
was never measured counts as D = 1.

No sample is drawn twice in a batch. At most one member of a family (a seed and its descendants) is
drawn as long as its dataset has enough families, and no sample of ``avoid`` as long as the dataset
has enough others. If places are still open, the first of these two rules is dropped for them, then
also the second.

Unmeasured siblings of a bundle (see ``bundles``) are drawn before all this, together or not at all:
as many whole bundles as the synthetic places of the batch can hold, the oldest first. With several
datasets each bundle is one of a dataset drawn at random by its weight. A bundle is drawn only if
the batch has no other member of its family, and none of its samples is in ``avoid``. The other
places are then divided among the datasets as above.

``draw_index`` applies these rules to the samples of a pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from syngrpo.options import option
from syngrpo.sample import InputError

_HALVINGS_PER_VISIT = 20.0  # 2^20: one unvisited seed is as likely as a million others together


@dataclass(frozen=True)
class SamplingPolicy:
    """The section ``pool``: how batches are drawn, and when synthetic samples retire.

    Seeds never retire. A share of a batch that is not a whole number of samples is rounded up or
    down at random. With ``seed_coverage`` 1 seeds are drawn in shuffled epochs, as in plain GRPO.
    ``max_children`` limits the number of active synthetic samples and open jobs in the family of
    one seed; when a child retires, another can be made. Jobs beyond ``max_unmeasured`` are dropped,
    because their rewards would come too late to be used.
    """

    synthetic_ratio: float = option(0.5, "share of synthetic samples in a batch", ge=0, le=1)
    seed_coverage: float = option(
        0.5, "share of a batch's seeds for which the least visited ones are drawn", ge=0, le=1
    )
    diversity_floor: float = option(
        0.05, "drawing weight of a sample with diversity 0", ge=1e-6, le=1
    )
    max_depth: int = option(
        1, "generations of synthetic samples; 1: images are painted from seeds only", ge=0
    )
    max_children: int = option(8, "largest number of active synthetic samples from one seed", ge=0)
    max_visits: int = option(8, "visits after which a synthetic sample retires", ge=1)
    max_unmeasured: int | None = option(
        None,
        "largest number of synthetic samples that were not trained on yet; above it new jobs are "
        "dropped; null: as many as are drawn in four steps",
        ge=1,
    )
    retire_below: float = option(
        0.05, "mean diversity below which a synthetic sample retires", ge=0, le=1
    )
    retire_after: int = option(2, "visits after which retire_below applies", ge=1)
    sibling_deadline: int = option(
        16,
        "with method.credit siblings: steps after which images of one group are drawn together "
        "although others of the group are still not painted, counted from the first one painted",
        ge=1,
    )

    def retires(self, visits: int, diversity_mean: float) -> str | None:
        """Return why a synthetic sample with these measurements retires, None if it does not."""
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
        ("bundle", "i4"),
    ]
)
"""The properties of a sample that a draw uses: the row number of its seed, its depth, whether it is
active and does not wait for siblings, its visits, its mean and last diversity, and the number of
its bundle (0: none)."""


def drawable(rows: np.ndarray, sampling: SamplingPolicy) -> np.ndarray:
    """Return which samples may be drawn, bool (n,) for STANDING (n,): those that are active and
    within the limits of the policy."""
    retired = (rows["visits"] >= sampling.max_visits) | (
        (rows["visits"] >= sampling.retire_after) & (rows["mean"] < sampling.retire_below)
    )
    seed = rows["depth"] == 0
    return rows["active"] & (seed | (~retired & (rows["depth"] <= sampling.max_depth)))


def diversity_weights(rows: np.ndarray, sampling: SamplingPolicy) -> np.ndarray:
    """Return the diversity weight of each sample: float (n,) > 0 for STANDING (n,)."""
    measured = (rows["mean"].astype(float) + rows["last"]) / 2
    return sampling.diversity_floor + np.where(rows["visits"] > 0, measured, 1.0)


def coverage_weights(visits: np.ndarray, least: int) -> np.ndarray:
    """Return weights float (n,) that prefer the least visited seeds.

    Each visit above ``least`` makes a seed a million times less likely. The weights are powers of
    two, so that rounding errors do not depend on ``least``.
    """
    return np.exp2(-_HALVINGS_PER_VISIT * np.clip(visits - least, 0, 50))


def dataset_weights(given: Mapping[str, float | None]) -> dict[str, float]:
    """Return the drawing weights of datasets by name, from the weights that the user gave.

    If the user gave none, the result is empty, and datasets are drawn in proportion to their
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
    exactly count·w/Σw, also if there are fewer places than weights. The share of weight 0 is 0.

    This is systematic resampling (Kitagawa 1996, Monte Carlo filter and smoother, appendix): it
    counts how many of evenly spaced points, shifted by the offset, fall on each of the cumulated
    weights.
    """
    edges = np.cumsum(weights / weights.max())  # scaled: a tiny sum could not be divided by
    before = np.ceil(edges * (count / edges[-1]) - offset)  # points below each edge
    before[edges == edges[-1]] = count
    return np.diff(np.clip(before, 0, count), prepend=0).astype(np.int64)


def share_places(
    count: int, weights: np.ndarray, capacity: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Divide up to ``count`` places by weights float (n,) into shares int (n,), each at most its
    ``capacity`` int (n,).

    Places above the capacity of one share go to the others, by their weights. The shares add up to
    less than ``count`` only if all that have a weight are at their capacity.
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
    """Return ``share`` ≥ 0, rounded down or up at random so that the mean result is ``share``."""
    return int(np.floor(share + rng.random()))
