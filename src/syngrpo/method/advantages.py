"""Advantages of a group, and which tokens of a response carry them (span credit), and the KL.

Everything is float32 and NumPy, so that a trainer without PyTorch arrives at the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

DEFAULT_FLOOR = 0.15
DEFAULT_FORMAT_WEIGHT = 0.1
SMALLEST_FLOOR = 1e-4
"""Divisor for a group of equal rewards when the floor is 0, as in TRL's ``std + 1e-4``."""


def normalised_advantages(rewards: Sequence[float], floor: float = DEFAULT_FLOOR) -> Floats:
    """Return (r_i − mean) / max(std, floor) for the G rewards of a group, float32 (G,).

    ``std`` is the sample standard deviation (divisor G − 1), the convention of TRL and verl, so
    that plain GRPO here and there agree wherever the floor does not act. The floor keeps small
    luck small: where every answer is wrong, dividing by the std alone turns 0.03 IoU into a
    full-size gradient. A group of one has nothing to compare with: its advantage is 0.
    """
    values = np.asarray(rewards, dtype=np.float32)
    centred = centred_advantages(rewards)
    if len(values) < 2:
        return centred
    std = np.float32(values.astype(np.float64).std(ddof=1))
    return centred / np.maximum(std, np.float32(max(floor, SMALLEST_FLOOR)))


def centred_advantages(rewards: Sequence[float], floor: float = 0.0) -> Floats:
    """Return r_i − mean for the G rewards of a group, float32 (G,) (Dr. GRPO, arXiv 2503.20783).

    ``floor`` has no meaning here; both functions of ``ADVANTAGES`` take the same arguments.
    """
    values = np.asarray(rewards, dtype=np.float32)
    # Summed one after the other in float32, the order in which PyTorch sums a group of eight.
    return values - np.float32(values.cumsum()[-1] / np.float32(len(values)))


ADVANTAGES: Mapping[str, Callable[[Sequence[float], float], Floats]] = MappingProxyType(
    {"group": normalised_advantages, "centred": centred_advantages}
)
"""The values of ``method.advantage``: how the rewards of a group become advantages."""


def span_credit(scene: Flags, accuracy_advantage: float, format_advantage: float) -> Floats:
    """Return the advantage of each token of one fresh response, float32 (L,).

    ``scene`` (L,) marks the tokens of ``<scene>…</scene>``. Every token carries the format
    advantage; all but the scene's carry the accuracy advantage as well, since what the description
    says cannot have changed the answer. Plain GRPO is credited alike: the methods that are
    compared differ in synthesis alone. A malformed response without a scene passes an all-False
    mask: then every token carries both.
    """
    accuracy = np.where(scene, np.float32(0), np.float32(accuracy_advantage))
    return accuracy + np.float32(format_advantage)


Part = Literal["answer", "scene", "response"]
"""The tokens that a custom reward is about: all but the scene, the scene alone, or all."""


def reward_tokens(scene: Flags, part: Part) -> Floats:
    """Return 1 for the tokens (L,) that carry a custom reward about this part, else 0, float32."""
    if part == "response":
        return np.ones(scene.shape, dtype=np.float32)
    return (scene if part == "scene" else ~scene).astype(np.float32)


def kl_weights(scene: Flags, beta: float, scene_beta: float) -> Floats:
    """Return the weight of the KL term for each token of one fresh response, float32 (L,).

    ``scene_beta`` on the scene, ``beta`` elsewhere. Nothing but a KL term and the diversity reward
    holds the scene, so it may need one where the answer, which is rewarded for being right, does
    not.
    """
    return np.where(scene, np.float32(scene_beta), np.float32(beta))


def settled_credit(scene: Flags, reward: float, weight: float = 1.0) -> Floats:
    """Return the advantage of each token of one settled response, float32 (L,): weight·ρ on its
    scene tokens, 0 elsewhere.

    Use ``scene`` as the loss mask of the row too: its other tokens are context only.
    """
    return np.where(scene, np.float32(weight * reward), np.float32(0))
