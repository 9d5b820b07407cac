"""The loss of an update, computed from plain tensors.

``policy_loss`` computes the loss of one micro-batch: the clipped policy gradient of *fresh*
responses, which were sampled in this step, with a KL term; and the truncated policy gradient of
*settled* responses, which were sampled earlier and whose description got its reward in this step.
``Normaliser`` holds the numbers by which the sum over tokens is divided. They are counted over the
whole step, so that the losses of all micro-batches and processes add up. ``learner`` calls this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Variant = Literal["grpo", "dr_grpo", "dapo"]
TokenValues = Tensor | Sequence[Tensor]
"""One value for each token: a padded tensor (R, T), or one tensor (L,) for each response."""


@dataclass(frozen=True)
class Normaliser:
    """The divisors of the loss, counted over the *whole* optimisation step: over all micro-batches
    of all processes. So the losses of the micro-batches add up to the loss of the step.

    ``rows``: number of fresh responses (``grpo``, ``dr_grpo``). Settled ones do not count, so that
    they do not weaken the gradient of the fresh ones; their own weight is in their advantages.
    ``tokens``: number of tokens of fresh responses in the loss (``dapo``). ``processes``: factor of
    the loss, for trainers that average gradients over this many processes (DDP); 1 where they are
    summed.
    """

    rows: int
    tokens: int
    processes: int = 1


@dataclass(frozen=True)
class LossOutput:
    """The differentiable loss of one micro-batch, and detached sums over its tokens. These can be
    added up over micro-batches and processes."""

    loss: Tensor
    fresh_tokens: Tensor
    clipped_tokens: Tensor
    kl_sum: Tensor
    settled_tokens: Tensor
    truncated_tokens: Tensor

    @property
    def clip_fraction(self) -> float:
        """The share of fresh tokens whose gradient is 0 because of the clipping."""
        return _ratio(self.clipped_tokens, self.fresh_tokens)

    @property
    def kl(self) -> float:
        """The mean of the KL estimate over fresh tokens, in nats; 0 without a reference."""
        return _ratio(self.kl_sum, self.fresh_tokens)

    @property
    def truncated_fraction(self) -> float:
        """The share of settled tokens whose importance ratio was above ``max_ratio``."""
        return _ratio(self.truncated_tokens, self.settled_tokens)


def policy_loss(
    logp: TokenValues,
    old_logp: TokenValues | None,
    advantages: TokenValues,
    mask: TokenValues,
    *,
    normaliser: Normaliser,
    variant: Variant = "grpo",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    max_completion_length: int | None = None,
    settled: Tensor | None = None,
    max_ratio: float = 2.0,
    ref_logp: TokenValues | None = None,
    beta: float | TokenValues = 0.0,
    sampling_logp: TokenValues | None = None,
    tis_cap: float = 2.0,
) -> LossOutput:
    """Compute GRPO's loss, in one of three normalisations, over fresh and settled responses.

    With r = exp(logp − old_logp) per token, a *fresh* token's loss is the clipped surrogate
    −min(r·A, clip(r, 1 − clip_low, 1 + clip_high)·A) (PPO; clip_high > clip_low is DAPO's
    clip-higher, arXiv 2503.14476), plus β times the k3 estimate of KL(policy ‖ reference),
    exp(ref − logp) − (ref − logp) − 1.

    A *settled* token's loss is −w·A·exp(logp − sg(logp)) with w = min(r, max_ratio), detached (sg):
    its gradient is −w·A·∇logp, the policy gradient with a truncated importance weight (Espeholt et
    al. 2018, arXiv 1802.01561). Such a response is up to 64 policy versions old: its ratio may be
    outside of [1 − clip_low, 1 + clip_high] before this update begins, and clipping would remove
    the gradient of exactly the tokens whose probability has changed. Truncation bounds the variance
    instead. A token that the policy hardly writes any more (r → 0) gets a weight near 0. Settled
    rows have no KL term: the estimate holds for responses of the current policy.

    The tokens' losses are summed, each divided by

    - ``grpo``: tokens in its response × rows (mean over tokens, then over responses);
    - ``dr_grpo``: ``max_completion_length`` × rows (a constant, arXiv 2503.20783);
    - ``dapo``: tokens of the whole step.

    Args:
        logp: log-probabilities under the policy, with gradient.
        old_logp: log-probabilities under the policy that sampled the responses. None means that the
            policy has not changed since. Settled rows need the stored log-probabilities.
        advantages: one for each token.
        mask: bool (or 0/1), the tokens in the loss. The other inputs may have any value at other
            tokens, also infinite or NaN.
        settled: bool (R,), which rows are settled ones; None means none.
        ref_logp: log-probabilities under the reference; needed when ``beta`` is not 0.
        beta: weight of the KL term: one number, or one for each token.
        sampling_logp: log-probabilities computed by the engine that sampled the fresh responses,
            where ``old_logp`` was computed by training and may differ. Each token's loss
            (before KL) is then weighted by min(exp(old_logp − sampling_logp), tis_cap), truncated
            importance sampling (TIS). Settled rows ignore it: their ``old_logp`` is the engine's.

    Raises ValueError for an unknown variant or a missing argument.
    """
    logp, mask, advantages = _padded(logp), _padded(mask).bool(), _padded(advantages)
    fresh_rows = _fresh_rows(settled, logp)
    if old_logp is None and not fresh_rows.all():
        raise ValueError("settled rows need old_logp, the log-probabilities they were sampled with")
    old = logp.detach() if old_logp is None else _padded(old_logp)
    fresh, stale = mask & fresh_rows, mask & ~fresh_rows

    log_ratio = (logp - old).masked_fill(~fresh, 0.0)
    surrogate, clipped = _clipped_surrogate(log_ratio, advantages, clip_low, clip_high)
    if sampling_logp is not None:
        gap = (old - _padded(sampling_logp)).detach().masked_fill(~fresh, 0.0)
        surrogate = surrogate * gap.exp().clamp(max=tis_cap)
    truncated, cut = _truncated_surrogate(logp, old, advantages, stale, max_ratio)
    per_token = torch.where(fresh_rows, surrogate, truncated)

    kl = torch.zeros_like(log_ratio)
    kl_weights = beta if isinstance(beta, int | float) else _padded(beta)
    if isinstance(kl_weights, Tensor) or kl_weights != 0:
        if ref_logp is None:
            raise ValueError(f"beta is {beta} but there are no reference log-probabilities")
        kl = _k3((_padded(ref_logp) - logp).masked_fill(~fresh, 0.0))
        per_token = per_token + kl_weights * kl

    divisor = _divisor(variant, mask, normaliser, max_completion_length)
    loss = (per_token.masked_fill(~mask, 0.0) / divisor).sum() * normaliser.processes
    return LossOutput(
        loss=loss,
        fresh_tokens=fresh.sum(),
        clipped_tokens=(clipped & fresh).sum(),
        kl_sum=kl.detach().sum(),
        settled_tokens=stale.sum(),
        truncated_tokens=(cut & stale).sum(),
    )


def _clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of fresh tokens, and which of them are clipped and have no gradient."""
    ratio = log_ratio.exp()
    inside = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    clipped = ((ratio < 1.0 - clip_low) & (advantages < 0)) | (
        (ratio > 1.0 + clip_high) & (advantages > 0)
    )
    return -torch.min(ratio * advantages, inside * advantages), clipped


