"""The one distribution over next tokens that sampling and training share.

Logits are divided by the temperature, banned tokens are ruled out, then normalised; so an unchanged
policy has importance ratio 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 2**26
"""Logits held at once while scoring; beyond that, chunks are recomputed in the backward pass."""


def scaled_logits(
    head: Any, hidden: torch.Tensor, banned: torch.Tensor, temperature: float
) -> torch.Tensor:
    """float32 (N, V) from hidden states (N, d); a temperature of 0 (greedy) counts as 1."""
    logits = head(hidden).float()
    if temperature not in (0.0, 1.0):
        logits = logits / temperature
    # Finite, so that the entropy's p·log p of a banned token is 0 and not NaN.
    return logits.index_fill(-1, banned, torch.finfo(torch.float32).min)


def logprobs_and_entropy(
    logits: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(token) (N,) and entropy in nats (N,) from logits (N, V) and tokens (N,)."""
    total = logits.logsumexp(-1)
    probabilities = (logits - total[:, None]).exp()
    entropy = total - (probabilities * logits).sum(-1)
    return logits.gather(-1, tokens[:, None])[:, 0] - total, entropy


def score_tokens(
    head: Any,
    hidden: torch.Tensor,
    tokens: torch.Tensor,
    banned: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Differentiable log p (N,) and entropy (N,) of tokens (N,) given hidden states (N, d)."""

    def score(states: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return logprobs_and_entropy(scaled_logits(head, states, banned, temperature), chosen)

    size = max(1, CHUNK_ELEMENTS // head.out_features)
    if len(tokens) <= size:
        return score(hidden, tokens)
    parts = [
        checkpoint(score, states, chosen, use_reentrant=False)
        for states, chosen in zip(hidden.split(size), tokens.split(size), strict=True)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
