"""The loss of each token of a fresh response, by the parts that ``method.losses`` names.

``fresh_surrogate`` measures the policy's change (``ratio``), applies the objective to it, and
treats the chosen tokens apart. ``off_policy_tokens`` finds tokens that are left out. ``loss`` calls
both for each micro-batch, and divides and sums the result.

Everything is (R, T). Tokens outside of ``fresh`` must have the log-probability and the advantage 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from syngrpo.method.losses import LOSSES, KlEstimator, LossForm, Objective
from syngrpo.rollout.rollout_options import Importance


@dataclass(frozen=True)
class LossRule:
    """The form of the loss and its constants, as in the options of the same names.

    ``low`` and ``high`` bound the ratio: it is clipped to [1 − low, 1 + high], by the geometric
    objective to [exp(−low), exp(high)]; None is no bound. ``max_length`` is the divisor of the form
    ``constant``. ``max_ratio`` bounds the weights of settled tokens, ``tis_cap`` the weight that
    corrects for the sampling engine, in the way that ``importance`` says.
    """

    form: LossForm = LOSSES["grpo"]
    low: float | None = 0.2
    high: float | None = 0.2
    dual_clip: float | None = None
    tau_positive: float = 1.0
    tau_negative: float = 1.05
    covariance_penalty: float = 1.0
    off_policy_threshold: float | None = None
    kl_estimator: KlEstimator = "k3"
    max_length: int | None = None
    max_ratio: float = 2.0
    tis_cap: float = 2.0
    importance: Importance = "token-truncate"


def fresh_surrogate(
    logp: Tensor,
    old: Tensor,
    advantages: Tensor,
    fresh: Tensor,
    rule: LossRule,
    chosen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the loss of fresh tokens, and which of them are clipped.

    Clipped tokens have no gradient, or one that is bounded (``truncate``). Raises ValueError
    without ``chosen``, the tokens that are treated apart, if the form of the loss needs them.
    """
    change = (logp - old).masked_fill(~fresh, 0.0)
    loss, clipped = _OBJECTIVES[rule.form.objective](logp, change, advantages, fresh, rule)
    if rule.form.chosen is None:
        return loss, clipped
    if chosen is None:
        raise ValueError("this loss needs the chosen tokens")
    if rule.form.chosen == "cut":
        return loss.masked_fill(chosen, 0.0), clipped | chosen
    held = (rule.covariance_penalty * change.abs()).masked_fill(~chosen, 0.0)
    return loss + held, clipped


def off_policy_tokens(
    logp: Tensor, sampling: Tensor, advantages: Tensor, fresh: Tensor, threshold: float
) -> Tensor:
    """Return the tokens that off-policy masking leaves out (DeepSeek-V3.2, arXiv 2512.02556):
    those with a negative advantage in responses of which the policy has moved away, by more than
    ``threshold`` nats a token on average."""
    fallen = _mean((sampling - logp).detach().masked_fill(~fresh, 0.0), fresh)
    return fresh & (advantages < 0) & (fallen > threshold)


def estimated_kl(log_ratio: Tensor, estimator: KlEstimator) -> Tensor:
    """Return Schulman's estimate of KL(policy ‖ reference), from log p_reference − log p of sampled
    tokens. k1 and k3 are unbiased, k2 and k3 are never negative."""
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    return log_ratio.exp() - log_ratio - 1.0


def _mean(values: Tensor, fresh: Tensor) -> Tensor:
    """Return the mean over the fresh tokens of each row, (R, 1)."""
    return values.sum(-1, keepdim=True) / fresh.sum(-1, keepdim=True).clamp_min(1)


def _with_gradient_of(values: Tensor, own: Tensor) -> Tensor:
    """Return ``values`` with the gradient of ``own``."""
    return values.detach() + own - own.detach()


def _clip(
    logp: Tensor, change: Tensor, advantages: Tensor, fresh: Tensor, rule: LossRule
) -> tuple[Tensor, Tensor]:
    """PPO's clipped objective (arXiv 1707.06347), bounded on the other side by ``dual_clip`` (arXiv
    1912.09729), of each token's ratio or of the response's (GSPO, arXiv 2507.18071)."""
    if rule.form.ratio == "sequence":
        change = _mean(change, fresh).expand_as(change)
    elif rule.form.ratio == "sequence_token":
        change = _with_gradient_of(_mean(change, fresh), logp)
    ratio = change.exp()
    low, high = _bounds(rule)
    clipped = ((ratio < low) & (advantages < 0)) | ((ratio > high) & (advantages > 0))
    bounded = ratio
    if rule.dual_clip is not None:
        bounded = ratio.clamp(max=rule.dual_clip)
        clipped = clipped | ((ratio > rule.dual_clip) & (advantages < 0))
    return -torch.min(bounded * advantages, ratio.clamp(low, high) * advantages), clipped


def _truncate(
    logp: Tensor, change: Tensor, advantages: Tensor, fresh: Tensor, rule: LossRule
) -> tuple[Tensor, Tensor]:
    """The policy gradient with a truncated weight, in which every token keeps a gradient (CISPO,
    arXiv 2506.13585)."""
    ratio = change.detach().exp()
    weight = ratio.clamp(*_bounds(rule))
    return -weight * advantages * logp, weight != ratio


def _soft(
    logp: Tensor, change: Tensor, advantages: Tensor, fresh: Tensor, rule: LossRule
) -> tuple[Tensor, Tensor]:
    """A smooth gate in place of clipping (SAPO, arXiv 2511.20347)."""
    tau = torch.full_like(advantages, rule.tau_negative)
    tau = tau.masked_fill(advantages > 0, rule.tau_positive)
    gate = torch.sigmoid(tau * (change.exp() - 1.0)) * 4.0 / tau
    return -gate * advantages, torch.zeros_like(fresh)


def _geometric(
    logp: Tensor, change: Tensor, advantages: Tensor, fresh: Tensor, rule: LossRule
) -> tuple[Tensor, Tensor]:
    """The geometric mean of the clipped ratios of a response (GMPO, arXiv 2507.20673).

    Each token has the value of the mean and its own part of the gradient, multiplied by its own
    advantage. Summed over a response with one advantage this is GMPO's gradient.
    """
    low = -math.inf if rule.low is None else -rule.low
    high = math.inf if rule.high is None else rule.high
    clipped = ((change < low) & (advantages < 0)) | ((change > high) & (advantages > 0))
    bounded = torch.where(clipped, change.clamp(low, high), change)
    mean = _with_gradient_of(_mean(bounded, fresh), bounded)
    return -mean.exp() * advantages, clipped


def _plain(
    logp: Tensor, change: Tensor, advantages: Tensor, fresh: Tensor, rule: LossRule
) -> tuple[Tensor, Tensor]:
    """The policy gradient with the whole importance weight."""
    return -change.exp() * advantages, torch.zeros_like(fresh)


_Compute = Callable[[Tensor, Tensor, Tensor, Tensor, LossRule], tuple[Tensor, Tensor]]
_OBJECTIVES: dict[Objective, _Compute] = {
    "clip": _clip,
    "truncate": _truncate,
    "soft": _soft,
    "geometric": _geometric,
    "plain": _plain,
}


def _bounds(rule: LossRule) -> tuple[float, float]:
    return (
        0.0 if rule.low is None else 1.0 - rule.low,
        math.inf if rule.high is None else 1.0 + rule.high,
    )
