"""Parts that several tabs are built of: a chart in its card, the legend of several charts, a line
of facts, what forbids a comparison, and keys that do something."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from nicegui import events, ui

from syngrpo.dashboard.parts.curve_chart import COLOURS
from syngrpo.pages.shown_text import shown_line

AHEAD = "150px"
"""How far outside of the window a chart is already drawn."""


def chart_card(title: str, note: str) -> ui.echart:
    """Add a card with a title, a sentence below it, and an empty chart. Return the chart. The
    browser draws it when it is first near the window."""
    with ui.element("section").classes("curve"):
        ui.label(shown_line(title)).classes("title")
        ui.label(shown_line(note)).classes("note")
        with ui.element("q-intersection").props(f"once margin={AHEAD}").classes("place"):
            return ui.echart({"series": []})


def set_options(chart: ui.echart, options: dict[str, Any]) -> None:
    """Draw a chart anew with these options."""
    chart.options.clear()
    chart.options.update(options)
    chart.update()


def runs_to_choose(
    label: str,
    names: list[str],
    chosen: Iterable[str],
    on_change: Callable[[events.ValueChangeEventArguments], Awaitable[None]],
) -> ui.select:
    """Add a list from which further runs are chosen; it is hidden without any."""
    known = [name for name in chosen if name in names]
    runs = ui.select(names, value=known, multiple=True, label=label)
    runs.props("dense outlined options-dense clearable").classes("wide")
    runs.set_visibility(bool(names))
    return runs.on_value_change(on_change)


def offer_runs(runs: ui.select, names: list[str]) -> None:
    """Add runs to the list that have begun since the page was opened."""
    if names != runs.options:
        runs.set_options(names)
        runs.set_visibility(bool(names))


def show_legend(box: ui.element, names: Sequence[str]) -> None:
    """Fill the legend with names, each with the colour of the line at its place."""
    box.clear()
    with box:
        for place, name in enumerate(names):
            ui.label(shown_line(name)).style(f"--colour: {COLOURS[place % len(COLOURS)]}")


def fact_line(facts: Iterable[tuple[str, str]]) -> ui.element:
    """Draw facts beside each other, such as "D 0.24   accuracy 0.31   3 visits": what it is, and
    its value. A fact without a value is left out."""
    with ui.element("div").classes("facts") as line:
        for what, value in facts:
            if value:
                with ui.element("span").classes("fact"):
                    if what:
                        ui.label(shown_line(what, 60)).classes("what")
                    ui.label(shown_line(value, 200)).classes("value")
    return line


def show_mismatches(box: ui.element, lines: Sequence[str]) -> None:
    """Fill a box with what evaluations differ in beside the model, a line each; it is hidden
    without any."""
    box.clear()
    box.set_visibility(bool(lines))
    with box:
        ui.label("Not the same in these evaluations, beside the model:").classes("name")
        for line in lines:
            ui.label(shown_line(line))


def on_keys(actions: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """Call an action when its key is pressed, except while somebody writes into a field. The page
    does not scroll by such a key."""

    async def pressed(event: events.KeyEventArguments) -> None:
        action = actions.get(event.key.name)
        held = event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta
        if action is not None and event.action.keydown and not held:
            await action()

    keyboard = ui.keyboard(pressed, ignore=["input", "select", "textarea"])
    keyboard.on(
        "key",
        js_handler=f"(key) => {{ if ({json.dumps(list(actions))}.includes(key.key) "
        "&& !key.ctrlKey && !key.altKey && !key.metaKey) key.event.preventDefault(); }",
    )
