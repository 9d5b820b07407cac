"""The parts of a page around a chart of ``curve_chart``: its card, and the legend of several
charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from syngrpo.dashboard.curve_chart import COLOURS
from syngrpo.dashboard.shown_text import shown_line


def chart_card(title: str, note: str) -> ui.echart:
    """Add a card with a title, a sentence below it, and an empty chart. Return the chart."""
    with ui.element("section").classes("curve"):
        ui.label(shown_line(title)).classes("title")
        ui.label(shown_line(note)).classes("note")
        return ui.echart({"series": []})


def set_options(chart: ui.echart, options: dict[str, Any]) -> None:
    """Draw a chart anew with these options."""
    chart.options.clear()
    chart.options.update(options)
    chart.update()


def show_legend(box: ui.element, names: Sequence[str]) -> None:
    """Fill the legend with names, each with the colour of the line at its place."""
    box.clear()
    with box:
        for place, name in enumerate(names):
            ui.label(shown_line(name)).style(f"--colour: {COLOURS[place % len(COLOURS)]}")
