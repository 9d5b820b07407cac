"""Reads metrics, evaluations and configuration of a run directory, for the pages.

It can read every run, also one that is still going, one that was killed while it wrote a line, and
one that paints no images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syngrpo.sample import InputError
from syngrpo.serving.json_lines import read_lines
from syngrpo.serving.run_files import read_sections
from syngrpo.tasks import load_task
from syngrpo.tasks.rewards import RewardOptions


@dataclass(frozen=True)
class Curve:
    """One metric over the steps that have it; ``steps`` ascend, ``values`` are finite."""

    steps: list[int]
    values: list[float]

    def head(self, share: float = 0.1) -> float | None:
        """Return the mean of the first ``share`` of the values (at least one of them); None without
        values."""
        return _mean(self.values[: self._part(share)])

    def tail(self, share: float = 0.1) -> float | None:
        """Return the mean of the last ``share`` of the values (at least one of them); None without
        values."""
        return _mean(self.values[-self._part(share) :])

    def _part(self, share: float) -> int:
        return max(1, round(len(self.values) * share))


@dataclass(frozen=True)
class Evaluation:
    """One line of ``evaluation.jsonl``. ``tasks`` are those of its samples, () in lines written by
    earlier versions of Syn-GRPO."""

    step: int
    set: str
    tasks: tuple[str, ...]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    kinds: dict[str, dict[str, float]]
    kind_intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunData:
    """The content of a run directory. ``metrics`` are in the order of steps, each step once."""

    directory: Path
    metrics: Sequence[Mapping[str, Any]]
    evaluations: list[Evaluation]
    config: dict[str, Any]
    _curves: dict[str, Curve] = field(default_factory=dict, init=False, repr=False, compare=False)

    def curve(self, name: str) -> Curve:
        """Return a metric over the steps. Steps at which it is missing or not finite are left
        out."""
        if name not in self._curves:
            self._curves[name] = self._read_curve(name)
        return self._curves[name]

    def _read_curve(self, name: str) -> Curve:
        points = [(row["step"], row[name]) for row in self.metrics if _finite(row.get(name))]
        return Curve([int(step) for step, _ in points], [float(value) for _, value in points])

    def setting(self, section: str, key: str) -> Any:
        """Return a value of the configuration; None if it is missing."""
        options = self.config.get(section)
        return options.get(key) if isinstance(options, dict) else None

    def total(self, name: str) -> float:
        """Return the sum of a metric over all steps."""
        return sum(self.curve(name).values)

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have metrics of their own."""
        prefix = "reward/accuracy/"
        names = {name for row in self.metrics for name in row if name.startswith(prefix)}
        return sorted(name.removeprefix(prefix) for name in names)

    def rewards(self) -> list[str]:
        """Return the names of the user's own rewards that the metrics hold as ``reward/NAME``."""
        names = []
        for options in (self.config.get("data") or {}).get("rewards") or ():
            name = RewardOptions(options["use"], name=options.get("name")).shown_name
            if any(f"reward/{name}" in row for row in self.metrics):
                names.append(name)
        return names

    def only_tasks(self) -> list[str]:
        """Return the tasks of the held-out sets that have only one."""
        return sorted({e.tasks[0] for e in self.evaluations if len(e.tasks) == 1})

    def sets(self) -> list[str]:
        """Return the names of the held-out sets, in order of appearance."""
        return list(dict.fromkeys(e.set for e in self.evaluations))

    def first_and_last(self, name: str) -> tuple[Evaluation, Evaluation]:
        """Return the evaluations of the set at the first and at the last step, which may be the
        same."""
        of_set = [e for e in self.evaluations if e.set == name]
        return min(of_set, key=lambda e: e.step), max(of_set, key=lambda e: e.step)


def has_results(directory: Path) -> bool:
    """Return whether a run has measured something that is still there."""
    return any((directory / name).exists() for name in ("metrics.jsonl", "evaluation.jsonl"))


