import numpy as np
import pytest
import torch
from trl.trainer.utils import nanstd

from syngrpo.method.advantages import (
    centred_advantages,
    kl_weights,
    leave_one_out_advantages,
    normalised_advantages,
    reward_tokens,
    settled_credit,
    span_credit,
)

GROUPS = torch.rand(16, 8, generator=torch.Generator().manual_seed(0))


def test_equals_trl_where_the_floor_does_not_act() -> None:
    std = nanstd(GROUPS, dim=1)
    assert std.min() > 0.1
    expected = (GROUPS - GROUPS.mean(dim=1, keepdim=True)) / std.unsqueeze(1)
    ours = np.stack([normalised_advantages(group, floor=0.1) for group in GROUPS.tolist()])
    torch.testing.assert_close(torch.from_numpy(ours), expected)


def test_the_floor_keeps_small_luck_small() -> None:
    lucky = [0.0] * 7 + [0.03]
    assert normalised_advantages(lucky, floor=0.0).max() > 2.0
    assert normalised_advantages(lucky, floor=0.15).max() == pytest.approx(0.03 * 7 / 8 / 0.15)


@pytest.mark.parametrize("floor", [0.0, 0.15])
def test_equal_rewards_and_single_responses_have_no_advantage(floor: float) -> None:
    assert normalised_advantages([0.5] * 8, floor=floor).tolist() == [0.0] * 8
    assert normalised_advantages([0.7], floor=floor).tolist() == [0.0]
    for reward in torch.rand(50, generator=torch.Generator().manual_seed(1)).tolist():
        assert normalised_advantages([reward] * 6, floor=floor).tolist() == [0.0] * 6  # not 1e-7


def test_centred_advantages_are_not_divided() -> None:
    for group in GROUPS:
        expected = group - group.mean()
        torch.testing.assert_close(torch.from_numpy(centred_advantages(group.tolist())), expected)


def test_rloo_equals_trl() -> None:
    """The lines of TRL 1.16's RLOOTrainer that compute its advantages, without normalisation."""
    baselines = (GROUPS.sum(1, keepdim=True) - GROUPS) / (GROUPS.shape[1] - 1)
    ours = np.stack([leave_one_out_advantages(group) for group in GROUPS.tolist()])
    torch.testing.assert_close(torch.from_numpy(ours), GROUPS - baselines)
    assert leave_one_out_advantages([0.7]).tolist() == [0.0]


def test_scene_tokens_carry_format_alone() -> None:
    scene = np.array([False, False, True, True, False])
    credit = span_credit(scene, [(1.5, "answer"), (-0.25, "response")])
    assert credit.tolist() == [1.25, 1.25, -0.25, -0.25, 1.25]


def test_the_scene_has_a_kl_weight_of_its_own() -> None:
    scene = np.array([False, True, False])
    assert kl_weights(scene, 0.0, 0.04) == pytest.approx([0.0, 0.04, 0.0])


def test_a_response_without_a_scene_carries_both_everywhere() -> None:
    credit = span_credit(np.zeros(3, dtype=np.bool_), [(1.5, "answer"), (-0.5, "response")])
    assert credit.tolist() == [1.0, 1.0, 1.0] and credit.dtype == np.float32


def test_settled_responses_carry_the_reward_on_scene_tokens_alone() -> None:
    scene = np.array([False, True, True, False])
    assert settled_credit(scene, -2.0, weight=0.5).tolist() == [0.0, -1.0, -1.0, 0.0]


def test_a_custom_reward_is_on_the_tokens_that_it_is_about() -> None:
    scene = np.array([False, True, False])
    assert reward_tokens(scene, "answer").tolist() == [1.0, 0.0, 1.0]
    assert reward_tokens(scene, "scene").tolist() == [0.0, 1.0, 0.0]
    assert reward_tokens(scene, "response").tolist() == [1.0, 1.0, 1.0]
