"""Writes ``report.html`` of a run, one page that needs no other file.

The page is ``templates/run_report.html``; this module collects what the template prints.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.pages.charts import number
from syngrpo.pages.description_words import compare_words
from syngrpo.pages.page_templates import write_page
from syngrpo.pages.pool_gallery import early_and_late_descriptions, extremes, families, open_pool
from syngrpo.pages.response_gallery import last_groups
from syngrpo.pages.run_curves import evaluation_charts, training_charts
from syngrpo.pages.run_data import RunData, read_run
from syngrpo.pages.run_headlines import (
    Change,
    ImageCounts,
    Pace,
    changes,
    duration,
    headline_metrics,
    image_counts,
    metric_order,
    metric_title,
    pace,
    split_metric,
    task_changes,
)
from syngrpo.pool.store import Pool
from syngrpo.serving import wording

REPORT = "report.html"
GROUPS = 8
FAMILIES = 8
CHILDREN = 4
EXTREMES = 5
"""Largest numbers of groups with their answers, of parents in the gallery, of children of each, and
of pictures with the highest and with the lowest diversity."""

TENTHS = "First tenth of the run → last tenth."


@dataclass(frozen=True)
class Card:
    """A box at the top of the page: changes of held-out metrics, or rows of (what, value)."""

    title: str
    note: str = ""
    changes: tuple[Change, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of numbers. ``heads`` are the two-line heads of the number columns; a row is (first
    cells, numbers)."""

    first_heads: tuple[str, ...]
    heads: tuple[tuple[str, str], ...]
    rows: tuple[tuple[tuple[str, ...], tuple[float | None, ...]], ...]


