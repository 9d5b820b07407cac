"""The tab that shows what the gate refuses, so that one look tells whether a threshold is wrong:
the share of each reason over time, every score with its threshold, and refused pictures.

``gate_decisions`` reads them, ``gate_limits`` says what the scores are compared with, and
``gate_charts`` makes the charts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from nicegui import events, ui

from syngrpo.dashboard.gate.gate_charts import histogram_options, share_options
from syngrpo.dashboard.gate.gate_decisions import (
    Part,
    RefusedJob,
    ScoreHistogram,
    decided_parts,
    last_decisions,
    refused_jobs,
    score_histograms,
    steps_of,
)
from syngrpo.dashboard.gate.refused_card import refused_card
from syngrpo.dashboard.parts.page_parts import set_options
from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.reading.gate_limits import ScoreLimit, reason_words, score_limits
from syngrpo.dashboard.reading.thread_reading import pool_in_thread, read_in_thread
from syngrpo.pages.run_data import RunData
from syngrpo.pages.shown_text import shown_line
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import PoolStats

AGAIN_S = 10.0
"""Seconds after which the decisions of a run that goes on are read again."""
AT_ONCE = 12
"""Refused pictures that are shown before a button asks for more."""
NO_JOBS = "No picture has been painted in this run yet."


@dataclass(frozen=True)
class Decisions:
    """What the tab shows, except the pictures."""

    stats: PoolStats
    parts: tuple[Part, ...]
    places: tuple[int, ...]
    histograms: tuple[ScoreHistogram, ...]
    limits: dict[str, ScoreLimit]


def gate(view: View) -> None:
    """Draw the tab."""
    view.follow(_Gate(view).follow)


class _Gate:
    """The parts of the tab."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._read_at = -AGAIN_S
        self._shown: Decisions | None = None
        self._charts: dict[str, _ScoreChart] = {}
        self._said = ui.label().classes("note").props("role=status")
        with ui.element("div") as self._main:
            self._tiles = ui.element("div").classes("tiles")
            with ui.element("div").classes("curve") as self._over_time:
                ui.label("Refused pictures by reason").classes("title")
                self._share_note = ui.label().classes("note")
                self._shares = ui.echart({"series": []}).classes("shares")
            self._reasons = ui.element("div").classes("scroll gate-reasons")
            ui.html("<h2>Scores and thresholds</h2>", sanitize=False)
            self._score_note = ui.label().classes("note")
            with ui.element("div").classes("key"):
                for kind, words in (
                    ("admitted", "admitted"),
                    ("refused", "refused by this check"),
                    ("elsewhere", "refused by another check"),
                    ("limit", "threshold"),
                ):
                    with ui.element("span"):
                        ui.element("i").classes(f"gate-{kind}")
                        ui.label(words)
            self._scores = ui.element("div").classes("curves")
            self._gallery = _Gallery(view)
        self._main.set_visibility(False)

    async def follow(self) -> None:
        """Read the decisions again, and draw what has changed."""
        if time.monotonic() - self._read_at < AGAIN_S:
            return
        self._read_at = time.monotonic()
        pool, why = await pool_in_thread(self._view.run, NO_JOBS)
        if pool is None:
            self._said.set_text(why)
            return
        before = self._shown
        found, why = await read_in_thread(lambda: _decisions(pool, self._view.run.data(), before))
        self._said.set_text(why)
        if found is None:
            return
        decided = found.stats.jobs["admitted"] + found.stats.jobs["rejected"]
        self._main.set_visibility(decided > 0)
        if not decided:
            self._said.set_text(NO_JOBS)
        elif found != self._shown:
            self._shown = found
            self._draw(found, decided)
        await self._gallery.follow(pool, found)

    def _draw(self, found: Decisions, decided: int) -> None:
        rejected = found.stats.rejected
        reasons = sorted(rejected, key=lambda reason: -rejected[reason])
        self._draw_tiles(found, decided, reasons)
        by_step = bool(found.places)
        places = found.places or tuple(part.last for part in found.parts)
        self._share_note.set_text(
            "Share of the painted pictures, by the step in which the trainer learned of them."
            if by_step
            else "Share of the painted pictures, in the order in which they were judged."
        )
        self._over_time.set_visibility(bool(reasons))
        set_options(self._shares, share_options(found.parts, places, reasons))
        self._draw_reasons(found, decided, reasons)
        looked_at = max((one.seen for one in found.histograms), default=0)
        self._score_note.set_text(
            f"Of the last {looked_at:,} pictures. A check sees only what those before it have let "
            "through. If the refused pictures below look right, their threshold is too strict; if "
            "admitted ones in the tab Data look wrong, theirs is too weak."
            if looked_at
            else "They are drawn as soon as two pictures have different scores."
        )
        for one in found.histograms:
            if one.limit.score not in self._charts:
                with self._scores:
                    self._charts[one.limit.score] = _ScoreChart()
            self._charts[one.limit.score].show(one)

    def _draw_tiles(self, found: Decisions, decided: int, reasons: Sequence[str]) -> None:
        rejected = sum(found.stats.rejected.values())
        now = found.parts[-max(1, len(found.parts) // 10) :]
        seen = sum(sum(part.counts.values()) for part in now)
        last = 1 - sum(part.counts.get("", 0) for part in now) / max(1, seen)
        self._tiles.clear()
        with self._tiles:
            for what, value, since in (
                ("admitted", f"{found.stats.jobs['admitted']:,}", "pictures"),
                ("refused", f"{rejected:,}", f"{rejected / decided:.0%} of all pictures"),
                ("refused lately", f"{last:.0%}", "in the last tenth of the run"),
                ("most often", reason_words(reasons[0]) if reasons else "", ""),
            ):
                if not value:
                    continue
                with ui.element("div").classes("tile"):
                    ui.label(what).classes("what")
                    words = "words" if what == "most often" else ""
                    ui.label(shown_line(value, 80)).classes(f"value {words}")
                    ui.label(since).classes("since")

    def _draw_reasons(self, found: Decisions, decided: int, reasons: Sequence[str]) -> None:
        """Draw a table of the reasons, with what decides about each."""
        self._reasons.clear()
        if not reasons:
            return
        with self._reasons, ui.element("table"):
            with ui.element("tr"):
                for head, classes in (
                    ("refused because", ""),
                    ("pictures", "n"),
                    ("share", "n"),
                    ("threshold", ""),
                    ("setting", ""),
                ):
                    with ui.element("th").classes(classes):
                        ui.label(head)
            for reason in reasons:
                count = found.stats.rejected[reason]
                limits = [one for one in found.limits.values() if one.reason == reason]
                words = dict.fromkeys(f"{one.title} {one.words}" for one in limits if one.words)
                keys = dict.fromkeys(one.key for one in limits if one.key)
                _row(
                    (shown_line(reason_words(reason), 80), ""),
                    (f"{count:,}", "n"),
                    (f"{count / decided:.1%}", "n"),
                    ("; ".join(words), ""),
                    ("\n".join(keys), "setting"),
                )


def _decisions(pool: Pool, run: RunData, before: Decisions | None) -> Decisions:
    """Return the decisions; those of ``before``, if no job has ended since."""
    stats, limits = pool.stats(), score_limits(run)
    if before is not None and (before.stats, before.limits) == (stats, limits):
        return before
    parts = decided_parts(pool)
    return Decisions(
        stats=stats,
        parts=tuple(parts),
        places=tuple(steps_of([part.last for part in parts], run)),
        histograms=tuple(score_histograms(last_decisions(pool), limits)),
        limits=limits,
    )


def _row(*cells: tuple[str, str]) -> None:
    """Draw a row of a table: the text and the classes of each cell."""
    with ui.element("tr"):
        for text, classes in cells:
            with ui.element("td").classes(classes):
                ui.label(text)


class _ScoreChart:
    """The histogram of a score."""

    def __init__(self) -> None:
        with ui.element("div").classes("curve score-chart"):
            self._title = ui.label().classes("title")
            self._note = ui.label().classes("note")
            self._setting = ui.label().classes("note setting")
            self._chart = ui.echart({"series": []})
        self._shown: ScoreHistogram | None = None

    def show(self, histogram: ScoreHistogram) -> None:
        """Draw the histogram if it has changed."""
        if histogram == self._shown:
            return
        self._shown = histogram
        limit, refused = histogram.limit, sum(histogram.refused)
        self._title.set_text(shown_line(limit.title, 60))
        words = limit.words or "no threshold: it is only recorded"
        share = f" · refuses {refused:,} of {histogram.seen:,}" if limit.words else ""
        self._note.set_text(words + share)
        self._setting.set_text(limit.key)
        set_options(self._chart, histogram_options(histogram))


class _Gallery:
    """Refused pictures beside the seeds that they were painted from."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._reason = view.query.get("reason", "")
        self._most = AT_ONCE
        self._pool: Pool | None = None
        self._limits: dict[str, ScoreLimit] = {}
        self._refused = 0
        self._drawn: list[RefusedJob] = []
        self._numbers: dict[str, int] = {}
        ui.html("<h2>Refused pictures</h2>", sanitize=False)
        self._note = ui.label().classes("note")
        self._choice = ui.element("div").classes("controls")
        self._cards = ui.element("div").classes("refused-cards")
        self._more = ui.button("Show more", on_click=self._show_more).props("flat dense no-caps")

    async def follow(self, pool: Pool, found: Decisions) -> None:
        """Read which pictures are kept, and draw them if they have changed."""
        self._pool, self._limits = pool, found.limits
        self._refused = found.stats.jobs["rejected"]
        await self._read()

    async def _read(self) -> None:
        pool, reason, most = self._pool, self._reason, self._most
        if pool is None:
            return
        found, why = await read_in_thread(lambda: refused_jobs(pool, reason, most))
        if (reason, most) != (self._reason, self._most):
            return  # something else was asked for meanwhile
        if found is None:
            self._note.set_text(why)
            return
        jobs, numbers = found
        kept = sum(numbers.values())
        self._note.set_text(_kept_words(self._view.run.data(), kept, self._refused))
        if numbers != self._numbers:
            self._numbers = numbers
            self._draw_choice()
        left = (numbers.get(reason, 0) if reason else sum(numbers.values())) - len(jobs)
        self._more.set_visibility(left > 0)
        if jobs != self._drawn:
            self._drawn = jobs
            self._cards.clear()
            with self._cards:
                for job in jobs:
                    refused_card(self._view, job, self._limits)

    def _draw_choice(self) -> None:
        self._choice.clear()
        if not self._numbers:
            return
        options = {"": f"all ({sum(self._numbers.values())})"}
        for reason, count in sorted(self._numbers.items(), key=lambda one: -one[1]):
            options[reason] = f"{shown_line(reason_words(reason), 60)} ({count})"
        chosen = self._reason if self._reason in options else ""
        with self._choice:
            ui.select(options, value=chosen, on_change=self._chosen).props(
                "dense outlined options-dense aria-label='reason'"
            ).classes("wide")

    async def _chosen(self, event: events.ValueChangeEventArguments) -> None:
        self._reason, self._most = event.value, AT_ONCE
        self._view.remember(reason=self._reason)
        await self._read()

    async def _show_more(self) -> None:
        self._most += 2 * AT_ONCE
        await self._read()


def _kept_words(run: RunData, kept: int, refused: int) -> str:
    """Return in words which refused pictures there are to see. ``refused`` is the number of all,
    ``kept`` that of those of which there is a copy."""
    if not refused:
        return "The gate has refused no picture so far."
    if kept:
        return "The newest of each reason, as small copies. Left the seed, right what was refused."
    if run.setting("server", "url"):
        return (
            "The pictures that were refused stay with the data server, which shows them if it was "
            "started with --dashboard."
        )
    return (
        "No refused picture was kept. synthesis.gate.keep_refused is how many are, of each reason."
    )
