"""Makes the claims of the report: what was measured, its interval, and whether the target is
reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from experiments.rooms.compare import Finished, OfRun, drift, late_mean, mean_of
from experiments.rooms.labels import TRUE_SHARE
from experiments.rooms.result import Result
from experiments.rooms.settings import STARTER
from experiments.rooms.statistics import Estimate, Interval

OURS, BASE, RAW = "syn-grpo", "grpo", "syn-grpo-no-smoothing"
DIVERSITY, ZERO_VARIANCE = "diversity/response", "diversity/zero_variance_groups"
DIVERSITY_GAIN = 23.6
"""Target for the rise of the response diversity, in per cent."""
ACCURACY_GAIN = 5.8
"""Target for the rise of the held-out accuracy, mean over the tasks, in percentage points."""


@dataclass(frozen=True)
class Claim:
    """One claim, and whether it is met.

    ``value``, ``interval`` and ``target`` are in ``unit``; the first two are None if nothing was
    measured yet. The claim is met if the value is at least the target, or with ``ceiling`` at most
    the target; if the target is 0, the value must not be 0. ``note`` says from what the value was
    computed.
    """

    text: str
    value: float | None
    interval: Interval | None
    unit: str
    target: float = 0.0
    ceiling: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the claim is met, as the report writes it."""
        if self.value is None:
            return "not measured"
        sign = -1 if self.ceiling else 1
        if sign * self.value < sign * self.target or self.value == self.target == 0:
            return "**not met**"
        if self.interval is None:
            return "met"
        surest = self.interval[1] if self.ceiling else self.interval[0]
        return "met" if sign * surest >= sign * self.target else "met, the interval reaches beyond"


def claims(finished: Finished, labels: Mapping[str, Any] | None) -> list[Claim]:
    """Return all claims of the report: about diversity, accuracy, other methods, smoothing, the
    growth of the gain during training, and labels, in this order.

    ``labels`` is the content of ``labels.json``, None if it does not exist.
    """
    return [
        *_diversity(finished),
        *_accuracy(finished),
        *_against_each_method(finished),
        *_smoothing(finished),
        *_growth(finished),
        *_labels(finished.tasks, labels),
    ]


def claims_of_longer(finished: Finished) -> list[Claim]:
    """Return the claims about the cells that are trained for more steps."""
    return [
        *_diversity(finished),
        *_accuracy(finished),
        *_against_each_method(finished),
        *_growth(finished),
    ]


def _claim(
    text: str, estimate: Estimate | None, unit: str, target: float = 0.0, note: str = ""
) -> Claim:
    if estimate is None:
        return Claim(text, None, None, unit, target, note=note)
    return Claim(text, estimate.value, estimate.interval, unit, target, note=note)


def _diversity(finished: Finished) -> list[Claim]:
    variants: tuple[tuple[str, OfRun, float], ...] = (
        ("all groups", partial(_mean_of_run, DIVERSITY), DIVERSITY_GAIN),
        ("all groups of the last tenth", partial(late_mean, metric=DIVERSITY), DIVERSITY_GAIN),
        ("seed images alone", partial(_mean_of_run, f"{DIVERSITY}_seed"), 0.0),
    )
    note = _tasks(finished, OURS, BASE)
    found = [
        _claim(
            f"response diversity in training, {of}: {OURS} over {BASE}",
            finished.relative(OURS, BASE, value),
            "%",
            target,
            note,
        )
        for of, value, target in variants
    ]
    flat = finished.difference(OURS, BASE, partial(_mean_of_run, ZERO_VARIANCE))
    text = f"groups without variance in training: {OURS} − {BASE}"
    points = None if flat is None else flat.scaled(100)
    return [*found, replace(_claim(text, points, "points", note=note), ceiling=True)]


def _mean_of_run(metric: str, result: Result) -> float | None:
    return result.means.get(metric)


