"""The diversity reward ρ of a description, compared with a moving baseline (diversity smoothing).

Response diversity D falls as the policy improves, so raw values from different steps cannot be
compared: a description whose image was measured late would look worse than the same one measured
early. The baseline follows the mean and the spread of what recent descriptions brought, per task,
and the reward is the distance from it. Images that nobody described (seeds) stay out of it: their D
would make the mean reward differ from 0, and with that every description more or less likely,
whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """The measurement that settles a description: D of its image's group (0 for an image that the
    gate rejected), and D of the group that wrote it."""

    task: str
    diversity: float
    parent_diversity: float


@dataclass
class _Moments:
    """Uncorrected exponential moving sums; ``count`` values seen."""

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0


class DiversityBaseline:
    """Exponential moving mean b_t and mean absolute deviation s_t of the values v of descriptions,
    per task: v = D(x′) of the image x′ that a description made, or relative to the parent image x,
    v = D(x′) − D(x), because some objects are hard on any background.

    Both start without bias, as in Adam (Kingma and Ba 2015, section 3): the moving sum starts at 0
    and is divided by 1 − decay^n, so after n values b_t is their weighted mean, and after the first
    it is that value. The deviation of a value is its distance to the baseline *before* that value
    (its own contribution would shrink it); the first value has none, so s_t averages n − 1 of them
    and is 0 until two values were seen.

    The reward is ρ = clip((v − b_t) / (s_t + ε), −c, c); not smoothed (the ablation "syn-grpo
    without smoothing") it is clip(v, −c, c), no baseline and no scale.

    The decay counts descriptions, of which a step settles a few: 0.95 looks back some five steps.

    ε is not a mere guard against division by zero: once a task has collapsed, s_t is near 0 and
    an ε of 0.05 keeps differences of a few hundredths from becoming full-size rewards.
    """

    def __init__(
        self,
        *,
        decay: float = 0.95,
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

    def rewards(self, measured: Sequence[Measured]) -> list[float]:
        """Return ρ of the descriptions of one step, each in [−c, c], in their order.

        All of them are included in the baseline before the first is compared with it. The order
        matters (later values weigh more): with several processes, gather those of the whole step
        and pass them in the order of the global batch.
        """
        values = [self._value(one) for one in measured]
        for one, value in zip(measured, values, strict=True):
            self.update(one.task, [value])
        return [self.reward(value, one.task) for one, value in zip(measured, values, strict=True)]

    def update(self, task: str, values: Iterable[float]) -> None:
        """Include the values of descriptions in the moving mean and deviation, in order."""
        moments = self._moments.setdefault(task, _Moments())
        for value in values:
            if moments.count:
                distance = abs(value - self.baseline(task))
                moments.deviation += (1.0 - self.decay) * (distance - moments.deviation)
            moments.mean += (1.0 - self.decay) * (value - moments.mean)
            moments.count += 1

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks of which a description was measured, sorted."""
        return tuple(sorted(self._moments))

    def baseline(self, task: str) -> float:
        """Return b_t. Raises ValueError before the first update of this task."""
        moments = self._seen(task)
        return moments.mean / (1.0 - self.decay**moments.count)

    def spread(self, task: str) -> float:
        """Return s_t, 0 until two values were seen. Raises ValueError before the first update."""
        moments = self._seen(task)
        if moments.count < 2:
            return 0.0
        return moments.deviation / (1.0 - self.decay ** (moments.count - 1))

    def reward(self, value: float, task: str) -> float:
        """Return ρ of a description with this value, against the baseline as it is now.

        Raises ValueError before the first update of this task, unless it is not smoothed.
        """
        if self.smoothing:
            value = (value - self.baseline(task)) / (self.spread(task) + self.epsilon)
        return min(max(value, -self.clip), self.clip)

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers by task. The options are the configuration's, not the state's."""
        return {
            task: {"count": m.count, "mean": m.mean, "deviation": m.deviation}
            for task, m in self._moments.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the values seen so far by those of ``state``."""
        self._moments = {task: _Moments(**moments) for task, moments in state.items()}

    def _seen(self, task: str) -> _Moments:
        if task not in self._moments:
            raise ValueError(f"no description of task {task!r} was measured yet; call update first")
        return self._moments[task]

    def _value(self, one: Measured) -> float:
        return one.diversity - (one.parent_diversity if self.relative_to_parent else 0.0)
