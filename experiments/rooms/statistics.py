"""Computes bootstrap intervals over training seeds and held-out samples at once.

Every method is trained with the same seeds and measured on the same samples. Therefore methods are
compared in pairs: numbers that come from the same seeds and samples are resampled with the same
weights. All seeds are measured on the same samples, so a resample draws seeds and samples
independently of each other (the pigeonhole bootstrap; Owen, Annals of Applied Statistics 1, 2007).

If S seeds are drawn with replacement, the variance of their mean is only (S − 1)/S of what it
should be; with three seeds that is a third too little. Therefore the distance of each drawn weight
from 1/S is multiplied by √(S / (S − 1)) (Rao and Wu, JASA 83, 1988). Intervals of so few seeds stay
somewhat narrow: where only seeds differ, that of a mean over three tasks holds the true mean in
about 90 % of the cases. With one seed nothing is known about the spread between seeds, and there is
no interval.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

RESAMPLES = 4000
LEVEL = 0.95
Interval = tuple[float, float]
"""Lower and upper end."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its value in each of R resamples.

    ``draws`` is float (R,), ``seeds`` the smallest number of training seeds that a part of it was
    measured with. Arithmetic between estimates is done within each resample, so that the interval
    of a difference takes into account that both numbers come from the same seeds and samples.
    """

    value: float
    draws: np.ndarray
    seeds: int

    @property
    def interval(self) -> Interval | None:
        """The percentile interval of the draws at the level ``LEVEL``, None with one seed."""
        if self.seeds < 2:
            return None
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.percentile(self.draws, [tail, 100 - tail])
        return float(low), float(high)

    def __add__(self, other: Estimate) -> Estimate:
        return self._with(other, self.value + other.value, self.draws + other.draws)

    def __sub__(self, other: Estimate) -> Estimate:
        return self._with(other, self.value - other.value, self.draws - other.draws)

    def __truediv__(self, other: Estimate) -> Estimate:
        return self._with(other, self.value / other.value, self.draws / other.draws)

    def __abs__(self) -> Estimate:
        return Estimate(abs(self.value), abs(self.draws), self.seeds)

    def scaled(self, factor: float, shift: float = 0.0) -> Estimate:
        """Return ``factor`` times this number, plus ``shift``."""
        return Estimate(factor * self.value + shift, factor * self.draws + shift, self.seeds)

    def _with(self, other: Estimate, value: float, draws: np.ndarray) -> Estimate:
        return Estimate(value, draws, min(self.seeds, other.seeds))


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of at least one estimate."""
    return Estimate(
        sum(e.value for e in estimates) / len(estimates),
        np.mean([e.draws for e in estimates], axis=0),
        min(e.seeds for e in estimates),
    )


@dataclass
class Resampling:
    """Draws the weights of seeds and samples in each resample. The same name always gets the same
    weights."""

    number: int = RESAMPLES
    seed: int = 0
    _drawn: dict[tuple[str, int, bool], np.ndarray] = field(default_factory=dict, repr=False)

    def over_seeds(self, values: Sequence[float] | np.ndarray, seeds: str) -> Estimate:
        """Return the mean of one value for each seed, float (S,).

        ``seeds`` is a name for these seeds: estimates with the same name are resampled with the
        same weights, those with different names independently.
        """
        column = np.asarray(values, dtype=np.float64)
        draws = self._weights(seeds, len(column), True) @ column
        return Estimate(float(column.mean()), draws, len(column))

    def over_both(self, values: np.ndarray, seeds: str, samples: str) -> Estimate:
        """Return the mean of the values of S seeds on the same N samples, float (S, N).

        ``seeds`` and ``samples`` are names for them, as in ``over_seeds``.
        """
        over_samples = self._weights(samples, values.shape[1], False)
        by_seed = over_samples @ values.T  # (R, S)
        draws = (self._weights(seeds, values.shape[0], True) * by_seed).sum(axis=1)
        return Estimate(float(values.mean()), draws, values.shape[0])

    def _weights(self, name: str, count: int, few: bool) -> np.ndarray:
        """Return weights, float (R, count), whose rows sum to 1. With ``few`` the variance is
        corrected for a small number of seeds (see the head of this module)."""
        key = (name, count, few)
        if key not in self._drawn:
            rng = np.random.default_rng([self.seed, count, few, zlib.crc32(name.encode())])
            share = 1 / count
            drawn = rng.multinomial(count, np.full(count, share), size=self.number) * share
            if few and count > 1:
                drawn = share + (drawn - share) * np.sqrt(count / (count - 1))
            self._drawn[key] = drawn
        return self._drawn[key]
