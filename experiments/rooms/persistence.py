"""Whether D says something about the picture, or about luck."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation

LEAST_PAIRS = 20
PERSISTENCE = "diversity/persistence"
"""Its name among the means of a run."""


def persistence(pool: Pool) -> float | None:
    """Pearson's correlation of D with what the same picture had at its visit before.

    0 where a picture that made the answers disagree is no likelier than another to do so again:
    then neither a draw by diversity nor a reward for it has anything to hold on to. Visits of the
    first half of the run stay out, for while D falls with training any two visits are alike. None
    with less than LEAST_PAIRS pairs.
    """
    visits = list(_visits(pool))
    last = max((o.step for each in visits for o in each), default=0)
    late = [[o.diversity for o in each if 2 * o.step > last] for each in visits]
    pairs = np.array([pair for each in late for pair in pairwise(each)])
    if len(pairs) < LEAST_PAIRS or (pairs.std(axis=0) == 0).any():
        return None
    return float(np.corrcoef(pairs.T)[0, 1])


def _visits(pool: Pool) -> Iterator[list[Observation]]:
    """Of every picture, in order."""
    for kind in ("seed", "synthetic"):
        for state in ("active", "retired"):
            for one in pool.samples(kind, state):
                yield pool.observations(one.sample.id)
