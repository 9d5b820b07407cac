"""Makes the claims of the report: what was measured, its interval, and whether the target is
reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from experiments.rooms.axes import movement
from experiments.rooms.compare import Finished, OfRun, drift, late_mean, mean_of
from experiments.rooms.result import Result
from experiments.rooms.settings import STARTER
from experiments.rooms.statistics import Estimate, Interval

OURS, BASE, RAW = "syn-grpo", "grpo", "syn-grpo-no-smoothing"
RANDOM, TUNED, TRANSFORMS = "random-scene", "random-scene-tuned", "executable-transforms"
DIVERSITY, ZERO_VARIANCE = "diversity/response", "diversity/zero_variance_groups"
REWARD_GAIN = 3.0
"""Target for what the diversity reward adds to random scenes: percentage points of accuracy, and
per cent of the response diversity."""
NOT_WORSE = -1.0
"""Syn-GRPO is not worse than a range tuned by hand if the interval of the difference lies above so
many percentage points."""
DIVERSITY_GAIN = 23.6
"""Target for the rise of the response diversity over plain GRPO, in per cent."""
ACCURACY_GAIN = 5.8
"""Target for the rise of the held-out accuracy over plain GRPO, mean over the tasks and sets, in
percentage points."""
MOVEMENT_DIGITS = {"towards_diversity": 4, "harder": 1}
"""Number of a ``Movement`` → the digits after the point with which it is written."""
FORMAT_SHARE = 95.0
"""Target for the share of responses with the full format at the end of every run, in per cent."""


@dataclass(frozen=True)
class Claim:
    """One claim, and whether it is met.

    ``value``, ``interval`` and ``target`` are in ``unit``; the first two are None if nothing was
    measured yet. The claim is met if the value is at least the target, or with ``ceiling`` at most
    the target; if the target is 0, the value must not be 0. With ``bound`` the interval must also
    exclude values below it. ``seeds`` is the smallest number of seeds of a part of the value, None
    if it is no mean over seeds. ``note`` says from what the value was computed.
    """

    text: str
    value: float | None
    interval: Interval | None
    unit: str
    target: float = 0.0
    ceiling: bool = False
    bound: float | None = None
    seeds: int | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the claim is met, as the report writes it."""
        if self.value is None:
            return "not measured"
        if self.seeds == 1:
            return "one seed alone"
        sign = -1 if self.ceiling else 1
        if sign * self.value < sign * self.target or self.value == self.target == 0:
            return "**not met**"
        if self.interval is None:
            return "met"
        surest = self.interval[1] if self.ceiling else self.interval[0]
        if self.bound is not None:
            return "met" if surest > self.bound else "**not met**: the interval reaches beyond"
        return "met" if sign * surest >= sign * self.target else "met, the interval reaches beyond"


def claims(
    finished: Finished, longer: Finished | None, labels: Mapping[str, Any] | None
) -> dict[str, list[Claim]]:
    """Return all claims of the report: heading → the claims of a table.

    ``longer`` are the cells that are trained for more steps, None if none is finished. ``labels``
    is the content of ``labels.json``, None if it does not exist.
    """
    others = [method for method in finished.methods if method not in (OURS, TRANSFORMS)]
    return {
        "1. The reward for descriptions adds to random descriptions": _reward(finished),
        "2. More diversity and accuracy than plain GRPO": [
            *_diversity(finished),
            *_accuracy(finished),
            *_growth(longer),
        ],
        "3. Descriptions move where the reward points, and get harder": [
            *_movement(finished),
            *_smoothing(finished),
        ],
        "4. Better than executable transforms": [
            *_better_than(finished, [TRANSFORMS]),
            *_in_the_same_time(finished, longer),
        ],
        "5. Labels are true, and the format is kept": [
            *_labels(finished.tasks, labels),
            _format(finished),
        ],
        "The other methods": _better_than(finished, others),
    }


def claims_of_part(finished: Finished) -> list[Claim]:
    """Return the claims about the cells of a further part of the experiment."""
    return [
        *_reward(finished),
        *_diversity(finished),
        *_accuracy(finished),
        *_better_than(finished, [method for method in finished.methods if method != OURS]),
        _format(finished),
    ]


def _claim(
    text: str, estimate: Estimate | None, unit: str, target: float = 0.0, note: str = ""
) -> Claim:
    if estimate is None:
        return Claim(text, None, None, unit, target, note=note)
    return Claim(
        text, estimate.value, estimate.interval, unit, target, seeds=estimate.seeds, note=note
    )


