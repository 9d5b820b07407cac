"""The cards at the top of a report and the tables of held-out numbers."""

from __future__ import annotations

from html import escape

from syngrpo.pages.charts import number
from syngrpo.pages.headlines import (
    Change,
    ImageCounts,
    Pace,
    changes,
    duration,
    headline_metrics,
    metric_order,
    metric_title,
    set_title,
    split_metric,
    task_changes,
)
from syngrpo.pages.run_data import RunData


def accuracy_card(run: RunData, set_name: str) -> str:
    """Held-out accuracy before and after, greedy and sampled."""
    first, last = run.first_and_last(set_name)
    body = "".join(_change(c) for c in changes(run, set_name, headline_metrics(run, set_name)))
    when = f"step {first.step}" + (f" → {last.step}" if last.step > first.step else "")
    count = int(first.metrics.get("samples", 0))
    note = f"<p class='note'>{when}" + (f", {count} samples" if count else "") + "</p>"
    return _card(f"Held out: {set_title(set_name)}", note + body)


def diversity_card(run: RunData) -> str:
    """D at the start and at the end, on seed and synthetic images; "" before the first step."""
    rows = []
    for title, name in (
        ("seed images", "diversity/response_seed"),
        ("synthetic images", "diversity/response_synthetic"),
        ("all groups", "diversity/response"),
    ):
        curve = run.curve(name)
        start, end = curve.head(), curve.tail()
        if start is not None and end is not None:
            rows.append((title, f"{number(start)} → {number(end)}"))
    if not rows:
        return ""
    entropy = run.curve("entropy/token")
    start, end = entropy.head(), entropy.tail()
    if start is not None and end is not None:
        rows.append(("token entropy", f"{number(start)} → {number(end)}"))
    note = "<p class='note'>First tenth of the run → last tenth.</p>"
    return _card("Response diversity", note + _list(rows))


def tasks_card(run: RunData) -> str:
    """Accuracy reward and D of each task, first and last; "" for a run with one task."""
    rows = [
        (f"{task}, {title}", f"{number(start)} → {number(end)}")
        for task, ends in task_changes(run)
        for title, start, end in ends
    ]
    if not rows:
        return ""
    note = "<p class='note'>First tenth of the run → last tenth.</p>"
    return _card("By task", note + _list(rows))


def images_card(counts: ImageCounts) -> str:
    """What became of the descriptions; "" for a run without synthesis."""
    if not counts.submitted and not counts.admitted and not counts.rejected:
        return ""
    rows = [
        ("submitted", f"{counts.submitted:,}"),
        ("admitted", f"{counts.admitted:,}"),
        ("rejected", f"{counts.rejected:,}"),
    ]
    rows += [(f"– {reason.replace('_', ' ')}", f"{n:,}") for reason, n in counts.reasons.items()]
    rows += [
        ("dropped, queue full", f"{counts.dropped:,}"),
        ("settled descriptions", f"{counts.settled:,}"),
        ("stale, discarded", f"{counts.stale:,}"),
    ]
    if counts.skipped:
        rows.append(("skipped, nothing labelled", f"{counts.skipped:,}"))
    return _card("Synthesised images", _list(rows))


def pace_line(pace: Pace) -> str:
    """Steps and time, in one line; "" before the first step."""
    if not pace.steps:
        return ""
    parts = [f"{pace.steps:,}" + (f" of {pace.planned:,}" if pace.planned else "") + " steps"]
    if pace.a_step is not None:
        parts.append(f"{duration(pace.total)} of training")
        parts.append(f"{number(pace.a_step)} s a step (median)")
        parts.append(f"{pace.waited:.2%} of it waiting for data")
    return " · ".join(parts)


def held_out_tables(run: RunData) -> str:
    """Every metric of every evaluation, and the last one by kind of question."""
    if not run.evaluations:
        return ""
    names = sorted({name for e in run.evaluations for name in e.metrics}, key=metric_order)
    columns = sorted(run.evaluations, key=lambda e: (run.sets().index(e.set), e.step))
    head = "".join(f"<th class='n'>{escape(e.set)}<br>step {e.step}</th>" for e in columns)
    rows = "".join(
        f"<tr><td>{escape(metric_title(name))}</td>"
        + "".join(f"<td class='n'>{_cell(e.metrics.get(name))}</td>" for e in columns)
        + "</tr>"
        for name in names
    )
    table = f"<div class='scroll'><table><tr><th></th>{head}</tr>{rows}</table></div>"
    return f"<h2>Held-out numbers</h2>{table}{_kinds_table(run)}"


def _kinds_table(run: RunData) -> str:
    headlines = [name for held_out in run.sets() for name in headline_metrics(run, held_out)]
    metrics = list(dict.fromkeys(split_metric(name)[1] for name in headlines))
    rows = []
    for name in run.sets():
        first, last = run.first_and_last(name)
        for kind in last.kinds:
            cells = "".join(
                f"<td class='n'>{_cell(first.kinds.get(kind, {}).get(m))}</td>"
                f"<td class='n'>{_cell(last.kinds[kind].get(m))}</td>"
                for m in metrics
            )
            count = int(last.kinds[kind].get("samples", 0))
            rows.append(
                f"<tr><td>{escape(name)}</td><td>{escape(kind)}</td>"
                f"<td class='n'>{count}</td>{cells}</tr>"
            )
    if not rows:
        return ""
    head = "".join(
        f"<th class='n'>{escape(metric_title(m))}<br>before</th><th class='n'><br>after</th>"
        for m in metrics
    )
    return (
        "<div class='scroll'><table><tr><th>set</th><th>kind of question</th>"
        f"<th class='n'>samples</th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _change(change: Change) -> str:
    before, after = change.before, change.after
    if after is None:
        value = f"{before:.1%}"
        delta, ranges = "", _range(change.before_interval)
    else:
        value = f"<small>{before:.1%} →</small> {after:.1%}"
        points = 100 * (after - before)
        direction = "up" if points > 0 else "down" if points < 0 else ""
        delta = f"<span class='delta {direction}'>{points:+.1f} points</span>"
        ranges = " → ".join(
            filter(None, map(_range, (change.before_interval, change.after_interval)))
        )
    interval = f"<span class='range'>95 % interval {ranges}</span>" if ranges else ""
    return (
        f"<div class='change'><span class='what'>{escape(change.title)}</span>"
        f"<span class='value'>{value}</span>{delta}{interval}</div>"
    )


def _range(interval: tuple[float, float] | None) -> str:
    return f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}" if interval else ""


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _list(rows: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows) + "</dl>"


def _card(title: str, body: str) -> str:
    return f"<section class='card'><h3>{escape(title)}</h3>{body}</section>"
