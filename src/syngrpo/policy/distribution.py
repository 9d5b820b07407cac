"""Computes the distribution over next tokens, for sampling and for training.

Logits are divided by the temperature, banned tokens get probability 0, and the rest is normalised.
Sampling and training both use this module, so an unchanged policy has importance ratio 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

LOGITS_BYTES = 2**28
"""Default for the bytes of float32 logits that scoring holds at once."""


def scaled_logits(
    head: Any, hidden: torch.Tensor, banned: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return float32 (N, V) logits of hidden states (N, d); a temperature of 0 counts as 1."""
    logits = head(hidden).float()
    # In place, because (N, V) is the largest tensor of a pass.
    if temperature not in (0.0, 1.0):
        logits.div_(temperature)
    # The smallest finite number, so that p·log p of a banned token is 0 and not NaN.
    return logits.index_fill_(-1, banned, torch.finfo(torch.float32).min)


def normalised(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return probabilities (N, V) of logits (N, V), and log Σ exp(logits) (N,)."""
    total = logits.logsumexp(-1)
    return (logits - total[:, None]).exp(), total


def picked(logits: torch.Tensor, tokens: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """Return log p(token) (N,) of tokens (N,), given ``normalised``'s second result."""
    return logits.gather(-1, tokens[:, None])[:, 0] - total


def entropy(logits: torch.Tensor, probabilities: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """Return the entropy in nats (N,), given the results of ``normalised``."""
    return total - (probabilities * logits).sum(-1)


def logprobs_and_entropy(
    logits: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log p(token) (N,) and entropy in nats (N,) of logits (N, V) and tokens (N,)."""
    probabilities, total = normalised(logits)
    return picked(logits, tokens, total), entropy(logits, probabilities, total)


def score_tokens(
    head: Any,
    hidden: torch.Tensor,
    tokens: torch.Tensor,
    banned: torch.Tensor,
    temperature: float,
    logits_bytes: int = LOGITS_BYTES,
    with_entropy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return log p (N,) of tokens (N,), given hidden states (N, d), and with ``with_entropy`` the
    entropy in nats (N,). Differentiable.

    The logits (N, V) are never in memory as a whole. They are computed in chunks of at most
    ``logits_bytes`` of float32 logits (at least one token), and again, chunk by chunk, in the
    backward pass. A chunk and the tensors derived from it take about three times ``logits_bytes``,
    with the entropy four times. A single chunk is kept for the backward pass instead.
    """

    def score(states: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = scaled_logits(head, states, banned, temperature)
        if with_entropy:
            return logprobs_and_entropy(logits, chosen)
        return (picked(logits, chosen, logits.logsumexp(-1)),)

    size = max(1, logits_bytes // (4 * head.out_features))
    if len(tokens) <= size:
        scored = score(hidden, tokens)
    else:
        parts = [
            checkpoint(score, states, chosen, use_reentrant=False, preserve_rng_state=False)
            for states, chosen in zip(hidden.split(size), tokens.split(size), strict=True)
        ]
        scored = tuple(torch.cat(values) for values in zip(*parts, strict=True))
    return scored[0], scored[1] if with_entropy else None
