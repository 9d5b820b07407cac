"""The tab that shows what the run learns from and is measured on: its pool, and the evaluation sets
of its configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from nicegui import ui

from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.reading.held_out import held_out_names, held_out_set
from syngrpo.dashboard.samples.pool_catalogue import PoolCatalogue
from syngrpo.dashboard.samples.sample_browser import SampleBrowser
from syngrpo.dashboard.samples.sample_catalogue import ListedSamples
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import Sample

MOST_PROBLEMS = 20
NO_POOL = (
    "There is no pool in this run directory: the run has not begun to train yet, or its data "
    "server keeps the pool elsewhere."
)


def data(view: View) -> None:
    """Draw the tab."""
    chosen = view.query.get("set", "")
    with ui.element("div").classes("controls"):
        sources = ui.element("div")
    body = ui.element("div").classes("data")
    shown = False

    async def show() -> None:
        """Draw what there is; if there is no pool yet, look again."""
        nonlocal shown
        if shown:
            return
        config = (await asyncio.to_thread(view.run.data)).config
        names = {"": "pool"} | {name: f"evaluation: {name}" for name in held_out_names(config)}
        if len(names) > 1:
            sources.clear()
            with sources:
                draw_sources(names, chosen, lambda name: view.link("data", set=name))
        if chosen:
            shown = True
            await _show_set(view, body, config, chosen)
            return
        pool = await asyncio.to_thread(view.run.pool)
        body.clear()
        with body:
            if pool is None:
                ui.label(NO_POOL).classes("note")
                return
            shown = True
            SampleBrowser(PoolCatalogue(view.run.pool), _Around(view, ""), view.query)

    view.follow(show)


def draw_sources(names: Mapping[str, str], chosen: str, address: Callable[[str], str]) -> None:
    """Draw the choice between sources, name → what the choice says. Choosing one goes to its
    ``address``."""
    known = dict(names) if chosen in names else {**names, chosen: chosen}
    shown = {name: shown_line(said, 60) for name, said in known.items()}
    ui.toggle(
        shown, value=chosen, on_change=lambda event: ui.navigate.to(address(event.value))
    ).props("dense flat no-caps aria-label=samples")


async def _show_set(view: View, body: ui.element, config: Mapping[str, object], name: str) -> None:
    with body:
        ui.label("Reading …").classes("note")
    found = await asyncio.to_thread(held_out_set, config, name)
    body.clear()
    with body:
        draw_problems(found.problems)
        if found.samples:
            SampleBrowser(ListedSamples(found.samples), _Around(view, name), view.query)


def draw_problems(lines: Sequence[str]) -> None:
    """Draw a line for each of the first problems, and their number if there are more."""
    for line in lines[:MOST_PROBLEMS]:
        ui.label(shown_text(line, 1000)).classes("problem")
    left = len(lines) - MOST_PROBLEMS
    if left > 0:
        ui.label(f"and {left:,} more").classes("note")


class _Around:
    """The run around a browser of samples; ``held_out`` names the evaluation set, "" the pool."""

    def __init__(self, view: View, held_out: str) -> None:
        self._view, self._held_out = view, held_out

    def picture(self, sample_id: str, side: int) -> str:
        return self._view.picture(sample_id, side, self._held_out)

    def remember(self, query: Mapping[str, object]) -> None:
        self._view.remember(set=self._held_out, **query)

    def links(self, sample: Sample) -> list[tuple[str, str]]:
        if self._held_out:
            return []
        links = [
            ("its responses", self._view.link("responses", sample=sample.id)),
            ("its family", self._view.link("evolution", sample=sample.id)),
        ]
        if sample.parent is not None:
            links.append(
                ("what it was painted from", self._view.link("data", sample=sample.parent))
            )
        return links