def _everywhere(finished: Finished, method: str, base: str, how: str) -> Estimate | None:
    """Return the mean of the gains over all held-out sets, in percentage points."""
    return mean_of(finished.gains(method, base, how))


def _reward(finished: Finished) -> list[Claim]:
    """Return the claims about what the reward for descriptions adds to random descriptions."""
    found = []
    note, all_sets = _tasks(finished, OURS, RANDOM), ", ".join(finished.sets)
    text = f"sampled accuracy, mean over {all_sets}: {OURS} − {RANDOM}"
    gain = _claim(text, _everywhere(finished, OURS, RANDOM, "sampled"), "points", REWARD_GAIN, note)
    found.append(replace(gain, bound=0.0))
    for of, metric in (("all groups", DIVERSITY), ("synthetic images", f"{DIVERSITY}_synthetic")):
        text = f"response diversity in training, {of}: {OURS} over {RANDOM}"
        estimate = finished.relative(OURS, RANDOM, partial(_mean_of_run, metric))
        found.append(replace(_claim(text, estimate, "%", REWARD_GAIN, note), bound=0.0))
    if TUNED in finished.methods:
        text = f"sampled accuracy, mean over all sets: {OURS} − {TUNED}"
        estimate = _everywhere(finished, OURS, TUNED, "sampled")
        worse = _claim(text, estimate, "points", NOT_WORSE, _tasks(finished, OURS, TUNED))
        found.append(replace(worse, bound=NOT_WORSE))
    return found


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
        gains = finished.gains(OURS, BASE, how)
        target = ACCURACY_GAIN if how == "sampled" else 0.0
        text = f"{how} accuracy, mean over all sets: {OURS} − {BASE}"
        found.append(_claim(text, mean_of(gains), "points", target, note))
        for name, gain in zip(finished.sets, gains, strict=True):
            text = f"{how} accuracy on {name}: {OURS} − {BASE}"
            found.append(_claim(text, gain, "points", 0.0, note))
        near, far = gains[0], mean_of(gains[1:])
        wider = None if near is None or far is None else far - near
        text = f"{how}: the mean gain on the other sets minus that on {finished.sets[0]}"
        found.append(_claim(text, wider, "points", note=note))
    return found


def _better_than(finished: Finished, methods: Sequence[str]) -> list[Claim]:
    """Return the claims that Syn-GRPO is better than each of the methods."""
    return [
        _claim(
            f"better than {method}, sampled, mean over all sets",
            _everywhere(finished, OURS, method, "sampled"),
            "points",
            note=_tasks(finished, OURS, method),
        )
        for method in methods
    ]


def _in_the_same_time(finished: Finished, longer: Finished | None) -> list[Claim]:
    """Return the claim that Syn-GRPO is better than executable transforms in the same time.

    A step of executable transforms is faster. Its accuracy at the time at which Syn-GRPO has
    finished is interpolated between its evaluations in ``longer``, and that of its last step is
    taken if it would have had more steps; the note says so.
    """
    text = f"better than {TRANSFORMS} in the same time, sampled, mean over all sets"
    if longer is None:
        return [Claim(text, None, None, "points")]
    gains: list[Estimate | None] = []
    noted = []
    for task in finished.compared(OURS, TRANSFORMS):
        seeds = sorted(set(finished.seeds(task, OURS)).intersection(longer.seeds(task, TRANSFORMS)))
        if not seeds:
            continue
        wanted = _time_ratio(finished, task) * finished.steps(task, OURS)[-1]
        step = min(wanted, last := longer.steps(task, TRANSFORMS)[-1])
        more = f" of {wanted:.0f}" if wanted > last else ""
        noted.append(f"{task}: {len(seeds)} seeds, step {step:.0f}{more}")
        for name in finished.sets:
            ours = finished.accuracy(OURS, task, name, "sampled", seeds)
            theirs = longer.accuracy_between(TRANSFORMS, task, name, "sampled", seeds, step)
            gains.append(None if ours is None or theirs is None else ours - theirs)
    return [_claim(text, mean_of(gains), "points", note=", ".join(noted))]


def _time_ratio(finished: Finished, task: str) -> float:
    """Return how many times as long a step of Syn-GRPO takes as one of executable transforms: the
    median over the seeds that both have. Machines differ in speed, so the two runs of a seed should
    be made on the same one."""
    ours, theirs = (
        [
            finished.of(task, method, seed).means["time/step_s"]
            for seed in finished.seeds(task, OURS, TRANSFORMS)
        ]
        for method in (OURS, TRANSFORMS)
    )
    return float(np.median(np.divide(ours, theirs)))


