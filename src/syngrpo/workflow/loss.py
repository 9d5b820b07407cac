"""The loss of an update, computed from plain tensors.

``learner`` calls ``policy_loss`` for each micro-batch. The loss is a sum over the tokens of two
kinds of responses:

- A *fresh* response was sampled in this step. ``surrogates`` computes the loss of its tokens, by
  the form that ``method.loss`` names: for ``grpo`` the clipped surrogate −min(r·A, clip(r)·A) with
  r = exp(logp − old_logp) and the advantage A of the token. Added are β times the estimate of
  KL(policy ‖ reference), and the entropy bonus.
- A *settled* response was sampled earlier, and its description got its reward in this step. Its
  token's loss is −w·A·exp(logp − sg(logp)) with w = min(r, max_ratio), detached (sg): its gradient
  is −w·A·∇logp, the policy gradient with a truncated importance weight (Espeholt et al. 2018, arXiv
  1802.01561). Such a response is up to 64 policy versions old: its ratio may be outside of
  [1 − clip_low, 1 + clip_high] before this update begins, and clipping would remove the gradient of
  exactly the tokens whose probability has changed. Truncation bounds the variance instead. A token
  that the policy hardly writes any more (r → 0) gets a weight near 0. There is no KL term: the
  estimate holds for responses of the current policy.

``LossRule`` holds the constants of this sum. The form of the loss also says what each token is
divided by, and ``Normaliser`` holds the numbers for that. They are counted over the whole step, so
that the losses of all micro-batches and processes add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from syngrpo.workflow.surrogates import (
    LossRule,
    estimated_kl,
    fresh_surrogate,
    off_policy_tokens,
)

TokenValues = Tensor | Sequence[Tensor]
"""One value for each token: a padded tensor (R, T), or one tensor (L,) for each response."""


@dataclass(frozen=True)
class Normaliser:
    """The divisors of the loss, counted over the *whole* optimisation step: over all micro-batches
    of all processes. So the losses of the micro-batches add up to the loss of the step.

    ``rows``: number of fresh responses. Settled ones do not count, so that they do not weaken the
    gradient of the fresh ones; their own weight is in their advantages. ``tokens``: number of
    tokens of fresh responses in the loss. ``local_tokens``: those of this process × the number of
    processes (``bnpo``); None: ``tokens``. ``of_settled``: the divisors of settled responses, if
    groups are left out of the others; None: the same.
    """

    rows: int
    tokens: int
    local_tokens: int | None = None
    of_settled: Normaliser | None = None


@dataclass(frozen=True)
class LossOutput:
    """The differentiable loss of one micro-batch, and detached sums over its tokens. These can be
    added up over micro-batches and processes."""

    loss: Tensor
    fresh_tokens: Tensor
    clipped_tokens: Tensor
    kl_tokens: Tensor
    kl_sum: Tensor
    settled_tokens: Tensor
    truncated_tokens: Tensor
    off_policy_tokens: Tensor
    entropy_sum: Tensor

    @property
    def clip_fraction(self) -> float:
        """The share of fresh tokens whose gradient is 0, or bounded, because of the clipping."""
        return _ratio(self.clipped_tokens, self.fresh_tokens)

    @property
    def kl(self) -> float:
        """The mean of the KL estimate over the fresh tokens at which it has a weight, in nats; 0
        if there are none."""
        return _ratio(self.kl_sum, self.kl_tokens)

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
    rule: LossRule,
    normaliser: Normaliser,
    settled: Tensor | None = None,
    ref_logp: TokenValues | None = None,
    beta: float | TokenValues = 0.0,
    sampling_logp: TokenValues | None = None,
    chosen: TokenValues | None = None,
    entropy: TokenValues | None = None,
    entropy_weight: float = 0.0,
) -> LossOutput:
    """Compute the loss of one micro-batch of responses, one in each row (R).

    ``logp`` are the log-probabilities under the policy, with gradient, and ``old_logp`` those under
    the policy that sampled the responses; None means that it has not changed since. Settled rows
    need them. ``mask`` is true for the tokens in the loss; the other inputs may have any value at
    other tokens, also infinite or NaN. ``settled`` (R,) says which rows are settled ones.

    ``beta``, the weight of the KL term, is one number, or one for each token; unless it is 0 it
    needs ``ref_logp``. ``sampling_logp`` were computed by the engine that sampled the fresh
    responses, where training computed ``old_logp`` and may differ: the loss of each token (before
    KL) is weighted by min(exp(old_logp − sampling_logp), tis_cap), truncated importance sampling
    (TIS), or as ``rule.importance`` says. Settled rows ignore it: their ``old_logp`` is the
    engine's. ``chosen`` are the tokens that a loss with the part ``chosen`` treats apart. The mean
    of ``entropy``, with gradient, over the fresh tokens of the step is subtracted with
    ``entropy_weight``.

    Raises ValueError for a missing argument.
    """
    mask = _padded(mask).bool()
    logp = _padded(logp).masked_fill(~mask, 0.0)
    advantages = _padded(advantages).masked_fill(~mask, 0.0)
    fresh_rows = _fresh_rows(settled, logp)
    old = _old(old_logp, logp, fresh_rows)
    fresh, stale = mask & fresh_rows, mask & ~fresh_rows
    sampling = None if sampling_logp is None else _padded(sampling_logp)
    apart = None if chosen is None else _padded(chosen).bool() & fresh
    surrogate, clipped = fresh_surrogate(logp, old, advantages, fresh, rule, apart)
    left_out = _left_out(logp, old if sampling is None else sampling, advantages, fresh, rule)
    surrogate = surrogate.masked_fill(left_out, 0.0)
    if sampling is not None:
        weight = _importance(old, sampling, fresh, rule)
        surrogate = surrogate * weight
        left_out = left_out | ((weight == 0) & fresh)
    truncated, cut = _truncated_surrogate(logp, old, advantages, stale, rule.max_ratio)
    kl, weights = _kl(logp, ref_logp, beta, fresh, rule)
    per_token = torch.where(fresh_rows, surrogate, truncated) + weights * kl
    divisor = _divisor(rule, mask, normaliser)
    if normaliser.of_settled is not None:
        divisor = torch.where(fresh_rows, divisor, _divisor(rule, mask, normaliser.of_settled))
    divided = per_token.masked_fill(~mask, 0.0) / divisor
    spread = _spread(entropy, fresh)
    bonus = entropy_weight * spread / max(normaliser.tokens, 1)
    return LossOutput(
        loss=divided.sum() - bonus,
        fresh_tokens=fresh.sum(),
        clipped_tokens=(clipped & fresh).sum(),
        kl_tokens=(weights != 0).sum(),
        kl_sum=kl.detach().sum(),
        settled_tokens=stale.sum(),
        truncated_tokens=(cut & stale).sum(),
        off_policy_tokens=left_out.sum(),
        entropy_sum=spread.detach(),
    )


def _left_out(
    logp: Tensor, sampling: Tensor, advantages: Tensor, fresh: Tensor, rule: LossRule
) -> Tensor:
    if rule.off_policy_threshold is None:
        return torch.zeros_like(fresh)
    return off_policy_tokens(logp, sampling, advantages, fresh, rule.off_policy_threshold)


def _spread(entropy: TokenValues | None, fresh: Tensor) -> Tensor:
    """Return the sum of the entropies of the fresh tokens; 0 if they were not computed."""
    if entropy is None:
        return torch.zeros((), device=fresh.device)
    return _padded(entropy).masked_fill(~fresh, 0.0).sum()


def _importance(old: Tensor, sampling: Tensor, fresh: Tensor, rule: LossRule) -> Tensor:
    """Return the weights of fresh tokens: exp(old − sampling) of the token or of its response, cut
    to ``tis_cap``, or 0 above it."""
    gap = (old - sampling).detach().masked_fill(~fresh, 0.0)
    unit, _, what = rule.importance.partition("-")
    if unit == "response":
        gap = gap.sum(dim=-1, keepdim=True).expand_as(gap)
    weight = gap.exp()
    if what == "mask":
        return weight.masked_fill(weight > rule.tis_cap, 0.0)
    return weight.clamp(max=rule.tis_cap)


def _truncated_surrogate(
    logp: Tensor, old: Tensor, advantages: Tensor, stale: Tensor, max_ratio: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of settled tokens, and which tokens have a ratio above ``max_ratio``."""
    log_ratio = (logp - old).detach().masked_fill(~stale, 0.0)
    limit = math.log(max_ratio)
    active = logp.masked_fill(~stale, 0.0)
    weight = log_ratio.clamp(max=limit).exp()
    return -weight * advantages * (active - active.detach()).exp(), log_ratio > limit


