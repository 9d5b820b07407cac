"""``report.html``: an evaluation on one page that needs no other file and no network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from syngrpo.evaluation.bootstrap import Interval
from syngrpo.evaluation.measure import EvaluationResult
from syngrpo.evaluation.predictions import Prediction
from syngrpo.evaluation.statistics import Part, headlines, kinds, parts
from syngrpo.pages.evaluation_cases import case_section
from syngrpo.pages.evaluation_style import STYLE
from syngrpo.sample import Sample
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.tasks.ovd import DETECTION

PAGE = "report.html"
PICTURES = 96
"""On the whole page, about; at most CASES and at least 3 of a set's worst, and of its best."""
CASES = 8


def write_page(
    out: Path,
    results: dict[str, EvaluationResult],
    sets: Mapping[str, Sequence[Sample]],
    title: str,
) -> Path:
    """Writes ``out/report.html`` and returns its path. ``sets`` hold the samples of ``results``."""
    path = out / PAGE
    atomic_write(path, _page(results, sets, title))
    return path


def worst_and_best(
    predictions: Sequence[Prediction], number: int
) -> tuple[list[Prediction], list[Prediction]]:
    """Up to ``number`` of each by greedy, then by sampled accuracy; none is in both. Ties are
    broken by a digest of the id, so that they do not all come from the start of the data."""

    def rank(prediction: Prediction) -> tuple[float, float, str]:
        sampled = [answer.accuracy for answer in prediction.sampled]
        mean = sum(sampled) / len(sampled) if sampled else 0.0
        return prediction.greedy.accuracy, mean, hashlib.sha256(prediction.id.encode()).hexdigest()

    ordered = sorted(predictions, key=rank)
    half = (len(ordered) + 1) // 2
    return ordered[: min(number, half)], ordered[half:][::-1][:number]


def _page(
    results: dict[str, EvaluationResult], sets: Mapping[str, Sequence[Sample]], title: str
) -> str:
    name = escape(title)
    of_tasks = {
        set_name: [part for part in parts(result.predictions) if part.task]
        for set_name, result in results.items()
    }
    groups = sum(map(len, of_tasks.values()))
    number = max(3, min(CASES, PICTURES // (2 * groups)))
    sections = "".join(
        _cases(set_name, part, results[set_name], sets[set_name], number)
        for set_name, its_parts in of_tasks.items()
        for part in its_parts
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Evaluation: {name}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{name}</h1>{_headline_table(results, of_tasks)}{_kind_table(results)}{sections}"
        f"{_all_metrics(results)}</main></body></html>\n"
    )


def _headline_table(results: dict[str, EvaluationResult], of_tasks: dict[str, list[Part]]) -> str:
    rows = []
    for set_name, its_parts in of_tasks.items():
        result = results[set_name]
        for part in its_parts:
            cells = [
                _measured(title, result.metrics[key], result.intervals.get(key))
                for metric, title in headlines(part.task).items()
                if (key := part.key(metric)) in result.metrics
            ]
            named = f"<td>{escape(set_name)}</td><td>{part.task}</td>"
            named += f"<td class='n'>{len(part.indices)}</td>"
            firsts = [named] + ["<td></td><td></td><td></td>"] * len(cells)
            rows += [f"<tr>{a}{b}</tr>" for a, b in zip(firsts, cells, strict=False)]
    tasks = {part.task for its_parts in of_tasks.values() for part in its_parts}
    note = _DETECTION_NOTE if tasks & set(DETECTION) else ""
    return _table("<th>set</th><th>task</th><th class='n'>samples</th>", rows) + note


_DETECTION_NOTE = (
    "<p class='note'>COCO mAP over the whole set, every detection with score 1. A detection of a "
    "class that was asked for and is absent, or was not asked for at all, is a false positive of "
    "its class; labels that no sample of the set holds cost F1 and the reward alone.</p>"
)


def _kind_table(results: dict[str, EvaluationResult]) -> str:
    rows = []
    for set_name, result in results.items():
        for part in kinds(result.predictions):
            metric, title = next(iter(headlines(part.task).items()))
            values = result.kinds[part.name]
            if metric in values:
                interval = result.kind_intervals[part.name].get(metric)
                rows.append(
                    f"<tr><td>{escape(set_name)}</td><td>{escape(part.name)}</td>"
                    f"<td class='n'>{len(part.indices)}</td>"
                    f"{_measured(title, values[metric], interval)}</tr>"
                )
    if not rows:
        return ""
    head = "<th>set</th><th>kind of question</th><th class='n'>samples</th>"
    return f"<h2>By kind of question</h2>{_table(head, rows)}"


def _all_metrics(results: dict[str, EvaluationResult]) -> str:
    names = dict.fromkeys(name for result in results.values() for name in result.metrics)
    head = "".join(f"<th class='n'>{escape(set_name)}</th>" for set_name in results)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td class='n'>{_number(r.metrics.get(name))}</td>" for r in results.values())
        + "</tr>"
        for name in names
    )
    return (
        "<details><summary>every metric</summary><div class='scroll'>"
        f"<table><tr><th></th>{head}</tr>{rows}</table></div></details>"
    )


def _cases(
    set_name: str, part: Part, result: EvaluationResult, samples: Sequence[Sample], number: int
) -> str:
    by_id = {sample.id: sample for sample in samples}
    worst, best = worst_and_best([result.predictions[i] for i in part.indices], number)
    title = f"{set_name}, {part.task}" if part.name else set_name
    return case_section(f"{title}: worst", worst, by_id) + case_section(
        f"{title}: best", best, by_id
    )


def _table(head: str, rows: Sequence[str]) -> str:
    return (
        f"<div class='scroll'><table><tr>{head}<th>metric</th><th class='n'>value</th>"
        f"<th class='n'>95 % interval</th><th></th></tr>{''.join(rows)}</table></div>"
    )


def _measured(title: str, value: float, interval: Interval | None) -> str:
    low, high = interval or (value, value)
    left, right = (100 * min(max(bound, 0.0), 1.0) for bound in (low, high))
    bar = (
        f"<span class='scale'><i style='left:{left:.1f}%;width:{right - left:.1f}%'></i>"
        f"<b style='left:{100 * value:.1f}%'></b></span>"
    )
    return (
        f"<td>{escape(title)}</td><td class='n'><b>{value:.3f}</b></td>"
        f"<td class='n'>{low:.3f} – {high:.3f}</td><td>{bar}</td>"
    )


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
