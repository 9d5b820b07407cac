"""Computes accuracies, gains and diversities from the finished cells, each with its interval.

``claims``, ``tables`` and ``plots`` take all their numbers from ``Finished``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.rooms.matrix import Cell
from experiments.rooms.result import Result
from experiments.rooms.settings import STARTER
from experiments.rooms.statistics import Estimate, Resampling, mean
from syngrpo.sample import InputError

OfRun = Callable[[Result], float | None]
"""A function that returns one number of a run, None if the run does not have it."""


@dataclass
class Finished:
    """The results of the finished cells, and the numbers that are computed from them.

    ``sets`` are the names of the held-out sets. Methods that return an estimate return None where
    no result is finished. ``how`` is "sampled" or "greedy".
    """

    results: Mapping[Cell, Result]
    tasks: Sequence[str]
    methods: Sequence[str]
    sets: Sequence[str]
    resampling: Resampling = field(default_factory=Resampling)

    def __post_init__(self) -> None:
        """Raise InputError if results of one task were measured on different samples."""
        first: dict[tuple[str, str], tuple[str, Cell]] = {}
        for cell, result in self.results.items():
            for name in self.sets:
                samples = result.held_out[name].samples
                known, other = first.setdefault((cell.task, name), (samples, cell))
                if known != samples:
                    raise InputError(
                        f"{cell.name} and {other.name} were measured on different samples of "
                        f"{name}; delete the older result and run it again"
                    )

    @property
    def measured(self) -> list[str]:
        """The methods with at least one finished cell."""
        return [m for m in self.methods if any(cell.method == m for cell in self.results)]

    def seeds(self, task: str, *methods: str) -> list[int]:
        """Return the seeds that all of these methods have finished for the task."""
        finished = [
            {c.seed for c in self.results if (c.task, c.method) == (task, method)}
            for method in methods
        ]
        return sorted(set.intersection(*finished))

    def compared(self, *methods: str) -> list[str]:
        """Return the tasks for which all of these methods have a seed in common."""
        return [task for task in self.tasks if self.seeds(task, *methods)]

    def steps(self, task: str, *methods: str) -> list[int]:
        """Return the steps at which every run of these methods was evaluated, in rising order."""
        runs = [
            {e.step for e in self.of(task, method, seed).held_out[self.sets[0]].evaluations}
            for method in methods
            for seed in self.seeds(task, *methods)
        ]
        return sorted(set.intersection(*runs)) if runs else []

    def of(self, task: str, method: str, seed: int) -> Result:
        """Return the result of one cell. Raises KeyError if it is not finished."""
        return self.results[Cell(task, method, seed)]

    def runs(self, task: str, method: str) -> list[Result]:
        """Return the results of all seeds that are finished."""
        return [self.of(task, method, seed) for seed in self.seeds(task, method)]

    def accuracy(
        self,
        method: str,
        task: str,
        set_name: str,
        how: str,
        seeds: Sequence[int] | None = None,
        step: int | None = None,
    ) -> Estimate | None:
        """Return the mean accuracy of a method over seeds and held-out samples, in per cent.

        Without ``seeds``, all finished seeds are used; without ``step``, the evaluation at the end
        of the training. The starter, which is not trained, has the same accuracy at every step.
        None if one of the seeds has no such evaluation.
        """
        chosen = self.seeds(task, method) if seeds is None else seeds
        found = [
            one.last(set_name)
            if step is None or method == STARTER
            else one.held_out[set_name].at(step)
            for one in (self.of(task, method, seed) for seed in chosen)
        ]
        rows = [evaluation.values(how) for evaluation in found if evaluation is not None]
        if not rows or len(rows) < len(chosen):
            return None
        values = 100 * np.stack(rows)
        return self.resampling.over_both(values, _name(task, chosen), f"{task}/{set_name}")

    def accuracy_between(
        self,
        method: str,
        task: str,
        set_name: str,
        how: str,
        seeds: Sequence[int],
        step: float,
    ) -> Estimate | None:
        """Return the accuracy at a step between two evaluations, interpolated linearly, in per
        cent; that of the last evaluation if the step is later."""
        steps = self.steps(task, method)
        after = next((s for s in steps if s >= step), None)
        if after is None or after == steps[0]:
            at = steps[-1] if after is None else after
            return self.accuracy(method, task, set_name, how, seeds, at)
        before = steps[steps.index(after) - 1]
        share = (step - before) / (after - before)
        low = self.accuracy(method, task, set_name, how, seeds, before)
        high = self.accuracy(method, task, set_name, how, seeds, after)
        return None if low is None or high is None else low.scaled(1 - share) + high.scaled(share)

    def gain(
        self, method: str, base: str, task: str, set_name: str, how: str, step: int | None = None
    ) -> Estimate | None:
        """Return the accuracy of ``method`` minus that of ``base`` in percentage points, over the
        seeds that both have."""
        seeds = self.seeds(task, method, base)
        over = self.accuracy(method, task, set_name, how, seeds, step)
        under = self.accuracy(base, task, set_name, how, seeds, step)
        return None if over is None or under is None else over - under

    def average_gain(
        self, method: str, base: str, set_name: str, how: str, share: float | None = None
    ) -> Estimate | None:
        """Return the mean of the gains over the tasks that have both methods, in percentage points.

        They are taken at the end of the training, or at the evaluation nearest to ``share`` of it
        (0.5: half-way).
        """

        def at(task: str) -> int | None:
            steps = self.steps(task, method, base)
            return None if share is None else min(steps, key=lambda s: abs(s - share * steps[-1]))

        tasks = self.compared(method, base)
        return mean_of([self.gain(method, base, t, set_name, how, at(t)) for t in tasks])

    def gains(self, method: str, base: str, how: str) -> list[Estimate | None]:
        """Return ``average_gain`` at the end of the training for each held-out set."""
        return [self.average_gain(method, base, name, how) for name in self.sets]

    def over_runs(
        self,
        method: str,
        task: str,
        value: OfRun,
        seeds: Sequence[int] | None = None,
    ) -> Estimate | None:
        """Return the mean over seeds of one number of each run, None if a run does not have it.
        Without ``seeds``, all finished seeds are used."""
        chosen = self.seeds(task, method) if seeds is None else seeds
        values = [value(self.of(task, method, seed)) for seed in chosen]
        known = [one for one in values if one is not None]
        if not known or len(known) < len(chosen):
            return None
        return self.resampling.over_seeds(known, _name(task, chosen))

    def relative(self, method: str, base: str, value: OfRun) -> Estimate | None:
        """Return by how many per cent the number of ``method`` is above that of ``base``, as the
        mean over the tasks that have both."""
        return mean_of([(x / y).scaled(100, -100) for x, y in self._pairs(method, base, value)])

    def difference(self, method: str, base: str, value: OfRun) -> Estimate | None:
        """Return the number of ``method`` minus that of ``base``, as the mean over the tasks that
        have both."""
        return mean_of([x - y for x, y in self._pairs(method, base, value)])

    def _pairs(self, method: str, base: str, value: OfRun) -> Iterator[tuple[Estimate, Estimate]]:
        """Yield the numbers of both methods for each task, over the seeds that both have."""
        for task in self.compared(method, base):
            seeds = self.seeds(task, method, base)
            over = self.over_runs(method, task, value, seeds)
            under = self.over_runs(base, task, value, seeds)
            if over is not None and under is not None:
                yield over, under


def mean_of(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """Return the mean of the estimates that are not None; None if there are none."""
    there = [one for one in estimates if one is not None]
    return mean(there) if there else None


def late_mean(result: Result, metric: str) -> float | None:
    """Return the mean of a metric over the last tenth of the run, None if the run does not have
    it."""
    known = [value for value in result.series.get(metric, []) if value is not None]
    last = known[-max(len(known) // 10, 1) :]
    return sum(last) / len(last) if last else None


def drift(result: Result) -> float | None:
    """Return the drift of the description reward: its mean in the last third of the run minus that
    in the first third, in standard deviations within a third.

    None if the method has no such reward, or if its series is constant or too short.
    """
    known = [value for value in result.series.get("diversity/reward", []) if value is not None]
    third = len(known) // 3
    if third < 2:
        return None
    early, late = np.array(known[:third]), np.array(known[-third:])
    spread = float(np.sqrt((early.var(ddof=1) + late.var(ddof=1)) / 2))
    return float(late.mean() - early.mean()) / spread if spread else None


def _name(task: str, seeds: Sequence[int]) -> str:
    """Return the name of these seeds for ``Resampling``: estimates with the same name are resampled
    with the same weights of the seeds."""
    return f"{task}/{','.join(map(str, seeds))}"
