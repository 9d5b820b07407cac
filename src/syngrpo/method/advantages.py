"""Advantages of a group, and which tokens of a response carry them (span credit), and the KL."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Scale = Literal["group", "none"]

DEFAULT_FLOOR = 0.15
DEFAULT_FORMAT_WEIGHT = 0.1
SMALLEST_FLOOR = 1e-4
"""Divisor for a group of equal rewards when the floor is 0, as in TRL's ``std + 1e-4``."""


def accuracy_advantages(
    accuracies: Tensor, floor: float = DEFAULT_FLOOR, scale: Scale = "group"
) -> Tensor:
    """(a_i − mean) / max(std, floor) over the last dimension, (…, G) → (…, G).

    ``std`` is the sample standard deviation (divisor G − 1), the convention of TRL and verl, so
    that plain GRPO here and there agree wherever the floor does not act. The floor keeps small
    luck small: where every answer is wrong, dividing by the std alone turns 0.03 IoU into a
    full-size gradient.

    ``scale="none"`` only subtracts the mean (Dr. GRPO, arXiv 2503.20783). A group of one has
    nothing to compare with: its advantage is 0.
    """
    centred = accuracies - accuracies.mean(dim=-1, keepdim=True)
    if scale == "none" or accuracies.shape[-1] < 2:
        return centred
    std = accuracies.std(dim=-1, keepdim=True)
    return centred / std.clamp_min(max(floor, SMALLEST_FLOOR))


def format_advantages(
    format_rewards: Tensor,
    weight: float = DEFAULT_FORMAT_WEIGHT,
    floor: float = DEFAULT_FLOOR,
    scale: Scale = "group",
) -> Tensor:
    """The format rewards (…, G), normalised on their own, times a small weight.

    Accuracy and format are normalised apart and then added: normalising their sum would let
    whichever varies more in a group swallow the other.
    """
    return weight * accuracy_advantages(format_rewards, floor, scale)


def span_credit(scene_mask: Tensor, accuracy_advantage: float, format_advantage: float) -> Tensor:
    """Per-token advantages of one fresh response, float32 (L,).

    ``scene_mask`` bool (L,) marks the tokens of ``<scene>…</scene>``. Every token carries the
    format advantage; all but the scene's carry the accuracy advantage as well, since what the
    description says cannot have changed the answer. Plain GRPO is credited alike: the methods that
    are compared differ in synthesis alone. A malformed response without a scene span passes an
    all-False mask: then every token carries both.
    """
    accuracy = torch.where(scene_mask, 0.0, float(accuracy_advantage))
    return (accuracy + float(format_advantage)).float()


def kl_weights(scene_mask: Tensor, beta: float, scene_beta: float) -> Tensor:
    """Weight of the KL term per token of one fresh response, float32 (L,): ``scene_beta`` on the
    scene, ``beta`` elsewhere. Nothing but a KL term and the diversity reward holds the scene, so it
    may need one where the answer, which is rewarded for being right, does not."""
    return torch.where(scene_mask, scene_beta, beta).float()


def settled_credit(scene_mask: Tensor, reward: float, weight: float = 1.0) -> Tensor:
    """Per-token advantages of one settled response, float32 (L,): weight·ρ on its scene tokens.

    Use ``scene_mask`` as the loss mask of the row too: its other tokens are context only.
    """
    return torch.where(scene_mask, weight * reward, 0.0).float()
