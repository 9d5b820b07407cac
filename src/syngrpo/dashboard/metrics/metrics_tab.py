"""The tab with a chart for every metric of one or several runs, filtered, and grouped by the first
part of its name.

A chart is made when it comes into view, and follows the run while it is there. What is chosen is in
the address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from nicegui import events, ui

from syngrpo.dashboard.metrics.metric_curves import (
    Axis,
    MetricCurves,
    MetricKey,
    MetricNames,
    RunGroup,
    metric_words,
    seed_groups,
    smoothing_of,
    time_unit,
)
from syngrpo.dashboard.metrics.name_filter import fitting_metrics
from syngrpo.dashboard.parts.curve_chart import curve_options
from syngrpo.dashboard.parts.page_parts import (
    AHEAD,
    offer_runs,
    runs_to_choose,
    set_options,
    show_legend,
)
from syngrpo.dashboard.parts.view import View, joined_names, split_names
from syngrpo.pages.run_data import RunData
from syngrpo.pages.shown_text import shown_line
from syngrpo.sample import InputError

MOST_SMOOTHING = 0.99
IN_ROW, ROW_PX = 3, 262
"""About how many charts are in a row, and its height: the room of a group before it is near."""


@dataclass(frozen=True)
class Shown:
    """What the address says: ``pattern`` filters the names, ``others`` are further runs, and
    ``toggled`` the groups that are not as they are at first, open or closed."""

    pattern: str = ""
    others: tuple[str, ...] = ()
    axis: Axis = "step"
    log: bool = False
    smoothing: float = 0.0
    seeds: bool = True
    toggled: frozenset[str] = frozenset()
    large: frozenset[str] = frozenset()


def metrics(view: View) -> None:
    """Draw the tab."""
    view.follow(_Metrics(view).follow)


class _Metrics:
    """The controls, and below them the groups of charts."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._shown = _shown_by(view)
        self._names: dict[str, MetricNames] = {}
        self._runs: dict[str, RunData] = {}
        self._groups: list[RunGroup] = []
        self._has_seeds = False
        self._curves = MetricCurves()
        self._sections: dict[str, _Section] = {}
        self._in_legend: list[str] = []
        self._reading = asyncio.Lock()
        self._controls()
        self._legend = ui.element("div").classes("run-legend")
        self._said = ui.label("The metrics are being read …").classes("note").props("role=status")
        self._charts = ui.element("div").classes("metric-groups")

    def _controls(self) -> None:
        shown = self._shown
        names = self._view.other_runs()
        with ui.element("div").classes("controls"):
            ui.input("filter: a regular expression", value=shown.pattern).props(
                'dense outlined clearable debounce=200 aria-label="filter metrics"'
            ).on_value_change(lambda event: self._change(pattern=event.value or "")).classes("wide")
            self._others = runs_to_choose(
                "together with",
                names,
                shown.others,
                lambda event: self._change(others=tuple(event.value or ())),
            )
            ui.toggle({"step": "steps", "time": "time"}, value=shown.axis).props(
                'dense unelevated no-caps aria-label="horizontal axis"'
            ).on_value_change(lambda event: self._change(axis=event.value))
            ui.switch("log scale", value=shown.log).props("dense").on_value_change(
                lambda event: self._change(log=event.value)
            )
            self._seeds = ui.switch("join seeds", value=shown.seeds).props("dense")
            self._seeds.on_value_change(lambda event: self._change(seeds=event.value))
            self._seeds.set_visibility(False)
            with ui.element("div").classes("smoothing"):
                ui.label("smoothing")
                ui.slider(min=0, max=MOST_SMOOTHING, step=0.01, value=shown.smoothing).props(
                    'dense label aria-label="smoothing"'
                ).on_value_change(lambda event: self._change(smoothing=event.value))

    async def _change(self, **changes: Any) -> None:
        self._shown = replace(self._shown, **changes)
        self._remember()
        await self.follow()

    def _remember(self) -> None:
        shown = self._shown
        self._view.remember(
            filter=shown.pattern,
            runs=joined_names(shown.others),
            x=shown.axis if shown.axis != "step" else "",
            log=int(shown.log) or "",
            smoothing=f"{shown.smoothing:g}" if shown.smoothing else "",
            seeds="" if shown.seeds else 0,
            toggled=joined_names(sorted(shown.toggled)),
            large=joined_names(sorted(shown.large)),
        )

    async def follow(self) -> None:
        """Read what was added to the runs, and draw what is in view and has changed."""
        offer_runs(self._others, await asyncio.to_thread(self._view.other_runs))
        async with self._reading:
            if not self._runs and self._shown.others:
                self._show(await asyncio.to_thread(self._read, ()))
                await self._draw_in_view()
            self._show(await asyncio.to_thread(self._read, self._shown.others))
        await self._draw_in_view()

    def _read(self, others: Sequence[str]) -> list[MetricKey]:
        """Read the run and the ``others``, and return the metrics of all of them."""
        view = self._view
        chosen = [view.run, *(run for run in view.runs if run.name in others)]
        self._runs = {run.name: run.data() for run in chosen}
        self._curves = MetricCurves(self._runs, self._curves)
        joined = seed_groups({name: data.config for name, data in self._runs.items()})
        self._has_seeds = len(joined) < len(self._runs)
        alone = [RunGroup(name, (name,)) for name in self._runs]
        self._groups = joined if self._shown.seeds else alone
        known = {name: self._names.get(name) or MetricNames() for name in self._runs}
        self._names = known
        return list(dict.fromkeys(k for name in known for k in known[name].of(self._runs[name])))

    def _show(self, keys: Sequence[MetricKey]) -> None:
        """Show the groups of the metrics that fit the pattern, and say how many these are."""
        self._seeds.set_visibility(self._has_seeds)
        self._show_legend([group.name for group in self._groups if len(self._runs) > 1])
        try:
            fitting = fitting_metrics(keys, self._shown.pattern)
        except InputError as error:
            self._said.set_text(str(error))
            self._said.classes(add="bad")
            return
        by_group: dict[str, list[MetricKey]] = {}
        for key in keys:
            by_group.setdefault(key.group, [])
        for key in fitting:
            by_group[key.group].append(key)
        number = len(fitting)
        for name, of_group in by_group.items():
            if name not in self._sections:
                first = next(key for key in keys if key.group == name)
                with self._charts:
                    self._sections[name] = _Section(first, self)
            self._sections[name].show(of_group)
        for name in self._sections.keys() - by_group.keys():
            self._sections[name].show([])
        of = "" if number == len(keys) else f" of {len(keys)}"
        self._said.set_text(f"{number}{of} metrics" if keys else "Nothing was measured yet.")
        self._said.classes(remove="bad")

    def _show_legend(self, names: list[str]) -> None:
        if names != self._in_legend:
            self._in_legend = names
            show_legend(self._legend, names)

    def is_open(self, key: MetricKey) -> bool:
        """Return whether the group of this metric is open: those by kind are many, and closed at
        first."""
        return bool(key.kind) is (key.group in self._shown.toggled)

    async def toggle(self, group: str) -> None:
        """Open or close a group."""
        self._shown = replace(self._shown, toggled=self._shown.toggled ^ {group})
        self._remember()
        await self.follow()

    def is_large(self, key: MetricKey) -> bool:
        """Return whether the chart of a metric is as wide as the page."""
        return key.name in self._shown.large

    def enlarge(self, key: MetricKey) -> None:
        """Make the chart of a metric as wide as the page, or as small as the others."""
        self._shown = replace(self._shown, large=self._shown.large ^ {key.name})
        self._remember()

    def words(self, key: MetricKey) -> str:
        """Return what a metric is in words."""
        return metric_words(key, self._runs[self._view.run.name])

    async def _draw_in_view(self) -> None:
        cards = [card for section in self._sections.values() for card in section.in_view()]
        await self.draw(cards)

    async def draw(self, cards: Sequence[_Card]) -> None:
        """Draw charts whose runs or settings have changed since they were drawn."""
        if not self._runs:
            return
        shown, groups, curves, runs = self._shown, self._groups, self._curves, self._runs
        settings = (shown.axis, shown.log, shown.smoothing, groups, runs)
        stale = [card for card in cards if not card.is_drawn_with(settings)]
        options = await asyncio.to_thread(
            lambda: [chart_options(curves, groups, card.key, shown) for card in stale]
        )
        for card, (chart, last) in zip(stale, options, strict=True):
            card.draw(settings, chart, last)


