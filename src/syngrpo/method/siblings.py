"""Credit between siblings: a description is compared with the others of its group.

The K descriptions that one group submits in a step are a *bundle*. The pool draws their images
together, so that D of all of them is measured with the same policy and for the same objects: what
is left of the difference is due to the words, and to chance. Only some groups of a step write a
bundle, as many as the pool can draw in a step (``choose_parents``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from syngrpo.method.baseline import Measured

T = TypeVar("T")


def choose_parents(groups: Sequence[T], bundles: float, rng: np.random.Generator) -> list[T]:
    """Return ``bundles`` of the groups, drawn at random, in their order; all if there are fewer.

    A number that is not whole is rounded up or down at random, so that its mean is right.
    """
    count = min(math.floor(bundles + rng.random()), len(groups))
    chosen = rng.choice(len(groups), count, replace=False)
    return [groups[index] for index in sorted(chosen.tolist())]


@dataclass
class _Spread:
    """The exponential moving sum of ``count`` absolute differences, without bias correction."""

    count: int = 0
    deviation: float = 0.0


class SiblingComparison:
    """Computes rewards within bundles, and keeps the moving mean absolute difference s_t per task.

    The reward is ρ = clip((D(x′) − m) / (s_t + ε), −c, c), where m is the mean of D over the
    bundle; before clipping, the rewards of a bundle add up to 0. s_t averages |D(x′) − m| of recent
    descriptions with the weights ``decay``^age. It is bias-corrected as in ``DiversityBaseline``:
    the moving sum starts at 0 and is divided by 1 − decay^n. Without ``smoothing`` the reward is
    clip(D(x′) − m, −c, c).
    """

    def __init__(
        self, *, decay: float, clip: float, epsilon: float = 0.05, smoothing: bool = True
    ) -> None:
        self.decay = decay
        self.clip = clip
        self.epsilon = epsilon
        self.smoothing = smoothing
        self._spreads: dict[str, _Spread] = {}

    def rewards(self, measured: Sequence[Measured]) -> list[float]:
        """Return ρ of the descriptions of one step, each in [−c, c], in their order.

        The members of a bundle must be in the same call. All differences are added to s_t before
        the first reward is computed. A description without a bundle, which was written before
        ``method.credit`` was changed, gets 0.
        """
        differences = _differences(measured)
        for one, difference in zip(measured, differences, strict=True):
            if difference is None:
                continue
            spread = self._spreads.setdefault(one.task, _Spread())
            spread.deviation += (1.0 - self.decay) * (abs(difference) - spread.deviation)
            spread.count += 1
        return [
            0.0 if difference is None else self._reward(difference, one.task)
            for one, difference in zip(measured, differences, strict=True)
        ]

    def spread(self, task: str) -> float:
        """Return s_t. Raises KeyError before the first description of this task."""
        spread = self._spreads[task]
        return spread.deviation / (1.0 - self.decay**spread.count)

    def baselines(self) -> dict[str, float]:
        """Return no baselines: each bundle is compared with its own mean."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the moving sums by task, as plain numbers."""
        return {task: asdict(spread) for task, spread in self._spreads.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the moving sums by those of ``state``. Those that a ``DiversityBaseline`` wrote,
        before ``method.credit`` was changed, are left out."""
        self._spreads = {
            task: _Spread(**spread) for task, spread in state.items() if "mean" not in spread
        }

    def _reward(self, difference: float, task: str) -> float:
        if self.smoothing:
            difference /= self.spread(task) + self.epsilon
        return min(max(difference, -self.clip), self.clip)


def _differences(measured: Sequence[Measured]) -> list[float | None]:
    """Return the difference of each D to the mean of its bundle, None for one without a bundle."""
    bundles: dict[str, list[float]] = {}
    for one in measured:
        if one.bundle is not None:
            bundles.setdefault(one.bundle, []).append(one.diversity)
    means = {name: math.fsum(values) / len(values) for name, values in bundles.items()}
    return [None if one.bundle is None else one.diversity - means[one.bundle] for one in measured]
