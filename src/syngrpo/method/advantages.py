"""The advantages of a group's responses, and their distribution over tokens (span credit).

First a function of ``ADVANTAGES`` turns the rewards of a group into one advantage for each
response. Then ``span_credit``, ``kl_weights`` and ``settled_credit`` give the value of each token.
``workflow.response_credit`` and ``workflow.update_rows`` call them. Everything is float32 and
NumPy, so that a trainer without PyTorch gets the same numbers.
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

    ``std`` is ``sample_std``. The floor limits the effect of small random differences: where every
    answer is wrong, dividing by the std alone would turn 0.03 IoU into a full-size gradient. The
    advantage of a group of one is 0.
    """
    std = np.float32(sample_std(rewards))
    return centred_advantages(rewards) / np.maximum(std, np.float32(max(floor, SMALLEST_FLOOR)))


def sample_std(rewards: Sequence[float]) -> float:
    """Return the sample standard deviation of the rewards of a group, 0 for a group of one.

    The divisor is G − 1, as in TRL and verl, so that plain GRPO gives the same numbers as theirs if
    the std is above the floor.
    """
    values = np.asarray(rewards, dtype=np.float32).astype(np.float64)
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def centred_advantages(rewards: Sequence[float], floor: float = 0.0) -> Floats:
    """Return r_i − mean for the G rewards of a group, float32 (G,) (Dr. GRPO, arXiv 2503.20783).

    Equal rewards give exactly 0, whatever their mean is rounded to, because a group without an
    advantage is not computed. ``floor`` is ignored; it is there because both functions of
    ``ADVANTAGES`` take the same arguments.
    """
    values = np.asarray(rewards, dtype=np.float32)
    if (values == values[0]).all():
        return np.zeros_like(values)
    # Summed one after the other in float32, the order in which PyTorch sums a group of eight.
    return values - np.float32(values.cumsum()[-1] / np.float32(len(values)))


def leave_one_out_advantages(rewards: Sequence[float], floor: float = 0.0) -> Floats:
    """Return r_i − the mean of the other rewards of a group, float32 (G,) (RLOO, arXiv 2402.14740).

    This is G / (G − 1) times the centred advantage. The advantage of a group of one is 0.
    """
    count = len(rewards)
    scale = count / (count - 1) if count > 1 else 0.0
    return centred_advantages(rewards) * np.float32(scale)


ADVANTAGES: Mapping[str, Callable[[Sequence[float], float], Floats]] = MappingProxyType(
    {
        "group": normalised_advantages,
        "centred": centred_advantages,
        "rloo": leave_one_out_advantages,
        "batch": centred_advantages,
    }
)
"""The values of ``method.advantage``: how the rewards of a group become advantages. Those of
``batch`` are then divided by their deviation over the step (``workflow.response_credit``)."""

Part = Literal["answer", "scene", "response"]
"""The tokens that a reward is about: all but the scene, the scene alone, or all."""


def reward_tokens(scene: Flags, part: Part) -> Floats:
    """Return 1 for the tokens that a reward about this part applies to, else 0: float32 (L,)."""
    if part == "response":
        return np.ones(scene.shape, dtype=np.float32)
    return (scene if part == "scene" else ~scene).astype(np.float32)


def span_credit(scene: Flags, advantages: Sequence[tuple[float, Part]]) -> Floats:
    """Return the advantage of each token of one fresh response, float32 (L,).

    ``scene`` (L,) marks the tokens from ``<scene>`` to the end; ``advantages`` are those of the
    response from each kind of reward, and the tokens that they are about. The accuracy is about the
    answer: what is written after it cannot have changed it. This holds for all methods, plain GRPO
    included, so that they differ in synthesis alone. For a malformed response without a scene the
    mask is all False: then every token gets the advantages of the answer.
    """
    total = np.zeros(scene.shape, dtype=np.float32)
    for value, part in advantages:
        total += np.float32(value) * reward_tokens(scene, part)
    return total


def kl_weights(scene: Flags, beta: float, scene_beta: float) -> Floats:
    """Return the weight of the KL term for each token of one fresh response, float32 (L,).

    It is ``scene_beta`` on the scene and ``beta`` elsewhere. The two may differ because the answer
    has an accuracy reward, while only the KL term and the diversity reward act on the scene.
    """
    return np.where(scene, np.float32(scene_beta), np.float32(beta))


def settled_credit(scene: Flags, reward: float, weight: float = 1.0) -> Floats:
    """Return the advantage of each token of one settled response, float32 (L,): weight·ρ on its
    scene tokens, 0 elsewhere. ``reward`` is ρ.

    Use ``scene`` as the loss mask of the response, too: its other tokens are context only.
    """
    return np.where(scene, np.float32(weight * reward), np.float32(0))
