import pytest
import torch
from trl.trainer.utils import nanstd

from syngrpo.method.advantages import (
    accuracy_advantages,
    format_advantages,
    kl_weights,
    settled_credit,
    span_credit,
)

GROUPS = torch.rand(16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_trl_where_the_floor_does_not_act():
    std = nanstd(GROUPS, dim=1)
    assert std.min() > 0.1
    expected = (GROUPS - GROUPS.mean(dim=1, keepdim=True)) / std.unsqueeze(1)
    torch.testing.assert_close(accuracy_advantages(GROUPS, floor=0.1), expected)


def test_the_floor_keeps_small_luck_small():
    lucky = torch.tensor([0.0] * 7 + [0.03])
    assert accuracy_advantages(lucky, floor=0.0).max() > 2.0
    assert accuracy_advantages(lucky, floor=0.15).max() == pytest.approx(0.03 * 7 / 8 / 0.15)


@pytest.mark.parametrize("floor", [0.0, 0.15])
def test_equal_rewards_and_single_responses_have_no_advantage(floor):
    assert accuracy_advantages(torch.full((8,), 0.5), floor=floor).tolist() == [0.0] * 8
    assert accuracy_advantages(torch.tensor([0.7]), floor=floor).tolist() == [0.0]


def test_scale_none_only_centres():
    torch.testing.assert_close(
        accuracy_advantages(GROUPS, scale="none"), GROUPS - GROUPS.mean(1, keepdim=True)
    )


def test_format_is_normalised_apart_and_weighted():
    rewards = torch.tensor([1.0, 1.0, 1.0, 0.0])
    expected = 0.3 * (rewards - 0.75) / rewards.std()
    torch.testing.assert_close(format_advantages(rewards, weight=0.3), expected)


def test_scene_tokens_carry_format_alone():
    scene = torch.tensor([False, False, True, True, False])
    credit = span_credit(scene, accuracy_advantage=1.5, format_advantage=-0.25)
    torch.testing.assert_close(credit, torch.tensor([1.25, 1.25, -0.25, -0.25, 1.25]))


def test_the_scene_has_a_kl_weight_of_its_own():
    scene = torch.tensor([False, True, False])
    torch.testing.assert_close(kl_weights(scene, 0.0, 0.04), torch.tensor([0.0, 0.04, 0.0]))


def test_a_response_without_a_scene_carries_both_everywhere():
    credit = span_credit(torch.zeros(3, dtype=torch.bool), 1.5, -0.5)
    assert credit.tolist() == [1.0, 1.0, 1.0] and credit.dtype == torch.float32


def test_settled_responses_carry_the_reward_on_scene_tokens_alone():
    scene = torch.tensor([False, True, True, False])
    assert settled_credit(scene, -2.0, weight=0.5).tolist() == [0.0, -1.0, -1.0, 0.0]
