"""Registers the pages of the dashboard and draws what all of them have in common: the bar with the
run, the tabs, and light or dark.

``/`` lists the runs. ``/run/NAME/TAB`` is a tab of a run; what it shows beyond that, such as a
step, is in the query of the address, so that a link to it can be sent to somebody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from nicegui import ui
from starlette.requests import Request

from syngrpo.dashboard.attempts.config_tab import config
from syngrpo.dashboard.evaluations.evaluation_tab import evaluation
from syngrpo.dashboard.evolution.evolution_tab import evolution
from syngrpo.dashboard.gate.gate_tab import gate
from syngrpo.dashboard.metrics.compare_tab import compare
from syngrpo.dashboard.metrics.metrics_tab import metrics
from syngrpo.dashboard.overview.overview_tab import overview
from syngrpo.dashboard.parts.page_frame import add_style, mount_pages, theme_button
from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.queue.data_server_tab import data_server
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.dashboard.responses.responses_tab import responses
from syngrpo.dashboard.run_list import RunList, standing
from syngrpo.dashboard.samples.data_tab import data
from syngrpo.pages.shown_text import shown_line


@dataclass(frozen=True)
class Tab:
    """A tab: its part of the address, what its link says, and the function that draws it.
    ``of_pool``: whether it shows something of a run on a data server of which only the pool is
    here, ``of_evaluation``: of what ``syngrpo evaluate --out`` has written."""

    name: str
    title: str
    draw: Callable[[View], None]
    of_pool: bool = False
    of_evaluation: bool = False


TABS = (
    Tab("overview", "Overview", overview),
    Tab("metrics", "Metrics", metrics, of_evaluation=True),
    Tab("compare", "Compare", compare, of_evaluation=True),
    Tab("responses", "Responses", responses),
    Tab("evolution", "Evolution", evolution, of_pool=True),
    Tab("gate", "Gate", gate, of_pool=True),
    Tab("data-server", "Data server", data_server, of_pool=True),
    Tab("data", "Data", data, of_pool=True),
    Tab("evaluation", "Evaluation", evaluation, of_evaluation=True),
    Tab("config", "Config & logs", config),
)
"""In the order in which they stand in the bar."""
ELSEWHERE = (
    "This is the pool of a run on this data server. Its metrics, responses and evaluations are in "
    "its run directory, where it trains: syngrpo dashboard shows them there."
)
NO_RUN = "This is an evaluation of syngrpo evaluate, and no run that has trained."


def tabs_of(run: FollowedRun) -> tuple[Tab, ...]:
    """Return the tabs that have something to show of a run."""
    if run.is_served_pool():
        return tuple(tab for tab in TABS if tab.of_pool)
    if run.is_evaluation():
        return tuple(tab for tab in TABS if tab.of_evaluation)
    return TABS


def first_tab(run: FollowedRun) -> str:
    """Return the name of the tab that a run is opened with: the one that says most about it."""
    if run.is_served_pool():
        return "data-server"
    return "evaluation" if run.is_evaluation() else "overview"


def add_pages(app: FastAPI, runs: FollowedRuns, at: str, actions: bool) -> None:
    """Register all pages with the application, below the path ``at``. ``actions``: whether visitors
    may change something in a run."""

    @ui.page("/", title="Syn-GRPO")
    def home(request: Request) -> None:
        add_style()
        RunList(runs, request.scope.get("root_path", ""), dict(request.query_params), first_tab)

    @ui.page("/run/{name}/{tab}", title="Syn-GRPO")
    def run_page(name: str, tab: str, request: Request) -> None:
        add_style()
        base = request.scope.get("root_path", "")
        followed, shown = runs.get(name), next((one for one in TABS if one.name == tab), None)
        if followed is None or shown is None:
            what = f"There is no run {name!r}." if followed is None else f"There is no tab {tab!r}."
            ui.label(what).classes("problem")
            ui.link("All runs", "/")
            return
        ui.page_title(f"{name} · {shown.title}")
        view = View(runs, followed, tab, base, dict(request.query_params), actions)
        _bar(view)
        _problems(view)
        with ui.element("div").classes("page"):
            if shown in tabs_of(followed):
                shown.draw(view)
            else:
                ui.label(ELSEWHERE if followed.is_served_pool() else NO_RUN).classes("note")

    mount_pages(app, at)


def _bar(view: View) -> None:
    """Draw the bar at the top: the run, which can be changed, the tabs, and the theme."""
    with ui.element("header"):
        ui.link("Syn-GRPO", "/").classes("home")
        chosen = (
            ui.select(
                _names(view),
                value=view.run.name,
                on_change=lambda event: ui.navigate.to(_same_tab(view, event.value)),
            )
            .props("dense borderless options-dense aria-label='run'")
            .classes("runs")
        )
        with ui.element("nav"):
            for tab in tabs_of(view.run):
                link = ui.link(tab.title, view.link(tab.name))
                if tab.name == view.tab:
                    link.classes("here").props("aria-current=page")
        state = ui.label().classes("state")
        theme_button()

    async def show() -> None:
        line, names = await asyncio.to_thread(lambda: (standing(view.run), _names(view)))
        state.set_text(line)
        if names != chosen.options:
            chosen.set_options(names)

    view.follow(show)


def _names(view: View) -> list[str]:
    return [run.name for run in view.runs]


def _same_tab(view: View, name: str) -> str:
    """Return the address of another run: the tab that is shown, if that run has it."""
    other = view.runs.get(name)
    if other is None or view.tab in {tab.name for tab in tabs_of(other)}:
        return view.link(view.tab, of=name)
    return view.link(first_tab(other), of=name)


def _problems(view: View) -> None:
    """Keep a line on the page for everything that cannot be read."""
    box = ui.element("div").classes("problems")
    shown: list[str] = []

    async def show() -> None:
        lines = await asyncio.to_thread(view.run.problems)
        if lines != shown:
            shown[:] = lines
            box.clear()
            with box:
                for line in lines:
                    ui.label(shown_line(line, 1000)).classes("problem")

    view.follow(show)
