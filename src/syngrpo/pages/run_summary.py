"""Prints a summary of a run in the terminal when it ends."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from syngrpo.pages.pool_gallery import open_pool
from syngrpo.pages.run_data import RunData, read_run
from syngrpo.pages.run_headlines import (
    Change,
    changes,
    duration,
    headline_metrics,
    image_counts,
    pace,
    task_changes,
)
from syngrpo.serving.wording import count


def print_summary(run_dir: Path, console: Console | None = None) -> None:
    """Print held-out accuracy before and after, response diversity, images, time, and the paths of
    model and report.

    Raises InputError when the directory holds no run.
    """
    console = console or Console()
    run = read_run(run_dir)
    console.print()
    if run.evaluations:
        console.print(_accuracy_table(run))
    for title, text in _facts(run):
        line = f"[bold]{escape(f'{title:<20}')}[/bold] {escape(text)}"
        console.print(line, soft_wrap=True, highlight=False)
    console.print()
    for title, path in (("model", run_dir / "final"), ("report", run_dir / "report.html")):
        if path.exists():
            console.print(f"[bold]{title:<20}[/bold] ", end="")
            console.print(str(path), soft_wrap=True, markup=False, highlight=False)


def _accuracy_table(run: RunData) -> Table:
    table = Table(title="held-out accuracy, with 95 % intervals", title_justify="left")
    for name in ("set", "metric"):
        table.add_column(name)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for set_name in run.sets():
        for change in changes(run, set_name, headline_metrics(run, set_name)):
            titles = map(escape, (set_name, change.title))
            table.add_row(*titles, *_cells(change))
    return table


def _cells(change: Change) -> tuple[str, str, str]:
    before = f"{change.before:.1%}{_interval(change.before_interval)}"
    points = change.points
    if change.after is None or points is None:
        return before, "–", ""
    colour = "green" if points > 0 else "red" if points < 0 else "default"
    after = f"{change.after:.1%}{_interval(change.after_interval)}"
    return before, after, f"[{colour}]{points:+.1f}[/{colour}]"


def _interval(interval: tuple[float, float] | None) -> str:
    return f" [dim]{100 * interval[0]:.0f}–{100 * interval[1]:.0f}[/dim]" if interval else ""


def _facts(run: RunData) -> list[tuple[str, str]]:
    facts = []
    for title, name in (
        ("diversity, seed", "diversity/response_seed"),
        ("diversity, synthetic", "diversity/response_synthetic"),
    ):
        start, end = run.curve(name).head(), run.curve(name).tail()
        if start is not None and end is not None:
            facts.append((title, f"{start:.3f} → {end:.3f}"))
    for task, ends in task_changes(run):
        text = ", ".join(f"{title} {start:.3f} → {end:.3f}" for title, start, end in ends)
        facts.append((f"task {task}", text))
    for name in run.rewards():
        start, end = run.curve(f"reward/{name}").head(), run.curve(f"reward/{name}").tail()
        if start is not None and end is not None:
            facts.append((f"reward {name}", f"{start:.3f} → {end:.3f}"))
    facts += _responses(run)
    facts += _images(run)
    now = pace(run)
    if now.a_step is not None:
        facts.append(
            (
                "time",
                f"{count(now.steps, 'step')} in {duration(now.total)}, {now.a_step:.2f} s a step, "
                f"{now.waited:.2%} of it waiting for data",
            )
        )
    return facts


def _responses(run: RunData) -> list[tuple[str, str]]:
    """Return the shares of responses that are well formed and that were cut at the length limit, at
    the start and at the end."""
    ends = []
    for title, name in (("well formed", "reward/format"), ("cut off", "rollout/cut_share")):
        start, end = run.curve(name).head(), run.curve(name).tail()
        if start is not None and end is not None:
            ends.append(f"{title} {start:.0%} → {end:.0%}")
    return [("responses", ", ".join(ends))] if ends else []


def _images(run: RunData) -> list[tuple[str, str]]:
    pool = open_pool(run.directory)
    if pool is None:
        return []
    counts = image_counts(run, pool.stats())
    pool.close()
    if not counts.submitted:
        return []
    reasons = ", ".join(f"{r.replace('_', ' ')} {n}" for r, n in counts.reasons.items())
    text = (
        f"{count(counts.submitted, 'description')} submitted, "
        f"{count(counts.admitted, 'image')} admitted, "
        f"{counts.rejected} rejected" + (f" ({reasons})" if reasons else "")
    )
    if counts.failed:
        text += f", {counts.failed} failed"
    if counts.unfinished:
        text += f", {counts.unfinished} not painted"
    if counts.skipped:
        text += f", {counts.skipped} skipped (nothing labelled)"
    whose = "its" if counts.settled == 1 else "their"
    settled = f"{count(counts.settled, 'description')} got {whose} reward"
    return [("synthesis", text), ("settled", settled)]
