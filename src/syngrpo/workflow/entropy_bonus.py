"""The weight of the entropy bonus, constant or following a target (Skywork-OR1, arXiv 2505.22312).

With ``method.entropy_target`` the weight grows after each update in which the mean entropy of the
tokens was at or below the target, and shrinks after each in which it was above. It acts only where
the last entropy was at or below the target, so not in the first update of a run. The learner asks
for the weight before each update, and tells the entropy after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from syngrpo.method.loss_options import LossOptions


class EntropyBonus:
    """Holds the weight. Every process has the same one, because all tell it the same entropies."""

    def __init__(self, options: LossOptions) -> None:
        self._options = options
        self._weight = options.entropy_weight
        self._last = math.inf

    @property
    def weight(self) -> float:
        """The weight in the next update."""
        target = self._options.entropy_target
        return self._weight if target is None or self._last <= target else 0.0

    def observe(self, entropy: float) -> None:
        """Take the mean entropy of the tokens of an update, in nats, over all processes."""
        target, step = self._options.entropy_target, self._options.entropy_step
        if target is None:
            return
        moved = self._weight + (step if entropy <= target else -step)
        self._weight = min(max(moved, 0.0), self._options.entropy_limit)
        self._last = entropy

    def state_dict(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        return {"weight": self._weight, "last": self._last}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what ``state_dict`` returned. A constant weight is that of this run's options,
        which a resumed run may change."""
        if self._options.entropy_target is not None:
            self._weight, self._last = state["weight"], state["last"]
