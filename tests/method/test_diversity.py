import numpy as np
import pytest
import torch

from syngrpo.method.diversity import has_zero_variance, response_diversity


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
