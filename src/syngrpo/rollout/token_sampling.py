"""Samples the next token from a row of logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from syngrpo.policy.distribution import entropy, normalised, picked
from syngrpo.policy.encode import Prompt


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled, and how many at most.

    ``temperature`` 0 always takes the most probable token. ``top_p`` < 1 samples only from the
    smallest set of tokens that together have this probability; reported log-probabilities stay
    those of the full distribution. ``stop_at``: a response ends with the token that completes this
    text, except the first ``Prompt.going_on`` responses to each prompt; None: no such text. Raises
    ValueError for impossible values.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    stop_at: str | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_new_tokens < 1:
            raise ValueError(f"impossible sampling parameters: {self}")
        if self.stop_at == "":
            raise ValueError(f"impossible sampling parameters: {self}")

    def stops(self, prompt: Prompt, place: int) -> str | None:
        """Return the text that ends response number ``place`` to a prompt; None: no text does."""
        return self.stop_at if place >= prompt.going_on else None


def choose(
    logits: torch.Tensor, sampling: Sampling, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sample one token a row; return (R,) token ids, log-probabilities and entropies in nats.

    ``logits`` float32 (R, V) are already divided by the temperature and without banned tokens;
    ``uniform`` float32 (R,) in [0, 1) is looked up in the cumulative distribution of its row. So
    the token of a row depends only on its own logits and its own random number.
    """
    probabilities, total = normalised(logits)
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
    else:
        weights = probabilities
        if sampling.top_p < 1:
            weights = _nucleus(weights, sampling.top_p)
        # float64, so that rounding gives no probability to a banned token, whatever the order in
        # which the device adds.
        cumulative = weights.cumsum(-1, dtype=torch.float64)
        # Below the total, because uniform < 1, so that a token of weight 0 is never chosen.
        goal = uniform[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, goal, right=True)[:, 0]
        tokens.clamp_(max=logits.shape[-1] - 1)  # NaN leads beyond: ``base.require_finite``
    return tokens, picked(logits, tokens, total), entropy(logits, probabilities, total)


def _nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Set to 0 all but the most probable tokens that together reach ``top_p`` (at least one)."""
    ordered, order = weights.sort(-1, descending=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return torch.zeros_like(weights).scatter(-1, order, ordered.masked_fill(outside, 0.0))


def draw_uniforms(seeds: list[int], group_size: int, steps: int) -> torch.Tensor:
    """Draw float32 (steps, len(seeds) · group_size) in [0, 1), each prompt from its own seed."""
    draws = [
        torch.rand(steps, group_size, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.cat(draws, dim=1)
