"""Writes ``report.html`` of an evaluation: headline numbers with their intervals, accuracy by kind
of question, and the worst and best answers drawn, on one page that needs no other file.

The page is ``templates/evaluation.html``; this module collects what the template prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syngrpo.evaluation.bootstrap import Interval
from syngrpo.evaluation.evaluation_result import EvaluationResult
from syngrpo.evaluation.prediction_metrics import Part, headlines, kinds, parts, reward_names
from syngrpo.pages.evaluation_cases import Case, evaluation_case, worst_and_best
from syngrpo.pages.page_templates import write_page
from syngrpo.sample import Sample
from syngrpo.tasks import get_task

PAGE = "report.html"
PICTURES = 96
"""Approximate number of pictures on the page. Of each set, 3 to ``CASES`` of the worst answers are
shown, and as many of the best."""
CASES = 8


@dataclass(frozen=True)
class Row:
    """One line of a table: its first cells, then a metric with value and interval."""

    cells: tuple[str, ...]
    samples: int | None
    title: str
    value: float
    interval: Interval

    @property
    def bar(self) -> Interval:
        """The interval inside [0, 1], as (start, length) in percent."""
        left, right = (100 * min(max(bound, 0.0), 1.0) for bound in self.interval)
        return left, right - left


@dataclass(frozen=True)
class Cases:
    """A heading and the answers below it. ``marked``: whether a picture has marks on it."""

    title: str
    cases: tuple[Case, ...]

    @property
    def marked(self) -> bool:
        return any(case.picture is not None and case.picture.drawn for case in self.cases)


def write_evaluation_page(
    out: Path,
    results: Mapping[str, EvaluationResult],
    sets: Mapping[str, Sequence[Sample]],
    title: str,
) -> Path:
    """Write ``out/report.html`` and return its path. ``sets`` hold the samples of ``results``.

    Raises InputError for an image that cannot be decoded.
    """
    of_tasks = {
        name: [part for part in parts(result.predictions) if part.task]
        for name, result in results.items()
    }
    groups = sum(map(len, of_tasks.values()))
    number = max(3, min(CASES, PICTURES // (2 * groups)))
    tasks = dict.fromkeys(part.task for found in of_tasks.values() for part in found)
    return write_page(
        out / PAGE,
        "evaluation.html",
        title=title,
        headlines=headline_rows(results),
        notes=list(filter(None, dict.fromkeys(get_task(name).metrics_note for name in tasks))),
        kinds=kind_rows(results),
        sections=[
            section
            for name, found in of_tasks.items()
            for part in found
            for section in _cases(name, part, results[name], sets[name], number)
        ],
        metrics=list(dict.fromkeys(name for one in results.values() for name in one.metrics)),
        results=results,
    )


def headline_rows(results: Mapping[str, EvaluationResult]) -> list[Row]:
    """Return the headline metrics of every set and task. Only the first row of each names set and
    task."""
    rows = []
    for name, result in results.items():
        for part in parts(result.predictions):
            cells: tuple[str, ...] = (name, part.task)
            samples: int | None = len(part.indices)
            rewards = reward_names(result.predictions)
            for metric, title in headlines(part.task, rewards).items():
                key = part.key(metric)
                if key in result.metrics:
                    value = result.metrics[key]
                    interval = result.intervals.get(key) or (value, value)
                    rows.append(Row(cells, samples, title, value, interval))
                    cells, samples = ("", ""), None
    return rows


def kind_rows(results: Mapping[str, EvaluationResult]) -> list[Row]:
    """Return the first headline metric of every set by kind of question."""
    rows = []
    for name, result in results.items():
        for part in kinds(result.predictions):
            metric, title = next(iter(headlines(part.task).items()))
            value = result.kinds.get(part.name, {}).get(metric)
            if value is not None:
                interval = result.kind_intervals.get(part.name, {}).get(metric) or (value, value)
                rows.append(Row((name, part.name), len(part.indices), title, value, interval))
    return rows


def _cases(
    set_name: str, part: Part, result: EvaluationResult, samples: Sequence[Sample], number: int
) -> list[Cases]:
    by_id = {sample.id: sample for sample in samples}
    chosen = worst_and_best([result.predictions[i] for i in part.indices], number)
    title = f"{set_name}, {part.task}" if part.name else set_name
    return [
        Cases(
            f"{title}: {which}",
            tuple(evaluation_case({"": p}, by_id[p.id]) for p in predictions),
        )
        for which, predictions in zip(("worst", "best"), chosen, strict=True)
        if predictions
    ]