def _kl(
    logp: Tensor,
    ref_logp: TokenValues | None,
    beta: float | TokenValues,
    fresh: Tensor,
    rule: LossRule,
) -> tuple[Tensor, Tensor]:
    """Return the estimate of the KL at fresh tokens, and its weight there. Both are 0 at other
    tokens, and where beta is 0."""
    if isinstance(beta, int | float) and beta == 0:
        return torch.zeros_like(logp), torch.zeros_like(logp)
    if ref_logp is None:
        raise ValueError(f"beta is {beta} but there are no reference log-probabilities")
    given = torch.full_like(logp, beta) if isinstance(beta, int | float) else _padded(beta)
    weights = given.masked_fill(~fresh, 0.0)
    log_ratio = (_padded(ref_logp) - logp).masked_fill(weights == 0, 0.0)
    return estimated_kl(log_ratio, rule.kl_estimator), weights


def _divisor(rule: LossRule, mask: Tensor, normaliser: Normaliser) -> Tensor | int:
    rows, divisor = max(normaliser.rows, 1), rule.form.divisor
    if divisor == "responses":
        return mask.sum(dim=-1, keepdim=True).clamp_min(1) * rows
    if divisor == "constant":
        if rule.max_length is None:
            raise ValueError("the divisor of this loss is a constant, and needs max_length")
        return rows * rule.max_length
    if divisor == "local_tokens" and normaliser.local_tokens is not None:
        return max(normaliser.local_tokens, 1)
    return max(normaliser.tokens, 1)


def _old(old_logp: TokenValues | None, logp: Tensor, fresh_rows: Tensor) -> Tensor:
    if old_logp is not None:
        return _padded(old_logp)
    if not fresh_rows.all():
        raise ValueError("settled rows need old_logp, the log-probabilities they were sampled with")
    return logp.detach()


def _fresh_rows(settled: Tensor | None, logp: Tensor) -> Tensor:
    if settled is None:
        return torch.ones(logp.shape[0], 1, dtype=torch.bool, device=logp.device)
    return ~settled.to(logp.device, torch.bool).unsqueeze(1)


def _padded(values: TokenValues) -> Tensor:
    return values if isinstance(values, Tensor) else pad_sequence(list(values), batch_first=True)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part) / max(float(whole), 1.0)
