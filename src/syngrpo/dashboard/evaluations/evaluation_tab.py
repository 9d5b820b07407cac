"""The tab that shows answers to a held-out set beside the truth: of one model, the worst first, or
of two, with what has changed from one to the other."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import events, ui

from syngrpo.dashboard.evaluations.answered_sets import (
    CHANGES,
    ORDERS,
    ORDERS_OF_TWO,
    counted_changes,
    measured_differences,
)
from syngrpo.dashboard.evaluations.asked_answers import (
    AT_ONCE,
    AskedAnswers,
    FoundSamples,
    LookedUp,
    looked_up,
    samples_of,
    shown_cases,
    sources_for,
)
from syngrpo.dashboard.parts.page_parts import show_mismatches
from syngrpo.dashboard.parts.view import View
from syngrpo.pages.evaluation_page import headline_rows, kind_rows
from syngrpo.pages.page_templates import render
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import InputError

ALL_KINDS = "all kinds"
NONE = "no other"


def evaluation(view: View) -> None:
    """Draw the tab."""
    view.follow(_Evaluation(view).follow)


class _Evaluation:
    """The controls, the metrics, the changes between two models, and the cases."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._asked = AskedAnswers.of(view.query)
        self._looked = LookedUp(())
        self._seen: tuple[object, ...] = ()
        self._found = FoundSamples()
        self._found_for: tuple[str, ...] = ()
        self._filling = False
        self._reading, self._computing = asyncio.Lock(), asyncio.Lock()
        self._choices: dict[str, ui.select] = {}
        self._controls()
        self._problem = ui.label().classes("problem").props("role=status")
        self._problem.set_visibility(False)
        self._note = ui.label("The answers are being read …").classes("note").props("role=status")
        self._mismatches = ui.element("div").classes("advice")
        self._mismatches.set_visibility(False)
        self._metrics = ui.html(sanitize=False).classes("comparison")
        self._changes = ui.element("div").classes("tiles changes")
        self._pictures = ui.label().classes("note")
        self._key = ui.html(sanitize=False)
        self._cases = ui.html(sanitize=False)
        self._pages()

    def _controls(self) -> None:
        titles = {
            "model": "answers of",
            "before": "against those of",
            "set": "set",
            "kind": "kind of question",
            "order": "order",
        }
        with ui.element("div").classes("controls"):
            for name, title in titles.items():
                choice = ui.select({}, label=title).props("dense outlined options-dense")
                choice.classes("wide" if name in ("model", "before") else "narrow")
                choice.on_value_change(
                    lambda event, name=name: None if self._filling else self._chosen(name, event)
                )
                self._choices[name] = choice

    def _pages(self) -> None:
        self._turner = ui.element("div").classes("page-turner")
        with self._turner:
            self._back = ui.button("previous", on_click=lambda: self._turn(-1))
            self._place = ui.label().classes("note")
            self._next = ui.button("next", on_click=lambda: self._turn(1))
            for button in (self._back, self._next):
                button.props("flat dense no-caps")

    async def _chosen(self, name: str, event: events.ValueChangeEventArguments) -> None:
        await self._ask(page=0, **{name: event.value or ""})

    async def _turn(self, pages: int) -> None:
        await self._ask(page=max(0, self._asked.page + pages))
        ui.run_javascript("window.scrollTo({top: 0})")

    async def _ask(self, **changes: Any) -> None:
        self._asked = asked = self._asked.changed(**changes)
        self._view.remember(
            model=asked.model,
            before=asked.before,
            set=asked.set,
            kind=asked.kind,
            change=asked.change,
            order=asked.order if asked.order != "worst" else "",
            page=asked.page or "",
        )
        await self.follow()

    async def follow(self) -> None:
        """Read what is asked for, and show it if it is not shown already."""
        async with self._reading:
            asked, view = self._asked, self._view
            sources = await asyncio.to_thread(sources_for, view.run, view.runs)
            if (asked, sources) == self._seen:
                return
            looked = await asyncio.to_thread(looked_up, asked, view.run, sources)
            self._seen, self._looked = (asked, sources), looked
            self._fill_choices()
            self._problem.set_text(shown_line(looked.problem))
            self._problem.set_visibility(bool(looked.problem))
            self._note.set_text("")
            self._show_changes()
            await self._show_cases()
        if looked.now is not None:
            await self._show_metrics(looked)
            if self._found_for != _data_of(looked) or not self._found.samples:
                await self._read_pictures(looked)

    def _fill_choices(self) -> None:
        looked, asked = self._looked, self._asked
        titles = {one.reference: shown_line(one.title) for one in looked.sources}
        now = looked.now.by.reference if looked.now is not None else ""
        others = {name: title for name, title in titles.items() if name != now}
        kinds = looked.kinds()
        orders = ORDERS | (ORDERS_OF_TWO if looked.before is not None else {})
        filled: dict[str, tuple[dict[str, str], str]] = {
            "model": (titles, now),
            "before": ({"": NONE, **others}, asked.before),
            "set": ({name: shown_line(name) for name in looked.sets}, looked.set),
            "kind": (
                {"": ALL_KINDS, **{kind: shown_line(kind) for kind in kinds}},
                looked.kind(asked),
            ),
            "order": (orders, asked.order),
        }
        self._filling = True
        for name, (options, value) in filled.items():
            self._choices[name].set_options(options, value=value if value in options else None)
        self._choices["kind"].set_visibility(bool(kinds))
        self._filling = False

    def _show_changes(self) -> None:
        self._changes.clear()
        if self._looked.before is None:
            return
        counts = counted_changes(self._looked.answers(self._asked))
        with self._changes:
            for change in CHANGES:
                chosen = change == self._asked.change
                tile = ui.element("button").classes("tile").props(f"aria-pressed={_yes(chosen)}")
                tile.on("click", lambda change=change: self._choose_change(change))
                with tile:
                    ui.label(change).classes("what")
                    ui.label(f"{counts[change]:,}").classes("value")

    async def _choose_change(self, change: str) -> None:
        await self._ask(change="" if change == self._asked.change else change, page=0)

    async def _show_cases(self) -> None:
        looked, asked, found = self._looked, self._asked, self._found
        cases, number = await asyncio.to_thread(shown_cases, looked, asked, found, self._view)
        self._cases.set_content(shown_text(render("evaluation_case_list.html", cases=cases)))
        answered = [one for one in (looked.now, looked.before) if one is not None]
        names = [shown_line(one.by.title) for one in answered]
        drawn = any(case.picture is not None and case.picture.drawn for case in cases)
        key = render("answer_key.html", names=names) if drawn else ""
        self._key.set_content(shown_text(key))
        start = asked.page * AT_ONCE
        self._place.set_text(f"{start + 1:,}–{start + len(cases):,} of {number:,}")
        self._back.set_enabled(start > 0)
        self._next.set_enabled(start + len(cases) < number)
        self._turner.set_visibility(looked.now is not None)
        if not cases:
            self._place.set_text("There are no such answers.")

    async def _show_metrics(self, looked: LookedUp) -> None:
        """Show the metrics of one model, or of two with their differences."""
        assert looked.now is not None
        async with self._computing:
            if looked is not self._looked:
                return
            try:
                text, lines = await asyncio.to_thread(_metrics, looked)
            except InputError as error:
                text, lines = render("note.html", text=str(error)), ()
        if looked is self._looked:
            show_mismatches(self._mismatches, lines)
            self._metrics.set_content(shown_text(text))

    async def _read_pictures(self, looked: LookedUp) -> None:
        """Read the samples with their images, and draw the cases again with them."""
        assert looked.now is not None
        self._pictures.set_text("The images are being read …")
        wanted = [one.by.of for one in (looked.now, looked.before) if one is not None]
        wanted.append(self._view.run.name)
        runs = sorted(self._view.runs, key=lambda run: run.name not in wanted)
        found = await asyncio.to_thread(samples_of, looked.now, looked.set, runs)
        if _data_of(looked) != _data_of(self._looked):
            return
        self._found, self._found_for = found, _data_of(looked)
        self._pictures.set_text(shown_line(found.problem))
        if found.samples:
            await self._show_cases()


def _metrics(looked: LookedUp) -> tuple[str, tuple[str, ...]]:
    """Return the tables of metrics as HTML, and a line for each thing beside the models that is not
    the same. Raises InputError."""
    assert looked.now is not None
    if looked.before is None:
        results = {looked.set: looked.now.result}
        rows = {"headlines": headline_rows(results), "kinds": kind_rows(results)}
        return render("evaluation_tables.html", **rows), ()
    one, lines = measured_differences(looked.before, looked.now, looked.set)
    names = [shown_line(answered.by.of) for answered in (looked.before, looked.now)]
    return render("compared_evaluations.html", names=names, sets=[one]), lines


def _data_of(looked: LookedUp) -> tuple[str, ...]:
    """Return what decides where the samples are looked for: the set, and the runs."""
    return looked.set, *(one.by.of for one in (looked.now, looked.before) if one is not None)


def _yes(value: bool) -> str:
    return "true" if value else "false"