def _truncated_surrogate(
    logp: Tensor, old: Tensor, advantages: Tensor, stale: Tensor, max_ratio: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of settled tokens, and which tokens have a ratio above ``max_ratio``."""
    log_ratio = (logp - old).detach().masked_fill(~stale, 0.0)
    limit = math.log(max_ratio)
    active = logp.masked_fill(~stale, 0.0)
    weight = log_ratio.clamp(max=limit).exp()
    return -weight * advantages * (active - active.detach()).exp(), log_ratio > limit


def _k3(log_ratio: Tensor) -> Tensor:
    """Return Schulman's k3 estimate of the KL from log(reference / policy). It is unbiased and
    never negative."""
    return log_ratio.exp() - log_ratio - 1.0


def _divisor(
    variant: str, mask: Tensor, normaliser: Normaliser, max_completion_length: int | None
) -> Tensor | int:
    if variant == "grpo":
        return mask.sum(dim=-1, keepdim=True).clamp_min(1) * max(normaliser.rows, 1)
    if variant == "dr_grpo":
        if max_completion_length is None:
            raise ValueError("the loss variant dr_grpo needs max_completion_length")
        return max(normaliser.rows, 1) * max_completion_length
    if variant == "dapo":
        return max(normaliser.tokens, 1)
    raise ValueError(f"unknown loss variant {variant!r}; choose grpo, dr_grpo or dapo")


def _fresh_rows(settled: Tensor | None, logp: Tensor) -> Tensor:
    if settled is None:
        return torch.ones(logp.shape[0], 1, dtype=torch.bool, device=logp.device)
    return ~settled.to(logp.device, torch.bool).unsqueeze(1)


def _padded(values: TokenValues) -> Tensor:
    return values if isinstance(values, Tensor) else pad_sequence(list(values), batch_first=True)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part) / max(float(whole), 1.0)
