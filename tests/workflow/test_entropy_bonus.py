"""The weight of the entropy bonus follows its target as TRL's does."""

import pytest
import torch
from test_policy_loss import _tensors, _trl_loss

from syngrpo.method.loss_options import LossOptions
from syngrpo.workflow.entropy_bonus import EntropyBonus

TARGET, STEP = 0.7, 0.005
"""Those of ``_trl_loss``."""


def test_the_weight_and_its_use_are_trls() -> None:
    bonus = EntropyBonus(LossOptions(entropy_target=TARGET, entropy_weight=0.004))
    state = {"entropy_coef": 0.004, "_last_world_entropy": float("inf")}
    weights = []
    for scale in (1.0, 0.1, 0.1, 9.0, 9.0, 9.0, 0.1):
        tensors = _tensors(21)
        # TRL's entropies are −p·log p here: above the target for log p near −1, below it near 0.
        tensors["logp"] = -tensors["mask"].double() if scale > 1 else tensors["logp"] * scale
        entropies = -tensors["logp"].exp() * tensors["logp"]
        entropies = entropies * (3.0 if scale > 1 else 1.0)
        before, _, _ = _trl_loss(tensors, "grpo")
        bonus_of_trl = {"_entropy_bonus_enabled": True, "use_adaptive_entropy": True, **state}
        after, _, metrics = _trl_loss(tensors, "grpo", entropies=entropies, **bonus_of_trl)
        weight = metrics["entropy_coef"][0]
        mean = float(entropies[tensors["mask"]].mean())
        assert before - after == pytest.approx(bonus.weight * mean, abs=1e-12)
        weights.append(bonus.weight)
        bonus.observe(mean)
        state = {"entropy_coef": weight, "_last_world_entropy": mean}
        assert bonus.state_dict() == pytest.approx({"weight": weight, "last": mean})
    assert weights[0] == 0 and max(weights) > 0.004 and weights[-1] == 0


def test_a_constant_weight_is_that_of_the_options_also_after_a_resume() -> None:
    bonus = EntropyBonus(LossOptions(entropy_weight=0.01))
    bonus.observe(9.0)
    assert bonus.weight == 0.01
    other = EntropyBonus(LossOptions(entropy_weight=0.02))
    other.load_state_dict(bonus.state_dict())
    assert other.weight == 0.02
    adaptive = LossOptions(entropy_target=1.0)
    first = EntropyBonus(adaptive)
    first.observe(0.5)
    again = EntropyBonus(adaptive)
    again.load_state_dict(first.state_dict())
    assert again.weight == first.weight == STEP and torch.tensor(first.weight) > 0
