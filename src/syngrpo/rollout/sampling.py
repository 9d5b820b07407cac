"""How the next token is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from syngrpo.policy.distribution import entropy, normalised, picked


@dataclass(frozen=True)
class Sampling:
    """``temperature`` 0 is greedy. ``top_p`` < 1 samples only from the smallest set of tokens
    that holds this probability; reported log-probabilities stay those of the full distribution.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_new_tokens < 1:
            raise ValueError(f"impossible sampling parameters: {self}")


def choose(
    logits: torch.Tensor, sampling: Sampling, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One token a row: (R,) ids, log-probabilities and entropies.

    ``logits`` float32 (R, V) are scaled and banned; ``uniform`` float32 (R,) in [0, 1) is all the
    randomness there is (inverse of the cumulative distribution), so a row's token depends on
    nothing but its own logits and number.
    """
    probabilities, total = normalised(logits)
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
    else:
        weights = probabilities
        if sampling.top_p < 1:
            weights = _nucleus(weights, sampling.top_p)
        # float64: in whatever order a device adds, no rounding gives a banned token a share.
        cumulative = weights.cumsum(-1, dtype=torch.float64)
        # Strictly below the total (uniform < 1), so a token without weight is never hit.
        goal = uniform[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, goal, right=True)[:, 0]
    return tokens, picked(logits, tokens, total), entropy(logits, probabilities, total)


def _nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zeroes all but the most probable tokens that together reach ``top_p`` (at least one)."""
    ordered, order = weights.sort(-1, descending=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return torch.zeros_like(weights).scatter(-1, order, ordered.masked_fill(outside, 0.0))


def draw_uniforms(seeds: list[int], group_size: int, steps: int) -> torch.Tensor:
    """float32 (steps, len(seeds) · group_size) in [0, 1): every prompt has its own generator."""
    draws = [
        torch.rand(steps, group_size, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.cat(draws, dim=1)
