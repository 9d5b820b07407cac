"""Bootstrap intervals against scipy."""

import numpy as np
import pytest

from syngrpo.evaluation.bootstrap import intervals, resamples


def test_intervals_of_a_mean_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).random((300, 2)) ** 2
    units = [str(i) for i in range(len(values))]

    def mean(counts: np.ndarray) -> np.ndarray:
        return counts @ values / counts.sum()

    ours = intervals(mean, units, [False, False], number=4000)
    for column, interval in zip(values.T, ours, strict=True):
        theirs = stats.bootstrap(
            (column,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        assert interval == pytest.approx((theirs.low, theirs.high), abs=4e-3)
    assert intervals(lambda c: np.array([0.3]), ["a"], [False]) == [(0.3, 0.3)]
    assert intervals(lambda c: np.array([np.nan]), ["a"], [False]) == [None]


def test_questions_about_one_picture_are_drawn_together() -> None:
    """Ten copies of every sample are no more evidence than one: the interval stays as wide."""
    values = np.random.default_rng(0).random(50)
    many = np.repeat(values, 10)
    units = [f"picture {i // 10}" for i in range(len(many))]
    for counts in resamples(units, 5, seed=0):
        assert counts.sum() == len(many)
        assert (counts.reshape(50, 10) == counts.reshape(50, 10)[:, :1]).all()

    def width(column: np.ndarray, units: list[str]) -> float:
        found = intervals(lambda c: np.array([c @ column / c.sum()]), units, [False])[0]
        assert found is not None
        return found[1] - found[0]

    alone = width(values, [str(i) for i in range(50)])
    assert width(many, units) == pytest.approx(alone, rel=0.1)
    assert width(many, [str(i) for i in range(500)]) < alone / 2
