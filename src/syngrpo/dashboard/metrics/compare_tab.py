"""The tab that puts runs beside each other: their last evaluations with the intervals of the
differences, the curves of chosen metrics, and the settings in which they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nicegui import events, ui

from syngrpo.dashboard.metrics.metric_curves import (
    EVALUATION,
    MetricCurves,
    MetricNames,
    RunGroup,
    metric_words,
    smoothing_of,
)
from syngrpo.dashboard.metrics.run_comparison import (
    RunsComparison,
    compare_runs,
    compared_keys,
)
from syngrpo.dashboard.parts.curve_chart import curve_options
from syngrpo.dashboard.parts.page_parts import (
    chart_card,
    offer_runs,
    runs_to_choose,
    set_options,
    show_legend,
    show_mismatches,
)
from syngrpo.dashboard.parts.view import View, joined_names, split_names
from syngrpo.pages.page_templates import render
from syngrpo.pages.run_data import RunData
from syngrpo.pages.run_headlines import headline_metrics
from syngrpo.pages.shown_text import shown_line, shown_text

SMOOTHING = 0.8
FIRST_CURVES = ("reward/accuracy", "diversity/response", "entropy/token")
"""The metrics that are drawn unless others are chosen, besides the first of each held-out set."""
MOST_CURVES = 24
CHOOSE = "Choose runs to compare this one with."
ALONE = (
    "There is no other run in the folders of this dashboard. syngrpo dashboard FOLDER "
    "shows all runs of a folder."
)


@dataclass(frozen=True)
class Compared:
    """What the address says: the ``others`` that the run is compared with, the ``metrics`` that are
    drawn, () for the usual ones, and whether settings that are equal are shown."""

    others: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    equal: bool = False


def compare(view: View) -> None:
    """Draw the tab."""
    view.follow(_Compare(view).follow)


class _Compare:
    """The controls, and below them evaluation, curves and settings."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._chosen = _chosen_by(view)
        self._runs: dict[str, RunData] = {}
        self._shown: tuple[Compared, dict[str, RunData]] = (self._chosen, {})
        self._evaluations: Mapping[str, object] = {}
        self._configs: Mapping[str, Mapping[str, Any]] = {}
        self._equal = self._chosen.equal
        self._reading, self._computing = asyncio.Lock(), asyncio.Lock()
        self._controls()
        self._hint = ui.label().classes("note").props("role=status")
        self._body = ui.element("div").classes("comparison")
        with self._body:
            self._legend = ui.element("div").classes("run-legend")
            _heading("Evaluation")
            self._note = ui.label().classes("note").props("role=status")
            self._lines = ui.element("div").classes("advice")
            self._lines.set_visibility(False)
            self._evaluation = ui.html(sanitize=False)
            _heading("Curves")
            self._curves = _ChosenCurves(view, self._choose)
            _heading("Settings")
            equal = ui.switch("also those that are equal", value=self._chosen.equal).props("dense")
            equal.on_value_change(lambda event: self._change(equal=event.value))
            self._settings = ui.html(sanitize=False)
        self._body.set_visibility(False)

    def _controls(self) -> None:
        with ui.element("div").classes("controls"):
            self._others = runs_to_choose(
                "compare with",
                self._view.other_runs(),
                self._chosen.others,
                lambda event: self._change(others=tuple(event.value or ())),
            )

    async def _choose(self, metrics: tuple[str, ...]) -> None:
        await self._change(metrics=metrics)

    async def _change(self, **changes: Any) -> None:
        self._chosen = replace(self._chosen, **changes)
        self._view.remember(
            runs=joined_names(self._chosen.others),
            metrics=joined_names(self._chosen.metrics),
            all=int(self._chosen.equal) or "",
        )
        await self.follow()

    async def follow(self) -> None:
        """Read what was added to the runs, and show what has changed by it."""
        names = await asyncio.to_thread(self._view.other_runs)
        offer_runs(self._others, names)
        async with self._reading:
            runs = await asyncio.to_thread(self._read)
            self._hint.set_text("" if len(runs) > 1 else CHOOSE if names else ALONE)
            self._body.set_visibility(len(runs) > 1)
            if len(runs) == 1 or self._is_shown(runs):
                return
            if list(runs) != list(self._runs):
                show_legend(self._legend, list(runs))
            self._shown, self._runs = (self._chosen, runs), runs
            self._show_settings()
            await self._curves.show(runs, self._chosen.metrics)
        evaluations = {name: data.evaluations for name, data in runs.items()}
        if not _same(self._evaluations, evaluations):
            self._evaluations = evaluations
            await self._show_evaluation(runs)

    def _read(self) -> dict[str, RunData]:
        chosen = [run for run in self._view.runs if run.name in self._chosen.others]
        return {run.name: run.data() for run in [self._view.run, *chosen]}

    def _is_shown(self, runs: Mapping[str, RunData]) -> bool:
        chosen, before = self._shown
        return chosen == self._chosen and _same(before, runs)

    def _show_settings(self) -> None:
        configs = {name: data.config for name, data in self._runs.items()}
        if _same(self._configs, configs) and self._equal == self._chosen.equal:
            return
        self._configs, self._equal = configs, self._chosen.equal
        keys = compared_keys(list(configs.values()))
        shown = [key for key in keys if key.differs or self._equal]
        names = [shown_line(name) for name in self._runs]
        text = render("compared_settings.html", names=names, keys=shown)
        self._settings.set_content(shown_text(text) if shown else "No setting differs.")

    async def _show_evaluation(self, runs: Mapping[str, RunData]) -> None:
        """Show the comparison of the evaluations, unless other runs have been chosen meanwhile."""
        wanted = self._evaluations
        self._note.set_text("The intervals are being computed …")
        async with self._computing:
            if wanted is not self._evaluations:
                return
            compared = await asyncio.to_thread(compare_runs, runs)
        if wanted is not self._evaluations:
            return
        self._note.set_text(_note(compared))
        show_mismatches(self._lines, compared.lines)
        names = [shown_line(name) for name in runs]
        text = render("compared_evaluations.html", names=names, sets=compared.sets)
        self._evaluation.set_content(shown_text(text))


