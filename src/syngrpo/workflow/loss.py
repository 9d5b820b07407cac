"""The clipped policy-gradient loss over fresh and settled responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Variant = Literal["grpo", "dr_grpo", "dapo"]
Rows = Tensor | Sequence[Tensor]
"""Values per token: padded (R, T), or one (L,) tensor a response."""


@dataclass(frozen=True)
class Normaliser:
    """What the sum over tokens is divided by, counted over the *whole* optimisation step: all
    micro-batches of all processes. Then the losses of the parts add up to the loss of the whole.

    ``rows``: number of responses (``grpo``, ``dr_grpo``). Counting the fresh ones alone leaves
    their share of the gradient as it would be without settled descriptions, whose own weight is in
    their advantages. ``tokens``: number of tokens in the loss (``dapo``), counted alike.
    ``processes``: gradients are averaged over that many by DDP or FSDP, so each part is multiplied
    by it.
    """

    rows: int
    tokens: int
    processes: int = 1


@dataclass(frozen=True)
class LossOutput:
    """``loss`` is differentiable; the rest are detached sums over tokens, which callers may add up
    over micro-batches and processes before dividing."""

    loss: Tensor
    fresh_tokens: Tensor
    clipped_tokens: Tensor
    kl_sum: Tensor
    settled_tokens: Tensor
    truncated_tokens: Tensor

    @property
    def clip_fraction(self) -> float:
        """Share of fresh tokens whose gradient was cut off by the clipping."""
        return _ratio(self.clipped_tokens, self.fresh_tokens)

    @property
    def kl(self) -> float:
        """Mean over fresh tokens of the KL estimate; 0 without a reference."""
        return _ratio(self.kl_sum, self.fresh_tokens)

    @property
    def truncated_fraction(self) -> float:
        """Share of settled tokens whose importance ratio was truncated."""
        return _ratio(self.truncated_tokens, self.settled_tokens)


def policy_loss(
    logp: Rows,
    old_logp: Rows | None,
    advantages: Rows,
    mask: Rows,
    *,
    normaliser: Normaliser,
    variant: Variant = "grpo",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    max_completion_length: int | None = None,
    settled: Tensor | None = None,
    max_ratio: float = 2.0,
    ref_logp: Rows | None = None,
    beta: float | Rows = 0.0,
    sampling_logp: Rows | None = None,
    tis_cap: float = 2.0,
) -> LossOutput:
    """GRPO's loss in three normalisations, with importance-corrected rows of settled descriptions.

    With r = exp(logp − old_logp) per token, a *fresh* token's loss is the clipped surrogate
    −min(r·A, clip(r, 1 − clip_low, 1 + clip_high)·A) (PPO; clip_high > clip_low is DAPO's
    clip-higher, arXiv 2503.14476), plus β times the k3 estimate of KL(policy ‖ reference),
    exp(ref − logp) − (ref − logp) − 1.

    A *settled* token's loss is −w·A·exp(logp − sg(logp)) with w = min(r, max_ratio), detached (sg):
    its gradient is −w·A·∇logp, the policy gradient with a truncated importance weight (Espeholt
    et al. 2018, arXiv 1802.01561). Clipping would not do here: a response up to 64 policy versions
    old has left [1 − clip_low, 1 + clip_high] before this update begins, and the clip would drop
    exactly the tokens whose probability the policy has changed. The truncation bounds the variance
    instead, and a token that the policy has turned away from (r → 0) fades by itself. Settled rows
    have no KL term: the estimate holds for responses of the current policy.

    The tokens' losses are summed, each divided by

    - ``grpo``: tokens in its response × rows (mean over tokens, then over responses);
    - ``dr_grpo``: ``max_completion_length`` × rows (a constant, arXiv 2503.20783);
    - ``dapo``: tokens of the whole step.

    Args:
        logp: log-probabilities under the policy, with gradient.
        old_logp: the same when the response was sampled; None means the policy is still that one.
            Settled rows need the stored ones.
        advantages: per token, see ``advantages.span_credit`` and ``settled_credit``.
        mask: bool (or 0/1), the tokens in the loss. Whatever the other inputs hold elsewhere,
            infinities and NaN included, has no effect.
        settled: bool (R,), which rows are settled ones; None means none.
        ref_logp: under the reference; needed when ``beta`` is not 0.
        beta: one number, or one per token, see ``advantages.kl_weights``.
        sampling_logp: under the engine that sampled the fresh responses, when it computes other
            numbers than training does and ``old_logp`` is training's. Their loss (before KL) is
            weighted by min(exp(old_logp − sampling_logp), tis_cap). Settled rows ignore
            it: their ``old_logp`` is the sampler's already.

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
    ratio = log_ratio.exp()
    inside = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    clipped = ((ratio < 1.0 - clip_low) & (advantages < 0)) | (
        (ratio > 1.0 + clip_high) & (advantages > 0)
    )
    return -torch.min(ratio * advantages, inside * advantages), clipped


def _truncated_surrogate(
    logp: Tensor, old: Tensor, advantages: Tensor, stale: Tensor, max_ratio: float
) -> tuple[Tensor, Tensor]:
    log_ratio = (logp - old).detach().masked_fill(~stale, 0.0)
    limit = math.log(max_ratio)
    active = logp.masked_fill(~stale, 0.0)
    weight = log_ratio.clamp(max=limit).exp()
    return -weight * advantages * (active - active.detach()).exp(), log_ratio > limit


def _k3(log_ratio: Tensor) -> Tensor:
    """Schulman's unbiased, non-negative estimate of KL, from log(reference / policy)."""
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


def _padded(rows: Rows) -> Tensor:
    return rows if isinstance(rows, Tensor) else pad_sequence(list(rows), batch_first=True)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part) / max(float(whole), 1.0)
