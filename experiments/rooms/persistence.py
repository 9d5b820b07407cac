"""Measures whether D is a property of the picture or a matter of chance."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation

LEAST_PAIRS = 20
PERSISTENCE = "diversity/persistence"
"""Name of this number among the means of a run."""


def persistence(pool: Pool) -> float | None:
    """Return Pearson's correlation between the D of a picture and its D at the visit before.

    It is 0 if a picture on which the answers disagreed is no likelier than others to make them
    disagree again. Then neither drawing by diversity nor rewarding it can have an effect. The
    visits of the first half of the run are left out: while D falls with training, early visits
    correlate by that alone. None if there are fewer than ``LEAST_PAIRS`` pairs.
    """
    visits = list(_visits(pool))
    last = max((o.step for each in visits for o in each), default=0)
    late = [[o.diversity for o in each if 2 * o.step > last] for each in visits]
    pairs = np.array([pair for each in late for pair in pairwise(each)])
    if len(pairs) < LEAST_PAIRS or (pairs.std(axis=0) == 0).any():
        return None
    return float(np.corrcoef(pairs.T)[0, 1])


def _visits(pool: Pool) -> Iterator[list[Observation]]:
    """Yield the visits of every picture, in order."""
    for kind in ("seed", "synthetic"):
        for state in ("active", "retired"):
            for one in pool.samples(kind, state):
                yield pool.observations(one.sample.id)