class _ChosenCurves:
    """The choice of metrics, and a chart for each of them with a line for every run."""

    def __init__(self, view: View, on_choice: Callable[[tuple[str, ...]], Awaitable[None]]) -> None:
        self._view = view
        self._on_choice = on_choice
        self._known: dict[str, MetricNames] = {}
        self._curves = MetricCurves()
        self._charts: dict[str, ui.echart] = {}
        self._drawn: tuple[str, ...] = ()
        self._choice = ui.select([], value=[], multiple=True, with_input=True, label="metrics")
        self._choice.props("dense outlined options-dense clearable use-chips")
        self._choice.classes("metric-choice").on_value_change(self._choose)
        self._box = ui.element("div").classes("curves")

    async def show(self, runs: Mapping[str, RunData], metrics: Sequence[str]) -> None:
        """Draw ``metrics`` of the runs, the usual ones for ()."""
        self._known = {name: self._known.get(name) or MetricNames() for name in runs}
        self._curves = MetricCurves(runs, self._curves)
        keys = {key.name: key for name in runs for key in self._known[name].of(runs[name])}
        usual = usual_curves(runs.values())
        chosen = [name for name in metrics or usual if name in keys][:MOST_CURVES]
        self._drawn = tuple(chosen)
        if list(keys) != self._choice.options or chosen != self._choice.value:
            self._choice.set_options(list(keys), value=chosen)
        groups = [RunGroup(name, (name,)) for name in runs]
        curves = self._curves
        options = await asyncio.to_thread(
            lambda: [
                curve_options(
                    curves.lines(groups, keys[name]),
                    smoothing_of(keys[name], SMOOTHING),
                    legend=False,
                )
                for name in chosen
            ]
        )
        if list(self._charts) != chosen:
            self._box.clear()
            words = {name: metric_words(keys[name], next(iter(runs.values()))) for name in chosen}
            with self._box:
                self._charts = {name: chart_card(name, words[name]) for name in chosen}
        for name, chart in zip(chosen, options, strict=True):
            set_options(self._charts[name], chart)

    async def _choose(self, event: events.ValueChangeEventArguments) -> None:
        chosen = tuple(event.value or ())
        if chosen != self._drawn:
            await self._on_choice(chosen)


def usual_curves(runs: Iterable[RunData]) -> list[str]:
    """Return the metrics that are drawn unless others are chosen."""
    held_out = [
        f"{EVALUATION}/{name}/{headline_metrics(data, name)[0]}"
        for data in runs
        for name in data.sets()
        if headline_metrics(data, name)
    ]
    return list(dict.fromkeys([*FIRST_CURVES, *held_out]))


def _same(before: Mapping[str, object], now: Mapping[str, object]) -> bool:
    """Return whether these are the same runs, and nothing was read anew."""
    return list(before) == list(now) and all(before[name] is now[name] for name in now)


def _note(compared: RunsComparison) -> str:
    if not compared.sets:
        return "None of these runs has been evaluated."
    return (
        "The last evaluation of each run, with 95 % intervals. Differences are from the first run; "
        "they are paired, sample by sample, and coloured if their interval does not hold 0."
    )


def _heading(text: str) -> None:
    ui.label(text).classes("heading").props("role=heading aria-level=2")


def _chosen_by(view: View) -> Compared:
    """Return what the address says."""
    query = view.query
    return Compared(
        tuple(split_names(query.get("runs", ""))),
        tuple(split_names(query.get("metrics", ""))),
        query.get("all") == "1",
    )
