"""Bounds the gradient of the descriptions to a share of that of the answers.

Both parts of an update change the same weights, and AdamW divides their sum by its size: the larger
the gradient of the settled descriptions, the smaller the step that the answers get. With
``method.scene_gradient`` the ``learner`` computes the two parts one after the other. It takes the
first out of the weights with ``take_gradients`` and adds it to the second with ``add_bounded``.

Both parts must be complete, that is summed over micro-batches and processes: the norm of a sum is
not the sum of norms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def take_gradients(weights: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """Return the gradients of the weights and drop them there."""
    gradients = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    return gradients


@torch.no_grad()
def add_bounded(
    weights: Sequence[nn.Parameter], descriptions: Sequence[Tensor | None], share: float
) -> tuple[float, float]:
    """Add the descriptions' gradients to those of the answers, which the weights hold.

    The first are scaled down if their norm is larger than ``share`` times that of the answers.
    Return both norms, as they were before. With sharded weights all processes must call this
    together; each gets the norms over all shards.
    """
    of_answers = total_norm([weight.grad for weight in weights])
    of_descriptions = total_norm(descriptions)
    limit = share * of_answers
    scale = limit / of_descriptions if of_descriptions > limit else 1.0
    for weight, gradient in zip(weights, descriptions, strict=True):
        if gradient is None:
            continue
        if weight.grad is None:
            weight.grad = gradient.mul_(scale)
        else:
            weight.grad.add_(gradient, alpha=scale)
    return of_answers, of_descriptions


def total_norm(gradients: Sequence[Tensor | None]) -> float:
    """Return the norm of all gradients together, over all shards; a missing one counts as 0."""
    norm = torch.nn.utils.get_total_norm([one for one in gradients if one is not None])
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