def write_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the file ``out``, ``run_dir/report.html`` by default, and return its path.

    It can be called at any time of a run, after a crash, and for runs without synthesis or
    evaluation. Raises InputError when the directory holds no run.
    """
    run = read_run(run_dir)
    with ExitStack() as stack:
        pool = open_pool(run_dir)
        if pool is not None:
            stack.enter_context(closing(pool))
        return write_page(
            out or run_dir / REPORT,
            "run_report.html",
            name=run.directory.resolve().name,
            lead=_lead(run),
            pace=pace(run),
            cards=_cards(run, pool),
            charts=evaluation_charts(run) + training_charts(run),
            held_out=[_metrics_table(run), _kinds_table(run)] if run.evaluations else [],
            **_pictures(run_dir, pool),
        )


def _pictures(run_dir: Path, pool: Pool | None) -> dict[str, Any]:
    if pool is None:
        return {"groups": [], "families": [], "extremes": [], "words": None}
    highest, lowest = extremes(pool, EXTREMES)
    found = [("disagreed most", highest)] if highest else []
    if len(lowest) > 1:
        found.append(("disagreed least", lowest))
    return {
        "groups": last_groups(run_dir, pool, GROUPS),
        "families": families(pool, FAMILIES, CHILDREN),
        "extremes": found,
        "words": compare_words(*early_and_late_descriptions(pool)),
    }


def _lead(run: RunData) -> list[str]:
    facts = []
    for title, section, key in (
        ("method", "method", "name"),
        ("model", "model", "path"),
        ("generator", "synthesis", "generator"),
        ("seed", "trainer", "seed"),
    ):
        value = run.setting(section, key)
        if value is not None:
            facts.append(f"{title} {value}")
    return [line for line in (" · ".join(facts), _pace_line(pace(run))) if line]


def _pace_line(now: Pace) -> str:
    """Return a line with steps and time; "" before the first step."""
    if not now.steps:
        return ""
    parts = [f"{now.steps:,}" + (f" of {now.planned:,}" if now.planned else "") + " steps"]
    if now.a_step is not None:
        parts.append(f"{duration(now.total)} of training")
        parts.append(f"{number(now.a_step)} s a step (median)")
        parts.append(f"{now.waited:.2%} of it waiting for data")
    return " · ".join(parts)


def _cards(run: RunData, pool: Pool | None) -> list[Card]:
    counts = image_counts(run, pool.stats() if pool is not None else None)
    cards = [_accuracy_card(run, name) for name in run.sets()]
    cards += [_diversity_card(run), _tasks_card(run), _images_card(counts)]
    return [card for card in cards if card.changes or card.rows or card.note]


def _accuracy_card(run: RunData, set_name: str) -> Card:
    """Return the card with held-out accuracy before and after, greedy and sampled."""
    first, last = run.first_and_last(set_name)
    when = f"step {first.step}" + (f" → {last.step}" if last.step > first.step else "")
    count = int(first.metrics.get("samples", 0))
    found = changes(run, set_name, headline_metrics(run, set_name))
    return Card(
        f"Held out: {set_name}",
        when + (f", {wording.count(count, 'sample')}" if count else ""),
        changes=tuple(found),
    )


def _diversity_card(run: RunData) -> Card:
    """Return the card with D at the start and at the end, on seed and on synthetic images."""
    rows = _ends(
        run,
        ("seed images", "diversity/response_seed"),
        ("synthetic images", "diversity/response_synthetic"),
        ("all groups", "diversity/response"),
    )
    if rows:
        rows += _ends(run, ("token entropy", "entropy/token"))
    return Card("Response diversity", TENTHS if rows else "", rows=tuple(rows))


def _ends(run: RunData, *wanted: tuple[str, str]) -> list[tuple[str, str]]:
    rows = []
    for title, name in wanted:
        start, end = run.curve(name).head(), run.curve(name).tail()
        if start is not None and end is not None:
            rows.append((title, f"{number(start)} → {number(end)}"))
    return rows


def _tasks_card(run: RunData) -> Card:
    """Return the card with accuracy reward and D of each task; empty for a run with one task."""
    rows = tuple(
        (f"{task}, {title}", f"{number(start)} → {number(end)}")
        for task, ends in task_changes(run)
        for title, start, end in ends
    )
    return Card("By task", TENTHS if rows else "", rows=rows)


def _images_card(counts: ImageCounts) -> Card:
    """Return the card that says what happened to the descriptions; empty for a run without
    synthesis."""
    title = "Synthesised images"
    if not counts.submitted and not counts.admitted and not counts.rejected:
        return Card(title)
    numbers = [
        ("submitted", counts.submitted),
        ("admitted", counts.admitted),
        ("rejected", counts.rejected),
        *((f"– {reason.replace('_', ' ')}", n) for reason, n in counts.reasons.items()),
        ("dropped, too many waiting", counts.dropped),
        ("settled descriptions", counts.settled),
        ("stale, discarded", counts.stale),
    ]
    if counts.failed:
        numbers.append(("failed, given up", counts.failed))
    if counts.unfinished:
        numbers.append(("not painted when the run ended", counts.unfinished))
    if counts.skipped:
        numbers.append(("skipped, nothing labelled", counts.skipped))
    return Card(title, rows=tuple((what, f"{count:,}") for what, count in numbers))


def _metrics_table(run: RunData) -> Table:
    """Return a table with every metric of every evaluation."""
    names = {name for e in run.evaluations for name in e.metrics}
    columns = sorted(run.evaluations, key=lambda e: (run.sets().index(e.set), e.step))
    return Table(
        ("",),
        tuple((e.set, f"step {e.step}") for e in columns),
        tuple(
            ((metric_title(run, name),), tuple(e.metrics.get(name) for e in columns))
            for name in sorted(names, key=lambda name: metric_order(run, name))
        ),
    )


def _kinds_table(run: RunData) -> Table:
    """Return a table with the headline metrics by kind of question, at the first and at the last
    evaluation."""
    headlines = [name for held_out in run.sets() for name in headline_metrics(run, held_out)]
    metrics = list(dict.fromkeys(split_metric(name)[1] for name in headlines))
    rows = []
    for name in run.sets():
        first, last = run.first_and_last(name)
        for kind, after in last.kinds.items():
            before = first.kinds.get(kind, {})
            values = [v for m in metrics for v in (before.get(m), after.get(m))]
            rows.append(((name, kind), (int(after.get("samples", 0)), *values)))
    heads = [("samples", "")]
    for metric in metrics:
        heads += [(metric_title(run, metric), "before"), ("", "after")]
    return Table(("set", "kind of question"), tuple(heads), tuple(rows))
