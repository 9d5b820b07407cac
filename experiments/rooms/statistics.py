"""Numbers with intervals: over training seeds and over held-out samples at once.

Every method is trained with the same seeds and measured on the same samples, so methods are
compared pairwise on both: whatever is computed from the same seeds and samples is resampled alike.
All seeds are measured on the same samples, so the two are crossed: a resample takes seeds and
samples independently of each other (the pigeonhole bootstrap; Owen, Annals of Applied Statistics
1, 2007).

Among S seeds drawn with replacement the mean varies by only (S − 1)/S of what it should, which
with three seeds is a third too little: the drawn weights are stretched around 1/S by √(S / (S − 1))
(Rao and Wu, JASA 83, 1988). With one seed nothing is known about seeds, and the interval is about
the samples alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

RESAMPLES = 4000
LEVEL = 0.95
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number and what it was in each resample, float (R,). Arithmetic is done in all of them, so
    that what is paired stays paired."""

    value: float
    draws: np.ndarray

    @property
    def interval(self) -> Interval:
        """The percentile interval of LEVEL."""
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.percentile(self.draws, [tail, 100 - tail])
        return float(low), float(high)

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.value + other.value, self.draws + other.draws)

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(self.value - other.value, self.draws - other.draws)

    def __truediv__(self, other: Estimate) -> Estimate:
        return Estimate(self.value / other.value, self.draws / other.draws)

    def scaled(self, factor: float, shift: float = 0.0) -> Estimate:
        """``factor`` times this plus ``shift``."""
        return Estimate(factor * self.value + shift, factor * self.draws + shift)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Of at least one."""
    return Estimate(
        sum(e.value for e in estimates) / len(estimates),
        np.mean([e.draws for e in estimates], axis=0),
    )


@dataclass
class Resampling:
    """Draws the weights of seeds and samples, the same whenever the same are asked for."""

    number: int = RESAMPLES
    seed: int = 0
    _drawn: dict[tuple[str, int, bool], np.ndarray] = field(default_factory=dict, repr=False)

    def over_seeds(self, values: Sequence[float] | np.ndarray, seeds: str) -> Estimate:
        """The mean of one value a seed (S,). ``seeds`` names them: estimates with the same name are
        resampled alike, those with different names independently."""
        column = np.asarray(values, dtype=np.float64)
        return Estimate(float(column.mean()), self._weights(seeds, len(column), True) @ column)

    def over_both(self, values: np.ndarray, seeds: str, samples: str) -> Estimate:
        """The mean of (S, N) values of S seeds on the same N samples; names as in
        ``over_seeds``."""
        over_samples = self._weights(samples, values.shape[1], False)
        by_seed = over_samples @ values.T  # (R, S)
        draws = (self._weights(seeds, values.shape[0], True) * by_seed).sum(axis=1)
        return Estimate(float(values.mean()), draws)

    def _weights(self, name: str, count: int, few: bool) -> np.ndarray:
        """(R, count), each row adding up to 1."""
        key = (name, count, few)
        if key not in self._drawn:
            rng = np.random.default_rng([self.seed, count, few, zlib.crc32(name.encode())])
            share = 1 / count
            drawn = rng.multinomial(count, np.full(count, share), size=self.number) * share
            if few and count > 1:
                drawn = share + (drawn - share) * np.sqrt(count / (count - 1))
            self._drawn[key] = drawn
        return self._drawn[key]
