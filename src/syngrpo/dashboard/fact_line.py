"""A line of facts, such as "D 0.24   accuracy 0.31   3 visits"."""

from __future__ import annotations

from collections.abc import Iterable

from nicegui import ui

from syngrpo.dashboard.shown_text import shown_line


def fact_line(facts: Iterable[tuple[str, str]]) -> ui.element:
    """Draw facts beside each other: what it is, and its value. A fact without a value is left
    out."""
    with ui.element("div").classes("facts") as line:
        for what, value in facts:
            if value:
                with ui.element("span").classes("fact"):
                    if what:
                        ui.label(shown_line(what, 60)).classes("what")
                    ui.label(shown_line(value, 200)).classes("value")
    return line
