"""The diversity reward of a description, smoothed by what diversity is *now*.

Response diversity D falls as the policy improves, so raw values from different steps cannot be
compared: a description whose image was measured late would look worse than the same one measured
early. The baseline follows the mean and the spread of D per task, and the reward is the distance
from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


class ParentDiversity(NamedTuple):
    """D of the group that wrote a description, and the baseline at that time."""

    diversity: float
    baseline: float


@dataclass
class _Moments:
    """Uncorrected exponential moving sums; ``count`` values seen."""

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0


class DiversityBaseline:
    """Exponential moving mean b_t and mean absolute deviation s_t of D, per task.

    Both start without bias, as in Adam (Kingma and Ba 2015, section 3): the moving sum starts at 0
    and is divided by 1 − decay^n, so after n values b_t is their weighted mean, and after the first
    it is that value. The deviation of a value is its distance to the baseline *before* that value
    (its own contribution would shrink it); the first value has none, so s_t averages n − 1 of them
    and is 0 until two values were seen.

    The reward, with D the diversity of the synthetic image's group:

    - smoothed: ρ = clip((D − b_now) / (s_now + ε), −c, c);
    - smoothed, relative to the parent: D − b_now is replaced by (D − b_now) − (D_parent − b_then),
      because some objects are hard on any background;
    - not smoothed (the ablation "syn-grpo without smoothing"): ρ = clip(D, −c, c), no baseline and
      no scale; relative to the parent it is D − D_parent.

    ε is not a mere guard against division by zero: once a task has collapsed, s_t is near 0 and
    an ε of 0.05 keeps differences of a few hundredths from becoming full-size rewards.
    """

    def __init__(
        self,
        *,
        decay: float = 0.99,
        clip: float = 2.0,
        epsilon: float = 0.05,
        smoothing: bool = True,
        relative_to_parent: bool = False,
    ) -> None:
        if not 0.0 <= decay < 1.0 or clip <= 0.0 or epsilon <= 0.0:
            raise ValueError(
                f"diversity baseline needs 0 <= decay < 1, clip > 0 and epsilon > 0; "
                f"got {decay}, {clip}, {epsilon}"
            )
        self.decay = decay
        self.clip = clip
        self.epsilon = epsilon
        self.smoothing = smoothing
        self.relative_to_parent = relative_to_parent
        self._moments: dict[str, _Moments] = {}

    def update(self, task: str, values: float | Iterable[float]) -> None:
        """Takes in D of one group or of several, in order.

        The order matters (later values weigh more): with several processes, gather the groups of
        the whole step and pass them in the order of the global batch. Call it for all groups of a
        step before the rewards of that step.
        """
        moments = self._moments.setdefault(task, _Moments())
        for value in [values] if isinstance(values, int | float) else values:
            if moments.count:
                distance = abs(value - self.baseline(task))
                moments.deviation += (1.0 - self.decay) * (distance - moments.deviation)
            moments.mean += (1.0 - self.decay) * (value - moments.mean)
            moments.count += 1

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those that were measured, by name."""
        return tuple(sorted(self._moments))

    def baseline(self, task: str) -> float:
        """b_t. Raises ValueError before the first update of this task."""
        moments = self._seen(task)
        return moments.mean / (1.0 - self.decay**moments.count)

    def spread(self, task: str) -> float:
        """s_t, 0 until two values were seen. Raises ValueError before the first update."""
        moments = self._seen(task)
        if moments.count < 2:
            return 0.0
        return moments.deviation / (1.0 - self.decay ** (moments.count - 1))

    def reward(self, value: float, task: str, parent: ParentDiversity | None = None) -> float:
        """ρ of the description whose image was measured with diversity ``value``, in [−c, c].

        An image that the gate rejected has ``value`` 0. ``parent`` is needed for the form relative
        to the parent and ignored otherwise.
        """
        reward = value
        if self.smoothing:
            reward -= self.baseline(task)
        if self.relative_to_parent:
            if parent is None:
                raise ValueError("a reward relative to the parent needs the parent's diversity")
            reward -= parent.diversity - (parent.baseline if self.smoothing else 0.0)
        if self.smoothing:
            reward /= self.spread(task) + self.epsilon
        return min(max(reward, -self.clip), self.clip)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings; the options belong to the configuration, not to the state."""
        return {
            task: {"count": m.count, "mean": m.mean, "deviation": m.deviation}
            for task, m in self._moments.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replaces what was seen so far."""
        self._moments = {task: _Moments(**moments) for task, moments in state.items()}

    def _seen(self, task: str) -> _Moments:
        if task not in self._moments:
            raise ValueError(f"no diversity was measured yet for task {task!r}; call update first")
        return self._moments[task]
