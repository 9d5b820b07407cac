"""Browses samples in pages of pictures with their labels drawn, and shows one of them large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial

from nicegui import ui

from syngrpo.dashboard.parts.page_parts import on_keys
from syngrpo.dashboard.parts.view import whole_number
from syngrpo.dashboard.reading.thread_reading import FAULTS
from syngrpo.dashboard.samples.sample_catalogue import (
    PAGE,
    Catalogue,
    CatalogueEntry,
    CataloguePage,
    Choices,
    SampleFilter,
    SampleLinks,
)
from syngrpo.dashboard.samples.sample_detail import SampleDetail
from syngrpo.pages.labelled_picture import sample_picture, words_beside_picture
from syngrpo.pages.page_templates import render
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import InputError
from syngrpo.serving.wording import count, first_line

LOOK_AGAIN_S = 5.0
"""Seconds between two looks at whether there are more samples."""


class SampleBrowser:
    """The filters, a page of samples, and the sample that is open, if any. ``query`` is that of the
    address, of which the fields of ``SampleFilter``, ``page`` and ``sample`` are read."""

    def __init__(self, catalogue: Catalogue, around: SampleLinks, query: Mapping[str, str]) -> None:
        self._catalogue, self._around = catalogue, around
        known = {one.name for one in fields(SampleFilter)}
        self._wanted = SampleFilter(**{k: v for k, v in query.items() if k in known})
        number = whole_number(query.get("page"))
        self._number = number - 1 if number else 0
        self._page = CataloguePage((), False, None)
        self._size = 0
        self._turn = 0
        self._gone = False
        self._filters = ui.element("div").classes("controls filters")
        with ui.element("div").classes("pager"):
            self._count = ui.label().classes("note")
            self._newer = ui.button(on_click=self._show_newer).props("flat dense no-caps")
            self._newer.set_visibility(False)
            self._back = _pager_button("chevron_left", "previous page", self._turn_back)
            self._place = ui.label()
            self._forth = _pager_button("chevron_right", "next page", self._turn_forth)
        self._problem = ui.label().classes("problem")
        self._grid = ui.element("div").classes("sample-grid")
        self._detail = SampleDetail(around, self._opened, self._step)
        on_keys({"ArrowLeft": partial(self._key, -1), "ArrowRight": partial(self._key, 1)})
        ui.timer(0, lambda: self._begin(query.get("sample", "")), once=True)
        ui.timer(LOOK_AGAIN_S, self._look, immediate=False)

    async def _begin(self, sample_id: str) -> None:
        try:
            self._draw_filters(await asyncio.to_thread(self._catalogue.choices))
        except InputError as error:
            self._tell(str(error))
            return
        await self._show(self._wanted, self._number)
        if sample_id:
            await self._open(sample_id)

    async def _look(self) -> None:
        """Say how many samples have come since the page was drawn; the page stays as it is."""
        try:
            size = await asyncio.to_thread(self._catalogue.size)
        except InputError as error:
            self._gone = True
            self._tell(str(error))
            return
        if self._gone:
            self._gone = False
            self._tell("")
        self._newer.set_text(f"{count(size - self._size, 'new picture')}: show")
        self._newer.set_visibility(0 < self._size < size)

    async def _show_newer(self) -> None:
        await self._show(self._wanted, self._number)

    def _draw_filters(self, choices: Choices) -> None:
        named = {
            "order": ("sorted by", choices.orders),
            "kind": ("pictures", choices.kinds),
            "dataset": ("dataset", _with_all("all datasets", choices.datasets)),
            "task": ("task", _with_all("all tasks", choices.tasks)),
            "state": ("state", choices.states),
        }
        with self._filters:
            for name, (label, options) in named.items():
                value = getattr(self._wanted, name)
                if len(options) < 2 and not value:
                    continue
                options = dict(options) if value in options else {**options, value: value}
                ui.select(
                    {key: shown_line(said, 40) for key, said in options.items()},
                    value=value,
                    label=label,
                    on_change=lambda event, name=name: self._changed(name, event.value),
                ).props("dense outlined options-dense")
            ui.input(
                "search questions and answers",
                value=self._wanted.search,
                on_change=lambda event: self._changed("search", (event.value or "").strip()),
            ).props("dense outlined clearable debounce=400").classes("wide")

    async def _changed(self, name: str, value: str) -> None:
        wanted = replace(self._wanted, **{name: value})
        if wanted != self._wanted:
            await self._show(wanted, 0)

    async def _turn_back(self) -> None:
        if self._number:
            await self._show(self._wanted, self._number - 1)

    async def _turn_forth(self) -> None:
        if self._page.more:
            await self._show(self._wanted, self._number + 1)

    async def _show(self, wanted: SampleFilter, number: int) -> None:
        """Show a page, unless another one is asked for meanwhile."""
        self._wanted, self._number = wanted, number
        self._turn += 1
        turn = self._turn
        try:
            size = await asyncio.to_thread(self._catalogue.size)
            page = await asyncio.to_thread(self._catalogue.page, wanted, number)
            drawn = await asyncio.to_thread(lambda: [self._draw(one) for one in page.entries])
        except InputError as error:
            self._tell(str(error))
            return
        if turn != self._turn:
            return
        self._page, self._size = page, size
        self._newer.set_visibility(False)
        self._tell("")
        self._grid.clear()
        with self._grid:
            for entry, (svg, words) in zip(page.entries, drawn, strict=True):
                self._card(entry, svg, words)
        self._count.set_text(_counted(page, number))
        last = "" if page.total is None else f" of {max(1, -(-page.total // PAGE)):,}"
        self._place.set_text(f"page {number + 1:,}{last}")
        self._back.set_enabled(number > 0)
        self._forth.set_enabled(page.more)
        self._remember()

    def _draw(self, entry: CatalogueEntry) -> tuple[str, str]:
        """Return the picture of a sample as SVG, "" if it cannot be drawn; and its answer in words
        if the picture does not show it, or why there is none. Called in a thread."""
        sample = entry.sample
        try:
            picture = sample_picture(sample, self._around.picture(sample.id, 480))
            svg = shown_text(render("sample_picture.html", picture=picture))
            return svg, words_beside_picture(sample)
        except FAULTS as error:  # the task cannot draw it, or a box is none
            return "", first_line(error)

    def _card(self, entry: CatalogueEntry, svg: str, words: str) -> None:
        sample = entry.sample
        card = ui.element("button").classes("case sample").props("type=button")
        card.on("click", lambda: self._open(sample.id), args=[])
        with card:
            if svg:
                ui.html(svg, sanitize=False)
            ui.label(shown_line(sample.question, 160)).classes("title").props("dir=auto")
            if words:
                ui.label(shown_line(words, 120)).classes("truth-words").props("dir=auto")
            with ui.element("div").classes("numbers"):
                ui.label("synthetic" if sample.parent is not None else sample.task)
                for what, value in entry.facts:
                    if (what, value) != ("state", "active"):
                        ui.label(shown_line(value if what == "state" else f"{what} {value}", 60))

    async def _open(self, sample_id: str) -> None:
        """Show a sample large."""
        try:
            entry = await asyncio.to_thread(self._catalogue.entry, sample_id)
        except InputError as error:
            self._tell(str(error))
            return
        if entry is None:
            self._tell(f"There is no sample {shown_line(sample_id, 80)} here.")
            return
        await self._detail.show(entry)

    def _opened(self) -> None:
        self._remember()

    async def _step(self, direction: int) -> None:
        """Show the sample before or after the one that is open, on the next page if need be."""
        ids = [entry.sample.id for entry in self._page.entries]
        if self._detail.shown not in ids:
            return
        place = ids.index(self._detail.shown) + direction
        if place < 0 and self._number:
            await self._turn_back()
            place = len(self._page.entries) - 1
        elif place >= len(ids) and self._page.more:
            await self._turn_forth()
            place = 0
        if 0 <= place < len(self._page.entries):
            await self._open(self._page.entries[place].sample.id)

    async def _key(self, direction: int) -> None:
        """Go to the next sample, if one is open, otherwise to the next page."""
        if self._detail.shown:
            await self._step(direction)
        elif direction > 0:
            await self._turn_forth()
        else:
            await self._turn_back()

    def _remember(self) -> None:
        page = {"page": self._number + 1 if self._number else None, "sample": self._detail.shown}
        self._around.remember(asdict(self._wanted) | page)

    def _tell(self, line: str) -> None:
        self._problem.set_text(shown_text(line, 2000))
        self._problem.set_visibility(bool(line))


def _pager_button(icon: str, says: str, turn: Callable[[], object]) -> ui.button:
    return ui.button(icon=icon, on_click=turn).props(f"flat dense round aria-label='{says}'")


def _with_all(every: str, names: object) -> dict[str, str]:
    """Return the choices of one of the names, or all; nothing to choose if there is only one."""
    listed = [str(name) for name in names] if isinstance(names, list | tuple) else []
    return {"": every} | {name: name for name in listed} if len(listed) > 1 else {}


def _counted(page: CataloguePage, number: int) -> str:
    if not page.entries:
        return "No samples."
    first = number * PAGE + 1
    whole = "" if page.total is None else f" of {page.total:,}"
    return f"{first:,} to {first + len(page.entries) - 1:,}{whole}"
