"""Draws the words of the descriptions of a run: which of them earn most and least, and which come
early and late."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nicegui import events, ui

from syngrpo.dashboard.evolution.pool_families import EarnedDescription, last_earned
from syngrpo.dashboard.parts.view import View, whole_number
from syngrpo.dashboard.reading.thread_reading import read_in_thread
from syngrpo.pages.description_words import (
    WordComparison,
    WordEarning,
    compare_words,
    word_earnings,
)
from syngrpo.pages.page_templates import render
from syngrpo.pages.pool_gallery import early_and_late_descriptions
from syngrpo.pages.shown_text import shown_text
from syngrpo.pool.store import Pool

LAST = 3000
"""Number of descriptions whose words are looked at, the last ones."""
AGAIN_S = 30.0
"""Seconds after which the words of a run that goes on are counted again."""
ROWS = 12
"""Number of words that are shown of those that earn most, and of those that earn least."""
FEWEST = (5, 10, 20, 50)
VALUES = {"reward": "reward ρ", "diversity": "D of the picture"}
EXPLAINED = {
    "reward": "ρ: what descriptions with the word have earned on average. Refused pictures count, "
    "as D = 0.",
    "diversity": "D: how much the answers to pictures with the word in their description differ, "
    "on average over their visits.",
}


@dataclass(frozen=True)
class Words:
    """What is shown: the words that earn most and least, from how many descriptions, and those that
    come early and late, None if there are too few."""

    most: tuple[WordEarning, ...]
    least: tuple[WordEarning, ...]
    descriptions: int
    change: WordComparison | None


class WordTables:
    """The section below the families. ``remember`` is called when ``query``, what the address says
    about it, has changed."""

    def __init__(self, view: View, remember: Callable[[], None]) -> None:
        self._remember = remember
        value, uses = view.query.get("value", ""), whole_number(view.query.get("uses"))
        self._value = value if value in VALUES else "reward"
        self._fewest = uses if uses in FEWEST else FEWEST[0]
        self._words: Words | None = None
        self._pool: Pool | None = None
        self._counted_at = -AGAIN_S
        self._box = ui.element("section").classes("words")
        with self._box:
            ui.html("<h2>What the descriptions say</h2>", sanitize=False)
            with ui.element("div").classes("controls"):
                ui.toggle(VALUES, value=self._value, on_change=self._value_chosen).props(
                    "dense unelevated no-caps aria-label='what a word earns'"
                )
                options = {fewest: f"at least {fewest} uses" for fewest in FEWEST}
                ui.select(options, value=self._fewest, on_change=self._fewest_chosen).props(
                    "dense outlined options-dense aria-label='fewest uses of a word'"
                )
            self._note = ui.label().classes("note")
            self._tables = ui.element("div")
            self._change = ui.element("div").classes("word-change")
        self._box.set_visibility(False)

    @property
    def query(self) -> dict[str, object]:
        """What the address says."""
        return {
            "value": self._value if self._value != "reward" else "",
            "uses": self._fewest if self._fewest != FEWEST[0] else "",
        }

    async def follow(self, pool: Pool) -> None:
        """Count the words again if some seconds have gone by."""
        if time.monotonic() - self._counted_at >= AGAIN_S:
            self._pool = pool
            await self._count()

    async def _value_chosen(self, event: events.ValueChangeEventArguments) -> None:
        self._value = event.value
        self._remember()
        await self._count()

    async def _fewest_chosen(self, event: events.ValueChangeEventArguments) -> None:
        self._fewest = event.value
        self._remember()
        await self._count()

    async def _count(self) -> None:
        pool, value, fewest = self._pool, self._value, self._fewest
        if pool is None:
            return
        self._counted_at = time.monotonic()
        words, why = await read_in_thread(lambda: counted_words(pool, value, fewest))
        if words is None:
            self._note.set_text(why)
        elif words != self._words:
            self._words = words
            self._draw(words)

    def _draw(self, words: Words) -> None:
        self._box.set_visibility(bool(words.descriptions) or words.change is not None)
        self._note.set_text(
            f"{EXPLAINED[self._value]} Counted over the last {words.descriptions:,} descriptions."
        )
        self._tables.clear()
        with self._tables:
            if words.most:
                ui.html(shown_text(_earnings(words, self._value)), sanitize=False)
            else:
                ui.label(
                    "No word is in so many of these descriptions yet. In a run of an earlier "
                    "version rewards were not kept."
                ).classes("note")
        self._change.clear()
        if words.change is not None:
            with self._change:
                ui.html("<h3>Said early and late</h3>", sanitize=False)
                ui.label(
                    "Share of the submitted descriptions that use a word, at the start and at the "
                    "end of the run."
                ).classes("note")
                page = render("word_change.html", words=words.change)
                ui.html(shown_text(page), sanitize=False)


def counted_words(pool: Pool, value: str, fewest: int) -> Words:
    """Count the words of the last descriptions of a pool. ``value`` is one of ``VALUES``."""
    known = [
        (one.text, earned)
        for one in last_earned(pool, LAST)
        if (earned := _earned(one, value)) is not None
    ]
    found = word_earnings(known, fewest)
    most = found[:ROWS]
    least = found[max(len(most), len(found) - ROWS) :]
    change = compare_words(*early_and_late_descriptions(pool))
    return Words(tuple(most), tuple(reversed(least)), len(known), change)


def _earned(one: EarnedDescription, value: str) -> float | None:
    return one.reward if value == "reward" else one.diversity


def _earnings(words: Words, value: str) -> str:
    rows = [*words.most, *words.least]
    low, high = _scale(rows)
    tables = [("earn most", words.most), ("earn least", words.least)]
    return render(
        "word_earnings.html",
        tables=[(title, found) for title, found in tables if found],
        what="mean ρ" if value == "reward" else "mean D",
        form="%+.2f" if value == "reward" else "%.3f",
        low=low,
        width=high - low,
        zero=low < 0 < high,
    )


def _scale(rows: Sequence[WordEarning]) -> tuple[float, float]:
    """Return the ends of the scale on which the intervals are drawn."""
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    return low, high if high > low else low + 1
