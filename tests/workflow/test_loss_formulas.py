"""Losses and KL estimators that TRL does not have, against verl's formulas, written down anew.

verl (0.8.0.dev, commit b178a3cd, ``verl/trainer/ppo/core_algos.py``) is not installed. Each test
computes one of its losses anew, response by response.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from syngrpo.method.losses import LOSSES, LossName
from syngrpo.workflow.loss import Normaliser, policy_loss
from syngrpo.workflow.surrogates import LossRule, estimated_kl

ROWS, LENGTH = 5, 7


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def normal() -> Tensor:
        return torch.randn(ROWS, LENGTH, generator=generator, dtype=torch.float64)

    old = -normal().abs()
    lengths = torch.tensor([7, 2, 5, 1, 6])
    return {
        "logp": (old + 0.5 * normal()).requires_grad_(),
        "old_logp": old,
        "advantages": normal()[:, :1].expand(ROWS, LENGTH),
        "mask": torch.arange(LENGTH) < lengths[:, None],
    }


def ours(tensors: dict[str, Tensor], name: LossName, **constants: float) -> tuple[float, Tensor]:
    low, high = LOSSES[name].clip
    rule = LossRule(**{"form": LOSSES[name], "low": low, "high": high, **constants})
    tokens = int(tensors["mask"].sum())
    output = policy_loss(**tensors, rule=rule, normaliser=Normaliser(ROWS, tokens))
    (gradient,) = torch.autograd.grad(output.loss, tensors["logp"])
    return float(output.loss.detach()), gradient


def compare(tensors: dict[str, Tensor], loss: Tensor, found: tuple[float, Tensor]) -> None:
    (gradient,) = torch.autograd.grad(loss, tensors["logp"])
    assert found[0] == pytest.approx(float(loss.detach()), rel=1e-12)
    torch.testing.assert_close(found[1], gradient, rtol=1e-10, atol=1e-15)


def rows_of(tensors: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, float]]:
    """Return log π, log π_old and the advantage of each response, without padding."""
    lengths = tensors["mask"].sum(1).tolist()
    return [
        (tensors["logp"][i, :n], tensors["old_logp"][i, :n], float(tensors["advantages"][i, 0]))
        for i, n in enumerate(lengths)
    ]


def clipped(ratio: Tensor, advantage: float, low: float, high: float) -> Tensor:
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - low, 1 + high))


def test_dual_clip(tensors: dict[str, Tensor]) -> None:
    """``compute_policy_loss_vanilla``, token-mean."""
    total, reached = torch.zeros(()), 0
    for logp, old, advantage in rows_of(tensors):
        ratio = (logp - old).exp()
        losses = clipped(ratio, advantage, 0.2, 0.28)
        if advantage < 0:
            losses = losses.clamp(max=-advantage * 1.4)
            reached += int((ratio > 1.4).sum())
        total = total + losses.sum()
    assert reached
    compare(
        tensors,
        total / tensors["mask"].sum(),
        ours(tensors, "dapo", low=0.2, high=0.28, dual_clip=1.4),
    )


@pytest.mark.parametrize("name", ["gspo", "gspo_token"])
def test_gspo(tensors: dict[str, Tensor], name: LossName) -> None:
    """``compute_policy_loss_gspo``: the ratio of the response with each token's gradient."""
    total = torch.zeros(())
    for logp, old, advantage in rows_of(tensors):
        mean = (logp - old).mean().detach()
        ratio = (mean + logp - logp.detach()).exp()
        total = total + clipped(ratio, advantage, 0.1, 0.15).mean()
    compare(tensors, total / ROWS, ours(tensors, name, low=0.1, high=0.15))


def test_cispo(tensors: dict[str, Tensor]) -> None:
    """``compute_policy_loss_cispo``: verl also bounds the weight below."""
    total = torch.zeros(())
    for logp, old, advantage in rows_of(tensors):
        weight = (logp - old).exp().clamp(0.8, 1.28).detach()
        total = total - (weight * advantage * logp).sum()
    compare(tensors, total / tensors["mask"].sum(), ours(tensors, "cispo", low=0.2, high=0.28))


