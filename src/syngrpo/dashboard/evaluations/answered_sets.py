"""Reads evaluations whose answers are kept, of runs and of ``syngrpo evaluate --out``, and says
which answers are the worst and which have changed from one model to another.

An ``AnsweredSet`` is what one model has answered on one held-out set. Nothing here knows of pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from syngrpo.dashboard.metrics.run_comparison import RunsMetric, RunsOnSet, paired_comparison
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.evaluation.bootstrap import Interval
from syngrpo.evaluation.evaluation_reading import METRICS, predictions_file, read_object
from syngrpo.evaluation.evaluation_result import EvaluationResult
from syngrpo.evaluation.predictions import Prediction, read_predictions
from syngrpo.evaluation.run_evaluations import kept_evaluations
from syngrpo.pages.evaluation_cases import rank
from syngrpo.pages.labelled_picture import HIT, installed_task
from syngrpo.sample import InputError

CHANGES = ("right → wrong", "wrong → right", "both right", "both wrong")
ORDERS = {"worst": "worst first", "best": "best first"}
ORDERS_OF_TWO = {"lost": "most lost first", "gained": "most gained first"}


@dataclass(frozen=True)
class AnsweredBy:
    """An evaluation whose answers are kept, in ``directory``: of the run ``of`` at ``step``, or of
    ``syngrpo evaluate --out``, whose ``step`` is None. ``written`` is the time of its last change
    in nanoseconds."""

    of: str
    step: int | None
    directory: Path
    written: int

    @property
    def reference(self) -> str:
        """How an address names it."""
        return self.of if self.step is None else f"{self.of}@{self.step}"

    @property
    def title(self) -> str:
        return self.of if self.step is None else f"{self.of}, step {self.step:,}"

    def sets(self) -> list[str]:
        """Return the names of the sets that were answered. Raises InputError."""
        sets = read_object(self.directory / METRICS).get("sets")
        return list(sets) if isinstance(sets, dict) else []


@dataclass(frozen=True)
class AnsweredSet:
    """The predictions of one model for a set by their ids, and its metrics."""

    by: AnsweredBy
    predictions: dict[str, Prediction]
    result: EvaluationResult


@dataclass(frozen=True)
class ComparedAnswers:
    """The predictions of one or two models for a sample: that of the model that is looked at, and
    that of the one before it, None without one."""

    now: Prediction
    before: Prediction | None = None

    @property
    def change(self) -> str:
        """One of ``CHANGES``; "" with one model."""
        if self.before is None:
            return ""
        was, now = is_right(self.before), is_right(self.now)
        if was == now:
            return "both right" if now else "both wrong"
        return "wrong → right" if now else "right → wrong"

    @property
    def gain(self) -> float:
        """By how much the accuracy of the greedy answer has risen."""
        return (
            0.0 if self.before is None else self.now.greedy.accuracy - self.before.greedy.accuracy
        )


def answered_by(runs: Iterable[FollowedRun]) -> list[AnsweredBy]:
    """Return all evaluations of these runs whose answers are kept, the newest of each run first."""
    found = []
    for run in runs:
        places = reversed(kept_evaluations(run.directory).items())
        for step, path in (*places, (None, run.directory)):
            with suppress(OSError):  # there is none, or it was deleted just now
                written = (path / METRICS).stat().st_mtime_ns
                found.append(AnsweredBy(run.name, step, path, written))
    return found


def read_answers(by: AnsweredBy, name: str) -> AnsweredSet:
    """Return what a model has answered on a set. The last sets that were read stay in memory.

    Raises InputError for files that cannot be read."""
    if name not in by.sets():
        raise InputError(f"{by.title} was not evaluated on {name}")
    path, metrics = predictions_file(by.directory, name), by.directory / METRICS
    if not path.is_file():
        raise InputError(f"{path} is missing")
    try:
        predictions, content = _read(path, metrics, by.written)
        return AnsweredSet(by, predictions, _result(content["sets"][name], predictions))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{metrics} has another form ({error!r})") from None


def compared_answers(
    now: AnsweredSet, before: AnsweredSet | None, kind: str = "", change: str = ""
) -> list[ComparedAnswers]:
    """Return the samples that all models have answered, if given only those of a kind of question
    and with a change."""
    found = [
        ComparedAnswers(one, before.predictions[one.id] if before is not None else None)
        for one in now.predictions.values()
        if (before is None or one.id in before.predictions) and (not kind or one.kind == kind)
    ]
    return [one for one in found if not change or one.change == change]


def in_order(answers: Sequence[ComparedAnswers], order: str) -> list[ComparedAnswers]:
    """Return the answers in one of ``ORDERS`` or ``ORDERS_OF_TWO``."""
    ordered = sorted(answers, key=lambda one: rank(one.now), reverse=order == "best")
    if order in ORDERS_OF_TWO:
        ordered.sort(key=lambda one: one.gain, reverse=order == "gained")
    return ordered


def counted_changes(answers: Iterable[ComparedAnswers]) -> dict[str, int]:
    """Return how many answers there are of each of ``CHANGES``."""
    counts = dict.fromkeys(CHANGES, 0)
    for one in answers:
        counts[one.change] += 1
    return counts


def is_right(prediction: Prediction) -> bool:
    """Return whether the greedy answer is a hit, as the task says."""
    task = installed_task(prediction.task)
    return prediction.greedy.accuracy >= (HIT if task is None else task.hit)


def kinds_of(answered: AnsweredSet) -> list[str]:
    """Return the kinds of question in a set."""
    return sorted({one.kind for one in answered.predictions.values() if one.kind})


def measured_differences(
    before: AnsweredSet, now: AnsweredSet, name: str
) -> tuple[RunsOnSet, tuple[str, ...]]:
    """Return the metrics of two models on a set with their paired differences, and a line for each
    thing beside the model that is not the same.

    All values are over the samples that both have; an evaluation with further ones has no interval,
    because its own is over all of them. Computing takes seconds. Raises InputError when the samples
    are not the same.
    """
    comparison = paired_comparison(before.by.directory, now.by.directory, name)
    (of_set,) = comparison.sets
    results = [
        answered.result if samples == of_set.shared else None
        for answered, samples in zip((before, now), of_set.samples, strict=True)
    ]
    metrics = tuple(
        RunsMetric(
            row.title,
            row.values,
            tuple(None if one is None else _interval(one, row.metric) for one in results),
            row.differences,
        )
        for row in of_set.rows
    )
    titles = before.by.title, now.by.title
    lines = tuple(one.words(titles) for one in comparison.mismatches)
    return RunsOnSet(name, (before.by.step, now.by.step), metrics), lines


@lru_cache(6)
def _read(path: Path, metrics: Path, written: int) -> tuple[dict[str, Prediction], dict[str, Any]]:
    return {one.id: one for one in read_predictions(path)}, read_object(metrics)


def _result(content: dict[str, Any], predictions: dict[str, Prediction]) -> EvaluationResult:
    """Return the metrics that ``metrics.json`` holds about a set."""
    return EvaluationResult(
        metrics=dict(content["metrics"]),
        intervals=_intervals(content["intervals"]),
        kinds={kind: dict(metrics) for kind, metrics in content["kinds"].items()},
        kind_intervals={k: _intervals(one) for k, one in content["kind_intervals"].items()},
        predictions=tuple(predictions.values()),
    )


def _intervals(content: dict[str, Any]) -> dict[str, Interval]:
    return {name: (float(low), float(high)) for name, (low, high) in content.items()}


def _interval(result: EvaluationResult, metric: str) -> Interval | None:
    if metric in result.intervals:
        return result.intervals[metric]
    for kind, intervals in result.kind_intervals.items():
        if metric.startswith(f"{kind}/"):
            return intervals.get(metric.removeprefix(f"{kind}/"))
    return None
