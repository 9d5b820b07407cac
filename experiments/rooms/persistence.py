"""Measures whether D is a property of the picture or a matter of chance.

If it is a property, a picture that had a high D at one visit has a high D at the next one, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation

LEAST_PAIRS = 20
"""With fewer pairs of visits no correlation is computed."""
PERSISTENCE = "diversity/persistence"
"""Name of this number among the means of a run."""


def persistence(pool: Pool) -> float | None:
    """Return Pearson's correlation between the D of a picture and its D at the visit before.

    A value of 0 means: if the answers to a picture disagreed, they are no likelier than those to
    other pictures to disagree at the next visit. Then neither drawing by diversity nor rewarding it
    can have an effect.

    Visits of the first half of the run are left out. D falls in that time, and this alone makes the
    visits of a picture correlate. Returns None if there are fewer than ``LEAST_PAIRS`` pairs of
    visits or if D does not vary.
    """
    visits = list(_visits(pool))
    last = max((o.step for each in visits for o in each), default=0)
    late = [[o.diversity for o in each if 2 * o.step > last] for each in visits]
    pairs = np.array([pair for each in late for pair in pairwise(each)])
    if len(pairs) < LEAST_PAIRS or (pairs.std(axis=0) == 0).any():
        return None
    return float(np.corrcoef(pairs.T)[0, 1])


def _visits(pool: Pool) -> Iterator[list[Observation]]:
    """Yield the visits of each picture, in the order in which they took place."""
    for kind in ("seed", "synthetic"):
        for state in ("active", "retired"):
            for one in pool.samples(kind, state):
                yield pool.observations(one.sample.id)
