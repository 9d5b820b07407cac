"""Keeps the forward pass over the prompts from sampling until the first update.

Both need the keys and values of the prompts, under the same weights. So the native rollout computes
them once, with their graph; samples from copies without it; and the update goes on from a
``KeptPrompt``. Micro-batches add up their gradients at its leaves, and when all are done
``backward`` takes the sums through the pass over the prompts, once.

    keep        the rollout calls it after its pass over the prompts
    worth       the learner calls it before an update, ``backward`` after the last micro-batch
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

Pair = tuple[torch.Tensor, torch.Tensor]

LEAST_USED = 2 / 3
"""Share of the tokens of a pass from which going on from it costs less than computing the prompts
with a signal again: the backward pass over all tokens costs about two forward passes, and a forward
and a backward pass over the share costs three times the share."""


@dataclass(frozen=True, eq=False)
class KeptPass:
    """One forward pass over ``tokens`` tokens of several prompts."""

    tokens: int


@dataclass(frozen=True, eq=False)
class KeptPrompt:
    """One prompt of P tokens in a pass that was kept.

    ``layers`` are its keys and values, (P, kv_heads, d) each, and ``state`` (d,) is the hidden
    state that predicts the first token of a response; all are leaves that gather gradients.
    ``start`` is the rotary position at which continuations begin.
    """

    of: KeptPass
    start: int
    state: torch.Tensor
    layers: list[Pair]
    outputs: list[torch.Tensor]

    @property
    def length(self) -> int:
        return len(self.layers[0][0])

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [self.state, *(part for pair in self.layers for part in pair)]


def keep(
    states: torch.Tensor, starts: Sequence[int], prefix: Sequence[Sequence[Pair]]
) -> list[KeptPrompt]:
    """Return what is kept of each of B prompts: ``states`` (B, d), and ``prefix[layer][prompt]``,
    all with their graph."""
    lengths = [len(keys) for keys, _ in prefix[0]]
    whole = KeptPass(sum(lengths))
    kept = []
    for place, (state, start) in enumerate(zip(states.unbind(), starts, strict=True)):
        outputs = [state, *(part for layer in prefix for part in layer[place])]
        first, *rest = (one.detach().requires_grad_() for one in outputs)
        layers = list(zip(rest[::2], rest[1::2], strict=True))
        kept.append(KeptPrompt(whole, start, first, layers, outputs))
    return kept


def worth(kept: Iterable[KeptPrompt]) -> set[KeptPass]:
    """Return the passes from which the update should go on: those of which ``kept``, the prompts
    that are learned from, are at least ``LEAST_USED``."""
    used: Counter[KeptPass] = Counter()
    for prompt in dict.fromkeys(kept):
        used[prompt.of] += prompt.length
    return {one for one, tokens in used.items() if tokens >= LEAST_USED * one.tokens}


def backward(kept: Iterable[KeptPrompt]) -> None:
    """Take the gradients that the leaves have gathered through the passes over the prompts, and
    free these. Weights add them to the gradients that they have."""
    pairs = [
        (output, leaf.grad)
        for prompt in dict.fromkeys(kept)
        for output, leaf in zip(prompt.outputs, prompt.leaves, strict=True)
        if leaf.grad is not None
    ]
    if pairs:
        outputs, gradients = zip(*pairs, strict=True)
        torch.autograd.backward(outputs, gradients)
