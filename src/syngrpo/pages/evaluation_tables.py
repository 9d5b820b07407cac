"""Formats evaluation results as tables for the terminal (rich), for ``syngrpo evaluate`` and
``syngrpo evaluate compare``."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from syngrpo.evaluation.bootstrap import Interval
from syngrpo.evaluation.compare import Comparison
from syngrpo.evaluation.evaluation_result import EvaluationResult
from syngrpo.evaluation.prediction_metrics import headlines, kinds, parts, reward_names
from syngrpo.evaluation.repeated_answers import repeated_titles

_BESIDE = {
    "greedy/format": "well formed",
    "greedy/unreadable": "unreadable answers",
    "greedy/other_scale": "answers with boxes on another scale",
    "greedy/outside": "answers with boxes reaching out of the image",
    "diversity/response": "response diversity D",
}
_IF_ANY = ("greedy/other_scale", "greedy/outside")


def results_table(results: dict[str, EvaluationResult]) -> Table:
    """Return a table with the headline metrics of every set and task and those of several sampled
    answers together, their intervals, and the first of them by kind of question."""
    table = Table("set", "metric", title="held-out accuracy", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for set_name, result in results.items():
        for part in parts(result.predictions):
            title = f"{set_name}, {part.name}" if part.name else set_name
            title += f" ({len(part.indices)})"
            shown = headlines(part.task, reward_names(result.predictions))
            if part.task:
                known = (one for one in result.metrics if one.startswith(part.key("")))
                shown |= repeated_titles(one.removeprefix(part.key("")) for one in known)
            for metric, what in (shown | _BESIDE).items():
                key = part.key(metric)
                if key in result.metrics and (result.metrics[key] or metric not in _IF_ANY):
                    row = _cells(result.metrics[key], result.intervals.get(key))
                    table.add_row(escape(title), escape(what), *row)
                    title = ""
        for part in kinds(result.predictions):
            metric, what = next(iter(headlines(part.task).items()))
            value = result.kinds[part.name].get(metric)
            if value is not None:
                row = _cells(value, result.kind_intervals[part.name].get(metric))
                table.add_row("", escape(f"{what}, {part.name} ({len(part.indices)})"), *row)
        table.add_section()
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Return a table with one row for each set, metric and evaluation: its value, and the
    difference from the first evaluation. It fits into 80 columns."""
    table = Table("metric", "evaluation", title="paired differences", title_justify="left")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    first, *others = comparison.names
    for one in comparison.sets:
        table.add_row(f"[bold]{escape(one.name)} ({one.shared})")
        for row in one.rows:
            table.add_row(escape(row.title), escape(first), f"{row.values[0]:.3f}")
            found = zip(others, row.values[1:], row.differences, strict=True)
            for name, value, difference in found:
                cells = _cells(difference.value, difference.interval, "+")
                table.add_row("", escape(name), f"{value:.3f}", *cells)
        table.add_section()
    return table


def _cells(value: float, interval: Interval | None, sign: str = "") -> tuple[str, str]:
    if interval is None:
        return f"{value:g}", ""
    low, high = (f"{bound:{sign}.3f}" for bound in interval)
    return f"{value:{sign}.3f}", f"{low} … {high}"
