"""The tab that shows what the model answers: the groups of a step, or all those of a sample.

The list on the left is read by ``response_groups``; ``group_view`` draws the group that is looked
at. The arrow keys left and right go through the groups, up and down (or K and J) through the
responses of a group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from nicegui import events, ui

from syngrpo.dashboard.parts.page_parts import on_keys
from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.responses.asked_responses import (
    Asked,
    Listed,
    filtered,
    listed,
    no_responses,
)
from syngrpo.dashboard.responses.drawn_group import drawn_group
from syngrpo.dashboard.responses.group_view import GroupView
from syngrpo.dashboard.responses.response_groups import KINDS, SORTS, GroupFilter, GroupLine
from syngrpo.pages.shown_text import shown_line

T = TypeVar("T")

AT_ONCE = 60
"""Groups in the list before a button asks for more."""
GROUP_KEYS = {"ArrowLeft": -1, "ArrowRight": 1}
RESPONSE_KEYS = {"ArrowUp": -1, "ArrowDown": 1, "k": -1, "j": 1, "K": -1, "J": 1}


def responses(view: View) -> None:
    """Draw the tab."""
    tab = _Responses(view)
    view.follow(tab.follow)


class _Responses:
    """The parts of the tab, and what is shown in them."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._now = Listed(Asked.of(view.query), [], [])
        self._items: dict[tuple[int, int], ui.element] = {}
        self._range: tuple[int, int] | None = None
        self._turn = 0
        self._line = ui.label().classes("note")
        self._main = ui.element("div").classes("responses")
        with self._main:
            with ui.element("div").classes("controls"):
                self._draw_step_controls()
                self._draw_sample_controls()
                self._draw_filters(self._now.asked)
            self._note = ui.label().classes("note")
            with ui.element("div").classes("list-and-group"):
                self._list = ui.element("div").classes("group-list").props("aria-label=groups")
                overlay = view.query.get("overlay", "")
                self._group = GroupView(view, overlay, self._choose, self._remember)
        self._main.set_visibility(False)
        on_keys(
            {key: partial(self._step_group, step) for key, step in GROUP_KEYS.items()}
            | {key: partial(self._step_response, step) for key, step in RESPONSE_KEYS.items()}
            | {"Escape": self._let_go}
        )

    async def follow(self) -> None:
        """Show responses when the first are there; later only say that there are newer ones."""
        kept = self._view.run.responses
        first, last = await asyncio.to_thread(lambda: (kept.step_from(0), kept.last_step()))
        if first is None or last is None:
            if self._range is None:
                self._line.set_text(no_responses(self._view.run.data().config))
            return
        if (first, last) == self._range:
            return
        opened, self._range = self._range is None, (first, last)
        self._slider.props["min"], self._slider.props["max"] = first, last
        self._newest.set_text(f"newest: {last:,}")
        if opened:
            self._main.set_visibility(True)
            self._line.set_text("")
            await self._read(self._now.asked)

    # what is at the top

    def _draw_step_controls(self) -> None:
        self._step_controls = ui.element("div").classes("steps")
        with self._step_controls:
            ui.button(icon="chevron_left", on_click=lambda: self._turn_to(-1)).props(
                "flat dense round aria-label='previous step with responses'"
            )
            self._step = ui.number("step", min=0, precision=0, on_change=self._step_typed).props(
                "dense outlined debounce=500"
            )
            ui.button(icon="chevron_right", on_click=lambda: self._turn_to(1)).props(
                "flat dense round aria-label='next step with responses'"
            )
            self._slider = ui.slider(min=0, max=1, value=0).props("aria-label=step")
            self._slider.on("change", self._step_slid)
            self._newest = ui.button(on_click=self._go_to_newest).props("flat dense no-caps")

    def _draw_sample_controls(self) -> None:
        self._sample_controls = ui.element("div").classes("steps")
        with self._sample_controls:
            self._sample = ui.label().classes("question")
            self._by_step = ui.link("back to the step", "")

    def _draw_filters(self, asked: Asked) -> None:
        wanted, changed = asked.wanted, self._filters_changed
        dense = "dense outlined options-dense"
        with ui.element("div").classes("filters"):
            self._sort = ui.select(SORTS, value=asked.sort, label="sorted by", on_change=changed)
            self._kind = ui.select(KINDS, value=wanted.kind, label="pictures", on_change=changed)
            self._task = ui.select({wanted.task: ""}, value=wanted.task, label="task")
            self._task.on_value_change(changed)
            for select in (self._sort, self._kind, self._task):
                select.props(dense)
            with ui.element("label").classes("accuracy-range"):
                share = {"min": wanted.low, "max": wanted.high}
                self._accuracy = ui.range(min=0, max=1, step=0.05, value=share)
                self._accuracy.props("aria-label='mean accuracy'").on("change", changed, args=[])
                ui.label().classes("what").bind_text_from(
                    self._accuracy,
                    "value",
                    lambda value: f"accuracy {value['min']:.2f} to {value['max']:.2f}",
                )
            self._search = ui.input("search texts", value=wanted.search, on_change=changed)
            self._search.props("dense outlined clearable debounce=400 type=search")

    async def _turn_to(self, direction: int) -> None:
        kept, step = self._view.run.responses, self._now.asked.step
        if step is None:
            return
        find = kept.step_from if direction > 0 else kept.step_up_to
        found = await asyncio.to_thread(find, step + direction)
        if found is not None:
            await self._go_to(found)

    async def _step_typed(self, event: events.ValueChangeEventArguments) -> None:
        if event.value is not None:
            await self._go_to(int(event.value))

    async def _step_slid(self, event: events.GenericEventArguments) -> None:
        await self._go_to(int(event.args))

    async def _go_to_newest(self) -> None:
        if self._range is not None:
            await self._go_to(self._range[1])

    async def _go_to(self, step: int) -> None:
        asked = self._now.asked
        if step != asked.step:
            await self._read(replace(asked, step=step, group=None, response=None))

    async def _filters_changed(self) -> None:
        low, high = self._accuracy.value["min"], self._accuracy.value["max"]
        search = (self._search.value or "").strip()
        wanted = GroupFilter(self._task.value, self._kind.value, low, high, search)
        asked = replace(self._now.asked, wanted=wanted, sort=self._sort.value)
        if asked != self._now.asked and self._range is not None:
            run, read = self._view.run, self._now.read
            await self._show(await self._latest(lambda: filtered(run, asked, read)))

    # what is shown

    async def _read(self, asked: Asked) -> None:
        await self._show(await self._latest(lambda: listed(self._view.run, asked)))

    async def _latest(self, read: Callable[[], T]) -> T | None:
        """Call ``read`` in a thread. Return None if something else was asked for meanwhile."""
        self._turn += 1
        turn = self._turn
        found = await asyncio.to_thread(read)
        return found if turn == self._turn else None

    async def _show(self, now: Listed | None) -> None:
        """Show a list, and the group that is looked at."""
        if now is None:
            return
        self._now, asked = now, now.asked
        self._note.set_text(now.note)
        self._step_controls.set_visibility(not asked.sample)
        self._sample_controls.set_visibility(bool(asked.sample))
        self._sample.set_text(f"All responses to {shown_line(asked.sample, 80)}")
        if asked.step is not None:
            self._step.set_value(asked.step)
            self._slider.set_value(asked.step)
        tasks = sorted({group.task for group in now.read} | {asked.wanted.task} - {""})
        self._task.set_options({"": "all tasks"} | {task: shown_line(task, 40) for task in tasks})
        self._task.set_visibility(len(tasks) > 1)
        self._list.clear()
        self._items = {}
        self._draw_items(AT_ONCE)
        await self._open(asked.group, asked.response)

    def _draw_items(self, until: int) -> None:
        """Draw the groups of the list up to this number, and a button if there are more."""
        groups = self._now.groups
        with self._list:
            for group in groups[len(self._items) : until]:
                self._items[group.key] = self._item(group)
            left = len(groups) - len(self._items)
            if left:
                ui.button(f"{left:,} more", on_click=self._draw_more).props("flat dense no-caps")

    def _draw_more(self, event: events.ClickEventArguments) -> None:
        event.sender.delete()
        self._draw_items(len(self._items) + AT_ONCE)

    def _item(self, group: GroupLine) -> ui.element:
        item = ui.element("button").classes("group").props("type=button")
        item.on("click", lambda: self._open(group.key), args=[])
        with item:
            with ui.element("div").classes("thumb"):
                if not group.transformed:
                    image = ui.element("img").props("loading=lazy alt=''")
                    image.props["src"] = self._view.picture(group.sample_id, 160)
            with ui.element("div").classes("about"):
                by_step = f"step {group.step:,}" if self._now.asked.sample else group.question
                ui.label(shown_line(by_step, 120)).classes("title").props("dir=auto")
                with ui.element("div").classes("numbers"):
                    ui.label(f"D {_decimals(group.diversity)}")
                    ui.label(f"acc. {_decimals(group.accuracy)}")
                    ui.label("synthetic" if group.synthetic else "seed")
        return item

    async def _open(self, key: tuple[int, int] | None, response: int | None = None) -> None:
        """Show one of the groups of the list."""
        group = next((one for one in self._now.groups if one.key == key), None)
        if group is None:
            self._group.clear()
            self._remember()
            return
        places = [one.key for one in self._now.groups]
        while group.key not in self._items:
            self._draw_items(places.index(group.key) + 1)
        href = self._view.picture(group.sample_id, 1024)
        drawn = await self._latest(lambda: drawn_group(self._view.run, group, href))
        if drawn is None:
            return
        if response is not None and response >= len(drawn.responses):
            response = None
        self._set_asked(group=group.key, response=response)
        for one, item in self._items.items():
            item.props["aria-current"] = "true" if one == key else "false"
        self._items[group.key].run_method("scrollIntoView", {"block": "nearest"})
        self._group.show(drawn, response)
        self._by_step.props["href"] = self._view.link(
            "responses", step=group.step, group=group.group_index
        )

    def _choose(self, response: int | None) -> None:
        """Set a response of the group apart; the one that is already is so no more."""
        self._set_asked(response=None if response == self._now.asked.response else response)
        self._group.choose(self._now.asked.response)

    def _set_asked(self, **changed: Any) -> None:
        self._now = replace(self._now, asked=replace(self._now.asked, **changed))
        self._remember()

    def _remember(self) -> None:
        overlay = "" if self._group.overlay == "text" else self._group.overlay
        self._view.remember(**self._now.asked.query(), overlay=overlay)

    async def _step_group(self, step: int) -> None:
        keys = [group.key for group in self._now.groups]
        asked = self._now.asked.group
        place = keys.index(asked) + step if asked in keys else 0
        if 0 <= place < len(keys):
            await self._open(keys[place])

    async def _step_response(self, step: int) -> None:
        asked, count = self._now.asked.response, self._group.count
        place = min(max((-1 if asked is None else asked) + step, 0), count - 1)
        if count and place != asked:
            self._choose(place)

    async def _let_go(self) -> None:
        if self._now.asked.response is not None:
            self._choose(None)


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
