"""Compares runs: in which settings they differ, how their last evaluations differ, and why these
cannot be compared.

Differences of evaluations are paired, sample by sample, as ``syngrpo evaluate compare`` computes
them, where the answers of both runs are kept. Otherwise only the numbers of each run are returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from syngrpo.dashboard.reading.flat_config import flat_values, value_text
from syngrpo.evaluation.bootstrap import Interval
from syngrpo.evaluation.compare import Comparison, Difference, compare
from syngrpo.evaluation.evaluation_reading import METRICS
from syngrpo.evaluation.prediction_metrics import headlines
from syngrpo.evaluation.run_evaluations import kept_evaluations
from syngrpo.pages.labelled_picture import installed_task
from syngrpo.pages.run_data import Evaluation, RunData
from syngrpo.pages.run_headlines import headline_metrics, metric_title
from syngrpo.sample import InputError

_OF_EVALUATION = (
    "data.prompt_style",
    "data.rewards",
    "rollout.max_new_tokens",
    "evaluation.samples_per_prompt",
    "evaluation.sets",
    "model.max_pixels",
    "model.dtype",
    "trainer.seed",
)
"""Keys of the configuration on which the answers of an evaluation depend, beside the model."""
MISSING = "–"
"""What stands for a value that a run does not have."""


@dataclass(frozen=True)
class ComparedKey:
    """A key of the configuration, as in ``--set``, and its value in each run as a text."""

    key: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class RunsMetric:
    """A metric of a held-out set in each run with its 95 % interval, None where a run does not have
    them. ``differences`` are those of all runs but the first from the first, None where the answers
    cannot be paired."""

    title: str
    values: tuple[float | None, ...]
    intervals: tuple[Interval | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class RunsOnSet:
    """The metrics of runs on a held-out set. ``steps`` are those of the evaluations, None without
    one and for ``syngrpo evaluate --out``."""

    name: str
    steps: tuple[int | None, ...]
    metrics: tuple[RunsMetric, ...]


@dataclass(frozen=True)
class RunsComparison:
    """The last evaluations of several runs, and what forbids to compare them, a line each."""

    sets: tuple[RunsOnSet, ...]
    lines: tuple[str, ...]


def compared_keys(configs: Sequence[Mapping[str, Any]]) -> list[ComparedKey]:
    """Return every key of the configurations, in their order, with its value in each."""
    flat = [dict(flat_values(config)) for config in configs]
    names = dict.fromkeys(name for one in flat for name in one)
    return [
        ComparedKey(name, tuple(value_text(one[name]) if name in one else MISSING for one in flat))
        for name in names
    ]


def compare_runs(runs: Mapping[str, RunData]) -> RunsComparison:
    """Return the last evaluations of at least two runs (name → data) beside each other. Computing
    intervals takes seconds; they are kept in memory."""
    first, *others = runs
    places = {name: _answers(data) for name, data in runs.items()}
    found = {other: _Paired() for other in others}
    lines: dict[str, None] = {}
    for other in others:
        a, b = places[first], places[other]
        if a is None or b is None:
            without = [name for name, place in ((first, a), (other, b)) if place is None]
            lines[_not_kept(without)] = None
            lines |= dict.fromkeys(_other_settings({n: runs[n] for n in (first, other)}))
            continue
        try:
            comparison = paired_comparison(a, b)
        except (InputError, OSError) as error:
            lines[f"{first} and {other}: {error}"] = None
            continue
        found[other] = _Paired(comparison)
        lines |= dict.fromkeys(one.words((first, other)) for one in comparison.mismatches)
    names = dict.fromkeys(name for data in runs.values() for name in data.sets())
    sets = tuple(_on_set(name, runs, found) for name in names)
    lines |= dict.fromkeys(_different_steps(runs, one) for one in sets)
    return RunsComparison(sets, tuple(line for line in lines if line))


@dataclass(frozen=True)
class _Paired:
    """The paired differences of one run from the first, by set and metric."""

    comparison: Comparison | None = None
    by_metric: dict[tuple[str, str], Difference] = field(init=False)

    def __post_init__(self) -> None:
        sets = self.comparison.sets if self.comparison is not None else ()
        found = {(one.name, row.metric): row.differences[0] for one in sets for row in one.rows}
        object.__setattr__(self, "by_metric", found)


def paired_comparison(first: Path, other: Path, set_name: str | None = None) -> Comparison:
    """Compare the answers in two directories of evaluations, if given only those to one set. The
    last results stay in memory until a directory is written again. Raises InputError and
    OSError."""
    return _compared(
        first,
        (first / METRICS).stat().st_mtime_ns,
        other,
        (other / METRICS).stat().st_mtime_ns,
        set_name,
    )


def newest(data: RunData, set_name: str) -> Evaluation | None:
    """Return the last evaluation of a set, None for a run without one."""
    of_set = [one for one in data.evaluations if one.set == set_name]
    return max(of_set, key=lambda one: one.step, default=None)


def _answers(data: RunData) -> Path | None:
    """Return the directory with the answers of the last evaluation: of a run, or of ``syngrpo
    evaluate --out``. None when they are not kept, as in a run that was set back to a step before
    its newest answers."""
    if _is_evaluation(data):
        return data.directory
    last = max((one.step for one in data.evaluations), default=None)
    return None if last is None else kept_evaluations(data.directory).get(last)


def _is_evaluation(data: RunData) -> bool:
    """Return whether it is that of ``syngrpo evaluate --out``, which has no step."""
    return (data.directory / METRICS).is_file()


@lru_cache(64)
def _compared(
    first: Path, first_seen: int, other: Path, other_seen: int, set_name: str | None
) -> Comparison:
    return compare([first, other], allow_different=True, only=set_name)


def _not_kept(names: Sequence[str]) -> str:
    return (
        f"The answers of {' and '.join(names)} are not kept, so that differences cannot be paired, "
        "sample by sample; syngrpo evaluate --out writes them."
    )


def _other_settings(runs: Mapping[str, RunData]) -> Iterator[str]:
    """Yield a line for each setting that answers depend on and in which the runs differ."""
    names = list(runs)
    for one in compared_keys([data.config for data in runs.values()]):
        if one.differs and one.key.startswith(_OF_EVALUATION):
            values = zip(one.values, names, strict=True)
            yield f"{one.key} " + ", ".join(f"{value} ({name})" for value, name in values)


def _different_steps(runs: Mapping[str, RunData], one: RunsOnSet) -> str:
    """Return a line about evaluations of a set at several steps, "" if they are at the same."""
    if len({step for step in one.steps if step is not None}) < 2:
        return ""
    listed = ", ".join(
        f"{step:,} ({name})" for name, step in zip(runs, one.steps, strict=True) if step is not None
    )
    return f"{one.name} was evaluated at step {listed}"


def _on_set(name: str, runs: Mapping[str, RunData], found: Mapping[str, _Paired]) -> RunsOnSet:
    evaluations = [newest(data, name) for data in runs.values()]
    titles: dict[str, str] = {}
    for data, one in zip(runs.values(), evaluations, strict=True):
        if one is not None:
            titles |= _titles(one) if one.tasks else _usual_titles(data, name)
    rows = []
    for key, title in titles.items():
        found_in: list[tuple[float | None, Interval | None]] = [
            (None, None) if one is None else _value(one, key) for one in evaluations
        ]
        values, intervals = zip(*found_in, strict=True)
        differences = tuple(paired.by_metric.get((name, key)) for paired in found.values())
        if any(value is not None for value in values):
            rows.append(RunsMetric(title, values, intervals, differences))
    steps = tuple(
        None if one is None or _is_evaluation(data) else one.step
        for data, one in zip(runs.values(), evaluations, strict=True)
    )
    return RunsOnSet(name, steps, tuple(rows))


def _titles(evaluation: Evaluation) -> dict[str, str]:
    """Return the metrics that tables show of an evaluation, with their titles: the headlines of its
    tasks and the user's rewards, and the first headline by kind of question."""
    titles: dict[str, str] = {}
    several = len(evaluation.tasks) > 1
    firsts = {}
    for task in evaluation.tasks:
        if installed_task(task) is None:
            continue
        prefix, named = (f"{task}/", f"{task}, ") if several else ("", "")
        own = [key.split("/reward/", 1)[1] for key in evaluation.metrics if "/reward/" in key]
        shown = headlines(task, list(dict.fromkeys(own)))
        titles |= {prefix + metric: named + title for metric, title in shown.items()}
        firsts[task] = next(iter(shown.items()))
    for kind in evaluation.kinds:
        task = kind.partition("/")[0] if several else evaluation.tasks[0] if firsts else ""
        if task in firsts:
            metric, title = firsts[task]
            titles[f"{kind}/{metric}"] = f"{kind}, {title}"
    return titles


def _usual_titles(data: RunData, name: str) -> dict[str, str]:
    """Return the same for a run of an earlier version, whose evaluations do not name their
    tasks."""
    return {metric: metric_title(data, metric) for metric in headline_metrics(data, name)}


def _value(evaluation: Evaluation, key: str) -> tuple[float | None, Interval | None]:
    """Return a metric and its interval; ``key`` begins with the kind of question if it is over
    one."""
    if key in evaluation.metrics:
        return evaluation.metrics[key], evaluation.intervals.get(key)
    for kind, metrics in evaluation.kinds.items():
        name = key.removeprefix(f"{kind}/")
        if name != key and name in metrics:
            return metrics[name], evaluation.kind_intervals.get(kind, {}).get(name)
    return None, None