def chart_options(
    curves: MetricCurves, groups: Sequence[RunGroup], key: MetricKey, shown: Shown
) -> tuple[dict[str, Any], str]:
    """Return the options of the chart of a metric, and in words its last value if there is one
    line, or that there is none."""
    lines, x_unit = curves.lines(groups, key, shown.axis), ""
    if shown.axis == "time":
        x_unit, seconds = time_unit(lines)
        lines = [replace(line, x=np.asarray(line.x) / seconds) for line in lines]
    last = f"{lines[0].y[-1]:.4g}" if len(lines) == 1 else "" if lines else "no value yet"
    smoothing = smoothing_of(key, shown.smoothing)
    return curve_options(lines, smoothing, shown.log, x_unit, legend=False), last


class _Section:
    """A group of charts, which can be closed. Its charts have their frames from when it is first
    open and near the window."""

    def __init__(self, first: MetricKey, tab: _Metrics) -> None:
        self._tab = tab
        self._title = first.group
        self._cards: dict[str, _Card] = {}
        self._fitting: dict[str, MetricKey] | None = None
        self._is_near = False
        self._box = ui.expansion(
            value=tab.is_open(first), on_value_change=lambda: tab.toggle(first.group)
        )
        self._box.props("dense switch-toggle-side").classes("metric-group")
        with self._box:
            self._room = ui.element("q-intersection").props(f"once margin={AHEAD}").classes("room")
            with self._room:
                self._frames = ui.element("div").classes("curves")
        self._room.on("visibility", self._came_near)

    def show(self, keys: Sequence[MetricKey]) -> None:
        """Show these metrics; without any, the group is hidden."""
        fitting = {key.name: key for key in keys}
        if fitting != self._fitting:
            self._fitting = fitting
            self._box.set_visibility(bool(fitting))
            self._box.set_text(f"{shown_line(self._title)} · {len(fitting)}")
            self._show_frames()

    def _came_near(self) -> None:
        self._is_near = True
        self._show_frames()

    def _show_frames(self) -> None:
        fitting = self._fitting or {}
        if not self._is_near:
            rows = -(-len(fitting) // IN_ROW)
            self._room.style(f"min-height: {rows * ROW_PX}px")
            return
        self._room.style("min-height: 0")
        for name, key in fitting.items():
            if name not in self._cards:
                with self._frames:
                    self._cards[name] = _Card(key, self._tab)
        for name, card in self._cards.items():
            card.show(name in fitting)

    def in_view(self) -> list[_Card]:
        """Return the charts that are in the window, or near it."""
        return [card for card in self._cards.values() if card.in_view and self._box.value]


class _Card:
    """The frame of a chart. The chart is in it while the frame is in view."""

    def __init__(self, key: MetricKey, tab: _Metrics) -> None:
        self.key = key
        self.in_view = False
        self._tab = tab
        self._drawn: tuple[Any, ...] | None = None
        self._fits = True
        self._chart: ui.echart | None = None
        self._box = ui.element("section").classes("curve metric")
        with self._box:
            with ui.element("div").classes("head"):
                ui.label(shown_line(key.name)).classes("title")
                self._last = ui.label().classes("last")
                self._larger = ui.element("button").classes("larger")
                self._larger.props('aria-label="larger or smaller"').on("click", self._enlarge)
            if words := tab.words(key):
                ui.label(shown_line(words)).classes("note")
            self._place = ui.element("q-intersection").props(f"margin={AHEAD}").classes("place")
            self._place.on("visibility", self._visibility)
        self._size()

    def show(self, fits: bool) -> None:
        """Show or hide the card."""
        if fits != self._fits:
            self._fits = fits
            self._box.set_visibility(fits)

    def _enlarge(self) -> None:
        self._tab.enlarge(self.key)
        self._size()

    def _size(self) -> None:
        large = self._tab.is_large(self.key)
        self._box.classes(add="large") if large else self._box.classes(remove="large")
        self._larger.props(f"aria-pressed={'true' if large else 'false'}")

    def is_drawn_with(self, settings: tuple[Any, ...]) -> bool:
        """Return whether the chart shows these settings of these runs already."""
        return self._drawn is not None and all(
            _same(one, other) for one, other in zip(self._drawn, settings, strict=True)
        )

    def draw(self, settings: tuple[Any, ...], options: dict[str, Any], last: str) -> None:
        """Draw the chart, and show its last value."""
        self._drawn = settings
        self._last.set_text(last)
        if self._chart is None:
            with self._place:
                self._chart = ui.echart(options)
        else:
            set_options(self._chart, options)

    async def _visibility(self, event: events.GenericEventArguments) -> None:
        self.in_view = bool(event.args)
        if self.in_view:
            await self._tab.draw([self])


def _same(one: Any, other: Any) -> bool:
    """Return whether two settings are equal; the data of runs count as equal if they are the same
    object, because a run that has gone on has a new one."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(one[name] is other[name] for name in one)
    return bool(one == other)


def _shown_by(view: View) -> Shown:
    """Return what the address says; what it says wrongly is left out."""
    query = view.query
    try:
        smoothing = min(max(float(query.get("smoothing", 0)), 0.0), MOST_SMOOTHING)
    except ValueError:
        smoothing = 0.0
    return Shown(
        pattern=query.get("filter", ""),
        others=tuple(split_names(query.get("runs", ""))),
        axis=cast("Axis", "time" if query.get("x") == "time" else "step"),
        log=query.get("log") == "1",
        smoothing=smoothing,
        seeds=query.get("seeds") != "0",
        toggled=frozenset(split_names(query.get("toggled", ""))),
        large=frozenset(split_names(query.get("large", ""))),
    )