def test_sapo(tensors: dict[str, Tensor]) -> None:
    """``compute_policy_loss_sapo``."""
    total = torch.zeros(())
    for logp, old, advantage in rows_of(tensors):
        tau = 1.0 if advantage > 0 else 1.05
        gate = torch.sigmoid(tau * ((logp - old).exp() - 1)) * 4 / tau
        total = total - (gate * advantage).mean()
    compare(tensors, total / ROWS, ours(tensors, "sapo"))


def test_gmpo(tensors: dict[str, Tensor]) -> None:
    """``compute_policy_loss_geo_mean``: the geometric mean of ratios that are clipped on the side
    on which the objective would go on growing."""
    total = torch.zeros(())
    for logp, old, advantage in rows_of(tensors):
        sign = math.copysign(1.0, advantage)
        change = sign * (logp - old)
        bounded = sign * torch.min(change, sign * (logp - old).clamp(-0.4, 0.3))
        total = total - advantage * bounded.mean().exp()
    compare(tensors, total / ROWS, ours(tensors, "gmpo", low=0.4, high=0.3))


def test_clip_cov(tensors: dict[str, Tensor]) -> None:
    """``compute_policy_loss_clip_cov``: the chosen tokens lose their loss."""
    chosen = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    chosen[0, 2] = chosen[2, 4] = True
    total = torch.zeros(())
    for place, (logp, old, advantage) in enumerate(rows_of(tensors)):
        losses = clipped((logp - old).exp(), advantage, 0.2, 0.2)
        total = total + (losses * ~chosen[place, : len(logp)]).sum()
    found = ours(tensors | {"chosen": chosen}, "clip_cov")
    compare(tensors, total / tensors["mask"].sum(), found)


def test_kl_cov(tensors: dict[str, Tensor]) -> None:
    """``compute_policy_loss_kl_cov``: no clipping, and the chosen tokens pay for their change."""
    chosen = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    chosen[0, 2] = chosen[2, 4] = chosen[1, 6] = True  # the last one is padding
    total = torch.zeros(())
    for place, (logp, old, advantage) in enumerate(rows_of(tensors)):
        losses = -advantage * (logp - old).exp()
        penalty = 0.7 * (logp - old).abs()
        total = total + (losses + penalty * chosen[place, : len(logp)]).sum()
    found = ours(tensors | {"chosen": chosen}, "kl_cov", covariance_penalty=0.7)
    compare(tensors, total / tensors["mask"].sum(), found)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_estimators(estimator: str) -> None:
    """``kl_penalty_forward``; and against the KL itself: k1 and k3 are right on average, and of the
    gradients of the three only k2's is (arXiv 2510.01555); k1's is 0."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    reference = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0)
    logp = logits.log_softmax(0)
    exact = (logp.exp() * (logp - reference)).sum()
    each = estimated_kl(reference - logp, estimator)
    formulas = {
        "k1": logp - reference,
        "k2": 0.5 * (logp - reference) ** 2,
        "k3": (reference - logp).exp() - (reference - logp) - 1,
    }
    torch.testing.assert_close(each, formulas[estimator])
    mean = (logp.exp() * each).sum()
    assert (estimator == "k2") != (float(mean) == pytest.approx(float(exact), rel=1e-9))
    (true_gradient,) = torch.autograd.grad(exact, logits, retain_graph=True)
    sampled = (logp.detach().exp() * each).sum()  # tokens are sampled, their frequency is no path
    (gradient,) = torch.autograd.grad(sampled, logits)
    assert torch.allclose(gradient, true_gradient) == (estimator == "k2")
    assert torch.allclose(gradient, torch.zeros_like(gradient), atol=1e-12) == (estimator == "k1")
