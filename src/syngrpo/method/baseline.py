"""The diversity reward ρ of a description, compared with a moving baseline (diversity smoothing).

Response diversity D falls as the policy improves, so values from different steps cannot be compared
directly: a description whose image is measured late would look worse than the same one measured
early. The baseline is a moving mean and deviation of the values of recent descriptions, for each
task, and the reward is the distance from it. Seeds are left out of the baseline. With their D in
it, the mean reward would not be 0, and all descriptions would become more likely, or all of them
less likely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """The measurement of a description's image.

    ``diversity`` is D of the image's group, 0 for an image that the gate rejected;
    ``parent_diversity`` is D of the group that wrote the description. Both are
    ``Method.rewarded_diversity``, which is D of the accuracies unless ``method.diversity_of`` says
    otherwise. ``bundle`` is the name of the description's bundle, None if it has no siblings.
    """

    task: str
    diversity: float
    parent_diversity: float
    bundle: str | None = None


@dataclass
class _Moments:
    """Exponential moving sums of ``count`` values, without bias correction."""

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0


class DiversityBaseline:
    """Keeps the exponential moving mean b_t and mean absolute deviation s_t of the values v of
    descriptions, for each task, and computes rewards from them.

    The value of a description is v = D(x′) of the image x′ painted from it. With
    ``relative_to_parent`` it is v = D(x′) − D(x) with the parent image x, because some objects are
    hard on any background.

    Both moments are bias-corrected, as in Adam (Kingma and Ba 2015, section 3): the moving sum
    starts at 0 and is divided by 1 − decay^n. So after n values b_t is their weighted mean, and
    after the first it is that value. The deviation of a value is its distance to the baseline
    *before* that value, because the value itself would make it smaller. The first value has no
    deviation, so s_t averages n − 1 of them and is 0 until there are two values.

    The reward is ρ = clip((v − b_t) / (s_t + ε), −c, c). Without ``smoothing`` (the ablation
    "syn-grpo without smoothing") it is clip(v, −c, c).

    ``decay`` is for each description. A step settles a few, so 0.95 looks back about five steps.
    When nearly all images of a task have the same D, s_t is near 0. Then ``epsilon`` (ε, 0.05)
    keeps differences of a few hundredths from becoming full-size rewards.
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

        All of them are added to the baseline before the first is compared with it. Their order
        matters, because later values weigh more: with several processes, pass the measurements of
        all of them together, in the order of the global batch.
        """
        values = [self._value(one) for one in measured]
        for one, value in zip(measured, values, strict=True):
            self.update(one.task, [value])
        return [self.reward(value, one.task) for one, value in zip(measured, values, strict=True)]

    def update(self, task: str, values: Iterable[float]) -> None:
        """Add the values of descriptions to the moving mean and deviation, in order."""
        moments = self._moments.setdefault(task, _Moments())
        for value in values:
            if moments.count:
                distance = abs(value - self.baseline(task))
                moments.deviation += (1.0 - self.decay) * (distance - moments.deviation)
            moments.mean += (1.0 - self.decay) * (value - moments.mean)
            moments.count += 1

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks that have values, sorted."""
        return tuple(sorted(self._moments))

    def baseline(self, task: str) -> float:
        """Return b_t. Raises ValueError before the first update of this task."""
        moments = self._seen(task)
        return moments.mean / (1.0 - self.decay**moments.count)

    def spread(self, task: str) -> float:
        """Return s_t, 0 with fewer than two values. Raises ValueError before the first update."""
        moments = self._seen(task)
        if moments.count < 2:
            return 0.0
        return moments.deviation / (1.0 - self.decay ** (moments.count - 1))

    def reward(self, value: float, task: str) -> float:
        """Return ρ of a description with this value, compared with the baseline as it is now.

        Raises ValueError before the first update of this task, except without smoothing.
        """
        if self.smoothing:
            value = (value - self.baseline(task)) / (self.spread(task) + self.epsilon)
        return min(max(value, -self.clip), self.clip)

    def baselines(self) -> dict[str, float]:
        """Return b_t of every task that has values."""
        return {task: self.baseline(task) for task in self.tasks}

    def state_dict(self) -> dict[str, Any]:
        """Return the moments by task, as plain numbers. The options are not included."""
        return {
            task: {"count": m.count, "mean": m.mean, "deviation": m.deviation}
            for task, m in self._moments.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the moments by those of ``state``. Those without a mean, which credit between
        siblings wrote before ``method.credit`` was changed, are left out."""
        self._moments = {
            task: _Moments(**moments) for task, moments in state.items() if "mean" in moments
        }

    def _seen(self, task: str) -> _Moments:
        if task not in self._moments:
            raise ValueError(f"no description of task {task!r} was measured yet; call update first")
        return self._moments[task]

    def _value(self, one: Measured) -> float:
        return one.diversity - (one.parent_diversity if self.relative_to_parent else 0.0)
