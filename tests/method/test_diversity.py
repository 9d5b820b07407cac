import numpy as np
import pytest
import torch

from syngrpo.method.advantages import normalised_advantages
from syngrpo.method.diversity import REWARDED, Scale, has_zero_variance, response_diversity


def test_equals_numpy_population_variance_for_random_groups():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 8, 16):
        group = rng.random(size)
        assert response_diversity(group.tolist()) == pytest.approx(4 * np.var(group), abs=1e-12)


def test_one_is_the_maximum_and_agreement_is_zero():
    assert response_diversity([0.0, 1.0, 0.0, 1.0]) == 1.0
    assert response_diversity(torch.full((8,), 0.3)) == 0.0
    assert has_zero_variance(response_diversity([0.1 + 0.2, 0.3, 0.3]))
    assert not has_zero_variance(response_diversity([0.0] * 7 + [0.01]))


@pytest.mark.parametrize("group", [[], [0.5, float("nan")], [0.5, 1.2], [-0.1]])
def test_refuses_what_is_no_group_of_accuracies(group):
    with pytest.raises(ValueError, match=r"empty group|outside \[0, 1\]"):
        response_diversity(group)


def binary(right: int, size: int = 8) -> list[float]:
    return [1.0] * right + [0.0] * (size - right)


def rewarded(kind: str, accuracies: list[float], **scale: float) -> float:
    return REWARDED[kind](accuracies, Scale(**{"hit": 0.5, "chance": 0.0, "floor": 0.15} | scale))


def test_d_of_hits_does_not_count_near_misses() -> None:
    boxes = [0.9, 0.8, 0.7, 0.55, 0.45, 0.3, 0.0, 0.0]
    assert rewarded("hits", boxes) == 1.0
    assert rewarded("hits", [0.0, 0.1, 0.2, 0.3, 0.4, 0.45]) == 0.0
    assert rewarded("hits", boxes, hit=1.0) == 0.0
    assert rewarded("accuracy", boxes) == response_diversity(boxes)


def test_the_signal_is_the_size_that_accuracy_advantages_have() -> None:
    rng = np.random.default_rng(0)
    for width in (0.01, 0.1, 0.5, 1.0):
        group = (width * rng.random(8)).tolist()
        size = normalised_advantages(group, 0.15).std(ddof=1)
        assert rewarded("signal", group) == pytest.approx(size, abs=1e-6)
    assert rewarded("signal", [0.7]) == 0.0
    assert rewarded("signal", binary(1)) == 1.0


def test_above_chance_is_the_variance_of_who_knew_the_answer() -> None:
    for chance in (0.0, 0.25, 0.5):
        for right in range(9):
            knew = max(0.0, (right / 8 - chance) / (1 - chance))
            value = rewarded("above_chance", binary(right), chance=chance)
            assert value == pytest.approx(4 * knew * (1 - knew), abs=1e-12)


def test_above_chance_tells_guessing_from_knowing_where_d_does_not() -> None:
    """Answers of 2000 groups of eight to a question with two answers: nobody sees the image, or
    half of the responses do."""
    rng = np.random.default_rng(0)
    blind, seen = ([rng.random(8) < right for _ in range(2000)] for right in (0.5, 0.75))

    def mean(kind: str, groups: list[np.ndarray]) -> float:
        return float(
            np.mean([rewarded(kind, g.astype(float).tolist(), chance=0.5) for g in groups])
        )

    assert mean("accuracy", blind) > mean("accuracy", seen)
    assert mean("above_chance", blind) < 0.5 * mean("above_chance", seen)


def test_every_rewarded_diversity_is_between_0_and_1() -> None:
    rng = np.random.default_rng(1)
    for kind in REWARDED:
        for _ in range(200):
            group = rng.beta(0.4, 0.4, size=int(rng.integers(1, 9))).tolist()
            value = rewarded(kind, group, chance=float(rng.uniform(0, 0.9)))
            assert 0.0 <= value <= 1.0 + 1e-9, kind
    for group in (binary(0), binary(8)):
        assert all(rewarded(kind, group, chance=0.5) == 0.0 for kind in REWARDED)