def _movement(finished: Finished) -> list[Claim]:
    """Return the claims about where the descriptions move. The note has the movement of random
    descriptions, which is chance."""
    texts = {
        "towards_diversity": "towards pictures with more D, in D",
        "harder": "towards pictures that are harder for the policy of random-scene",
    }
    found = []
    for name, said in texts.items():
        ours, random = (
            mean_of([moved(finished, task, name, method) for task in finished.tasks])
            for method in (OURS, RANDOM)
        )
        note = _tasks(finished, OURS, RANDOM)
        if random is not None:
            note += f"; {RANDOM} {random.value:+.{MOVEMENT_DIGITS[name]}f}"
        text = f"descriptions move {said}: last third minus first"
        unit = "points" if name == "harder" else "D"
        found.append(_claim(text, ours, unit, note=note))
    return found


def moved(finished: Finished, task: str, name: str, method: str) -> Estimate | None:
    """Return one number of ``Movement`` of a method. The yardstick is the run with random
    descriptions of the same seed."""

    def of_run(result: Result) -> float | None:
        random = finished.of(task, RANDOM, result.cell.seed)
        found = movement(result.synthesis.get("axes", {}), random.synthesis.get("axes", {}))
        return None if found is None else float(getattr(found, name))

    seeds = finished.seeds(task, OURS, RANDOM)
    return finished.over_runs(method, task, of_run, seeds) if seeds else None


def _smoothing(finished: Finished) -> list[Claim]:
    """Return the claim that the description reward drifts less with smoothing than without."""
    seeds = {task: finished.seeds(task, OURS, RAW) for task in finished.tasks}

    def size(method: str) -> Estimate | None:
        drifts = [finished.over_runs(method, t, drift, both) for t, both in seeds.items() if both]
        return mean_of([one and abs(one) for one in drifts])

    ours, raw = size(OURS), size(RAW)
    sizes = ((OURS, ours), (RAW, raw))
    said = ", ".join(f"{method} {one.value:.2f}" for method, one in sizes if one is not None)
    text = f"size of the drift of the description reward: {RAW} − {OURS}"
    if ours is None or raw is None:
        return [Claim(text, None, None, "σ", note=said)]
    return [_claim(text, raw - ours, "σ", note=said)]


def _growth(longer: Finished | None) -> list[Claim]:
    """Return the claims that the gains over plain GRPO and over random scenes are larger after
    twice as many steps."""
    found = []
    for base in (BASE, RANDOM):
        grown: list[Estimate | None] = []
        if longer is not None:
            for name in longer.sets:
                end = longer.average_gain(OURS, base, name, "sampled", share=1.0)
                half = longer.average_gain(OURS, base, name, "sampled", share=0.5)
                grown.append(None if end is None or half is None else end - half)
        text = f"the sampled gain over {base} after twice as many steps minus that before, all sets"
        note = "" if longer is None else _tasks(longer, OURS, base)
        found.append(_claim(text, mean_of(grown), "points", note=note))
    return found


def _format(finished: Finished) -> Claim:
    """Return the claim that no training run lost the format: the lowest share of any run and
    set."""
    shares = [
        (100 * result.last(name).metrics["sampled/format"], f"{cell.name} on {name}")
        for cell, result in finished.results.items()
        if cell.method != STARTER
        for name in finished.sets
    ]
    least, where = min(shares) if shares else (None, "")
    text = "full format in every run, the lowest share of sampled responses"
    return Claim(text, least, None, "%", FORMAT_SHARE, note=where)


def _labels(tasks: Sequence[str], labels: Mapping[str, Any] | None) -> list[Claim]:
    found = []
    for task in tasks:
        one = (labels or {}).get("tasks", {}).get(task)
        text = f"synthetic samples of {task} whose label is true"
        if one is None:
            found.append(Claim(text, None, None, "%", 100.0))
            continue
        note = f"{one['true']} of {one['checked']}, {one['source']}"
        found.append(Claim(text, 100 * one["share"], None, "%", 100.0, note=note))
    return found


def _tasks(finished: Finished, *methods: str) -> str:
    """Return a text that says on which tasks and on how many seeds a comparison is based."""
    trained = [method for method in methods if method != STARTER]
    found = [
        f"{task}: {len(finished.seeds(task, *methods))} seeds"
        for task in finished.compared(*methods)
    ]
    return ", ".join(found) if found else f"nothing of {' and '.join(trained)} is finished"
