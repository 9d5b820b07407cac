"""The tab that answers whether a run is healthy: what to do, the steps, tiles, the paper's curves
and the held-out accuracy."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from nicegui import events, ui

from syngrpo.dashboard.overview.run_health import advice, waiting_descriptions
from syngrpo.dashboard.parts.curve_chart import Line, curve_options
from syngrpo.dashboard.parts.page_parts import chart_card, set_options
from syngrpo.dashboard.parts.view import View
from syngrpo.pages.run_curves import Panel
from syngrpo.pages.run_data import RunData
from syngrpo.pages.run_headlines import changes, headline_metrics

MOST_CELLS = 240
"""Largest number of cells in the bar of steps; a cell of a long run is several steps."""
SMOOTHING = 0.8

TILES = (
    ("accuracy reward", "reward/accuracy", "{:.3f}"),
    ("diversity D", "diversity/response", "{:.3f}"),
    ("token entropy", "entropy/token", "{:.3f}"),
    ("groups without variance", "diversity/zero_variance_groups", "{:.0%}"),
    ("well formed", "reward/format", "{:.0%}"),
    ("seconds a step", "time/step_s", "{:.2f}"),
    ("seconds waiting for data", "time/wait_data_s", "{:.2f}"),
    ("synthetic images in the pool", "pool/synthetic", "{:.0f}"),
)
"""Title, metric and format of each tile."""

CURVES = (
    Panel(
        "Response diversity D",
        "On seed and on synthetic images; synthetic ones should stay above.",
        (("seed", "diversity/response_seed"), ("synthetic", "diversity/response_synthetic")),
    ),
    Panel(
        "Accuracy reward",
        "On seed and on synthetic images.",
        (("seed", "reward/accuracy_seed"), ("synthetic", "reward/accuracy_synthetic")),
    ),
    Panel(
        "Token entropy",
        "Mean over response tokens, in nats.",
        (("seed", "entropy/token_seed"), ("synthetic", "entropy/token_synthetic")),
    ),
    Panel(
        "Reward of descriptions",
        "Mean ρ of the descriptions whose images were measured in a step.",
        (("ρ", "diversity/reward"),),
    ),
)


def overview(view: View) -> None:
    """Draw the tab."""
    drawn = _Overview(view)
    seen = -1

    async def show() -> None:
        nonlocal seen
        data = await asyncio.to_thread(view.run.data)
        now = len(data.metrics) + len(data.evaluations)
        if now != seen:
            seen = now
            await drawn.show(data)

    view.follow(show)


class _Overview:
    """The parts of the tab. ``show`` fills them again with the data of now.

    The charts are added after the tiles are shown: a page that has charts from its beginning is not
    shown before the browser has loaded their library.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._cells: list[tuple[int, int]] = []
        self._advice = ui.element("div")
        with ui.element("section"):
            ui.label("Steps, coloured by accuracy reward; click one to see its responses.").classes(
                "note"
            )
            self._bar_place = ui.element("div").classes("stepbar")
        self._tiles = ui.element("div").classes("tiles")
        self._curves_place = ui.element("div").classes("curves pairs")
        self._held_out = ui.element("section")
        self._bar: ui.echart | None = None
        self._curves: list[ui.echart] = []

    async def show(self, data: RunData) -> None:
        """Fill all parts, the charts last: they take longest."""
        self._show_advice(data)
        self._show_tiles(data)
        self._show_held_out(data)
        bar, curves = await asyncio.to_thread(self._options, data)
        if self._bar is None:
            self._bar = self._add_charts()
        set_options(self._bar, bar)
        for chart, options in zip(self._curves, curves, strict=True):
            set_options(chart, options)

    def _add_charts(self) -> ui.echart:
        with self._curves_place:
            self._curves = [chart_card(panel.title, panel.note) for panel in CURVES]
        with self._bar_place:
            return ui.echart({"series": []}, on_point_click=self._open_step).classes("stepbar")

    def _show_advice(self, data: RunData) -> None:
        self._advice.clear()
        with self._advice:
            for one in advice(data):
                with ui.element("div").classes("advice"):
                    ui.label(one.problem).classes("name")
                    ui.label(one.remedy)
            if not data.metrics:
                ui.label("The run has not finished a step yet.").classes("note")

    def _options(self, data: RunData) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the options of the bar of steps, and of the charts of the curves."""
        curve = data.curve("reward/accuracy")
        parts = np.array_split(np.arange(len(curve.steps)), min(MOST_CELLS, len(curve.steps)) or 1)
        parts = [part for part in parts if len(part)]
        self._cells = [(curve.steps[part[0]], curve.steps[part[-1]]) for part in parts]
        means = [float(np.mean([curve.values[place] for place in part])) for part in parts]
        return _bar_options(self._cells, means), [_options_of(panel, data) for panel in CURVES]

    def _open_step(self, event: events.EChartPointClickEventArguments) -> None:
        if event.data_index < len(self._cells):
            step = self._cells[event.data_index][1]
            ui.navigate.to(self._view.link("responses", step=step))

    def _show_tiles(self, data: RunData) -> None:
        self._tiles.clear()
        with self._tiles:
            tiles = [(title, data.curve(name), form) for title, name, form in TILES]
            if data.setting("synthesis", "mode") != "inline":
                # Without a queue the trainer waits for each picture.
                tiles.append(("descriptions to be painted", waiting_descriptions(data), "{:.0f}"))
            for title, curve, form in tiles:
                start, now = curve.head(), curve.tail()
                if start is None or now is None:
                    continue
                with ui.element("div").classes("tile"):
                    ui.label(title).classes("what")
                    ui.label(form.format(now)).classes("value")
                    ui.label(f"{form.format(start)} at the start").classes("since")

    def _show_held_out(self, data: RunData) -> None:
        self._held_out.clear()
        if not data.evaluations:
            return
        rows = []
        for name in data.sets():
            first, last = data.first_and_last(name)
            for change in changes(data, name, headline_metrics(data, name)):
                now = change.before if change.after is None else change.after
                points = change.points
                rows.append(
                    {
                        "set": name,
                        "metric": change.title,
                        "first": f"{change.before:.3f} (step {first.step})",
                        "last": f"{now:.3f} (step {last.step})",
                        "points": "–" if points is None else f"{points:+.1f}",
                    }
                )
        with self._held_out:
            ui.html("<h2>Held out</h2>", sanitize=False)
            ui.table(
                rows=rows,
                columns=[
                    {"name": key, "label": label, "field": key, "align": align}
                    for key, label, align in (
                        ("set", "set", "left"),
                        ("metric", "metric", "left"),
                        ("first", "first", "right"),
                        ("last", "last", "right"),
                        ("points", "change, points", "right"),
                    )
                ],
            ).props("flat dense").classes("plain")


def _options_of(panel: Panel, data: RunData) -> dict[str, Any]:
    """Return the options of the chart of a panel."""
    curves = [(title, data.curve(name)) for title, name in panel.curves]
    lines = [Line(title, c.steps, c.values) for title, c in curves if c.values]
    return curve_options(lines, SMOOTHING)


def _bar_options(cells: list[tuple[int, int]], means: list[float]) -> dict:
    """Return the options of the bar: one row of cells, the redder the lower, the greener the
    higher."""
    names = [f"{a:,}" if a == b else f"{a:,}–{b:,}" for a, b in cells]
    return {
        "animation": False,
        "grid": {"left": 4, "right": 4, "top": 4, "bottom": 20},
        "tooltip": {"position": "top", "confine": True},
        "xAxis": {"type": "category", "data": names, "axisTick": {"show": False},
                  "axisLine": {"show": False}, "axisLabel": {"color": "#8a9099"}},
        "yAxis": {"type": "category", "data": ["accuracy"], "show": False},
        "visualMap": {"show": False, "min": min(means, default=0), "max": max(means, default=1),
                      "inRange": {"color": ["#c2504a", "#d9a441", "#3d9a68"]}},
        "series": [{"type": "heatmap", "name": "accuracy reward at step", "cursor": "pointer",
                    "data": [[place, 0, round(mean, 4)] for place, mean in enumerate(means)]}],
    }  # fmt: skip