def read_run(directory: Path) -> RunData:
    """Read the run in a directory. Raises InputError when there is none."""
    if not directory.is_dir():
        raise InputError(f"run directory {directory} does not exist; give the one of a run")
    metrics, evaluations = directory / "metrics.jsonl", directory / "evaluation.jsonl"
    if not has_results(directory):
        what = f"{directory} holds neither metrics.jsonl nor evaluation.jsonl"
        if (directory / "config.yaml").exists():
            raise InputError(f"{what}: the run has measured nothing yet, or they are lost")
        raise InputError(f"{what}; give a run directory")
    # A resumed run may write a step again. The last line of a step is used.
    by_step = {int(row["step"]): row for row in read_lines(metrics)}
    by_evaluation = {(one.step, one.set): one for one in _read_evaluations(evaluations)}
    return RunData(
        directory=directory,
        metrics=[by_step[step] for step in sorted(by_step)],
        evaluations=list(by_evaluation.values()),
        config=_read_config(directory / "config.yaml"),
    )


def load_own_tasks(directory: Path) -> list[str]:
    """Import the tasks that the configuration of a run names as ``package.module:Task``, so that
    pages can draw their answers. Returns one line for each task that cannot be imported, and for a
    configuration that cannot be read."""
    try:
        config = _read_config(directory / "config.yaml")
    except InputError as error:
        return [str(error)]
    return load_tasks_of(config)


def load_tasks_of(config: Mapping[str, Any]) -> list[str]:
    """Do the same for a configuration that was read already, which may be damaged."""
    train, sets = _part(config, "data", "train"), _part(config, "evaluation", "sets")
    sources = list(train) if isinstance(train, list) else []
    sources += sets.values() if isinstance(sets, dict) else []
    names = [source.get("task") for source in sources if isinstance(source, dict)]
    problems = []
    for name in dict.fromkeys(name for name in names if isinstance(name, str) and ":" in name):
        try:
            load_task(name)
        except InputError as error:
            problems.append(str(error))
    return problems


def _part(config: Mapping[str, Any], section: str, key: str) -> Any:
    found = config.get(section)
    return found.get(key) if isinstance(found, dict) else None


def _read_config(path: Path) -> dict[str, Any]:
    """Return the sections of a configuration, {} without one. Raises InputError for a damaged
    one."""
    if not path.exists():
        return {}
    try:
        return read_sections(path)
    except InputError as error:
        raise InputError(f"{error}; put the file back, or move it away") from None


def _read_evaluations(path: Path) -> list[Evaluation]:
    found = []
    for row in read_lines(path):
        try:
            found.append(read_evaluation(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} has a line of step {row['step']} that is no evaluation ({error!r}); "
                "remove the line"
            ) from None
    return found


def read_evaluation(row: Mapping[str, Any]) -> Evaluation:
    """Return the evaluation that a line of ``evaluation.jsonl`` holds. Raises KeyError, TypeError,
    ValueError or AttributeError for a line of another form."""
    if type(row["step"]) is not int:
        raise TypeError("its step is no whole number")
    return Evaluation(
        step=row["step"],
        set=str(row["set"]),
        tasks=tuple(str(task) for task in row.get("tasks", ())),
        metrics=_numbers(row["metrics"]),
        intervals=_intervals(row.get("intervals", {})),
        kinds={kind: _numbers(metrics) for kind, metrics in row.get("kinds", {}).items()},
        kind_intervals={
            kind: _intervals(intervals) for kind, intervals in row.get("kind_intervals", {}).items()
        },
    )


def _intervals(intervals: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (float(low), float(high)) for name, (low, high) in intervals.items()}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics without those that are null, or not finite. Raises TypeError for one that is
    no number."""
    for name, value in metrics.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{name} is no number")
    return {name: value for name, value in metrics.items() if _finite(value)}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