def _accuracy(finished: Finished) -> list[Claim]:
    note = _tasks(finished, OURS, BASE)
    found = []
    for how in ("sampled", "greedy"):
        gains = [finished.average_gain(OURS, BASE, name, how) for name in finished.sets]
        target = ACCURACY_GAIN if how == "sampled" else 0.0
        if len(gains) > 1:
            text = f"{how} accuracy, mean over {' and '.join(finished.sets)}: {OURS} − {BASE}"
            found.append(_claim(text, mean_of(gains), "points", target, note))
        for name, gain in zip(finished.sets, gains, strict=True):
            text = f"{how} accuracy on {name}: {OURS} − {BASE}"
            found.append(_claim(text, gain, "points", target, note))
        near, far = gains[0], gains[-1]
        if len(gains) > 1 and near is not None and far is not None:
            text = f"{how}: the gain on {finished.sets[-1]} minus that on {finished.sets[0]}"
            found.append(_claim(text, far - near, "points", note=note))
    return found


def _against_each_method(finished: Finished) -> list[Claim]:
    """Return the claims that Syn-GRPO is better than each other method on the last set, which is
    the one out of domain."""
    far = finished.sets[-1]
    return [
        _claim(
            f"better than {method} on {far}, sampled",
            finished.average_gain(OURS, method, far, "sampled"),
            "points",
            note=_tasks(finished, OURS, method),
        )
        for method in finished.methods
        if method != OURS
    ]


def _smoothing(finished: Finished) -> list[Claim]:
    """Return the claim that the description reward drifts less with smoothing than without."""

    def drifts(method: str) -> Estimate | None:
        return mean_of([finished.over_runs(method, task, drift) for task in finished.tasks])

    ours, raw = drifts(OURS), drifts(RAW)
    said = ", ".join(
        f"{method} {one.value:+.2f} ({one.interval[0]:+.2f} … {one.interval[1]:+.2f})"
        for method, one in ((OURS, ours), (RAW, raw))
        if one is not None
    )
    text = f"size of the drift of the description reward: {RAW} − {OURS}"
    if ours is None or raw is None:
        return [Claim(text, None, None, "σ", note=said)]
    both = Estimate(abs(raw.value), abs(raw.draws)) - Estimate(abs(ours.value), abs(ours.draws))
    return [_claim(text, both, "σ", note=said)]


def _growth(finished: Finished) -> list[Claim]:
    """Return the claims that the gain is larger at the end of the training than half-way."""
    found = []
    for name in finished.sets:
        end = finished.average_gain(OURS, BASE, name, "sampled", share=1.0)
        half = finished.average_gain(OURS, BASE, name, "sampled", share=0.5)
        grown = None if end is None or half is None else end - half
        text = f"the sampled gain on {name} at the end minus that half-way"
        found.append(_claim(text, grown, "points", note=_tasks(finished, OURS, BASE)))
    return found


def _labels(tasks: Sequence[str], labels: Mapping[str, Any] | None) -> list[Claim]:
    found = []
    for task in tasks:
        one = (labels or {}).get("tasks", {}).get(task)
        text = f"synthetic samples of {task} whose label is true"
        if one is None:
            found.append(Claim(text, None, None, "%", 100 * TRUE_SHARE))
            continue
        interval = (100 * one["interval"][0], 100 * one["interval"][1])
        note = f"{one['true']} of {one['checked']}"
        found.append(Claim(text, 100 * one["share"], interval, "%", 100 * TRUE_SHARE, note=note))
    return found


def _tasks(finished: Finished, *methods: str) -> str:
    """Return a text that says on which tasks and on how many seeds a comparison is based."""
    trained = [method for method in methods if method != STARTER]
    found = [
        f"{task}: {len(finished.seeds(task, *methods))} seeds"
        for task in finished.compared(*methods)
    ]
    return ", ".join(found) if found else f"nothing of {' and '.join(trained)} is finished"
