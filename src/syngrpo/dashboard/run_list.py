"""Draws the list of the runs: a card for each, in a chosen order, and only those whose name or
method holds a chosen text."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nicegui import events, ui

from syngrpo.dashboard.parts.view import query_of, run_address
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.pages.run_headlines import duration, headline_metrics, metric_title
from syngrpo.pages.shown_text import shown_line

LOOK_AGAIN_S = 10.0
"""Seconds between two looks at all runs."""
ORDERS = {"latest": "written last", "name": "name", "accuracy": "accuracy", "diversity": "D"}
"""What the runs can be sorted by: the word in the address, and on the page."""


@dataclass(frozen=True)
class RunFacts:
    """What the card of a run says, and what it is sorted by: the mean accuracy and D in the last
    tenth of the steps, NaN without any, and the seconds since something was written."""

    name: str
    state: str
    method: str
    lines: str
    accuracy: float
    diversity: float
    seconds_ago: float


def facts_of(followed: FollowedRun) -> RunFacts:
    """Return what tells a run from others: its method, how it answers in the last tenth of its
    steps, and each held-out set."""
    data, activity = followed.data(), followed.activity()
    method = str(data.setting("method", "name") or "")
    last = {
        title: data.curve(name).tail()
        for title, name in (("accuracy", "reward/accuracy"), ("D", "diversity/response"))
    }
    measured = [f"{title} {value:.3f}" for title, value in last.items() if value is not None]
    lines = [method, " · ".join(measured)]
    for name in data.sets():
        _, now = data.first_and_last(name)
        # The metric of an earlier evaluation may not be defined in the last one.
        known = [metric for metric in headline_metrics(data, name) if metric in now.metrics]
        for metric in known[:1]:
            title = f"{name}, {metric_title(data, metric)}"
            lines.append(f"{title} {now.metrics[metric]:.3f} at step {now.step:,}")
    numbers = {title: math.nan if value is None else value for title, value in last.items()}
    ago = activity.seconds_ago
    return RunFacts(
        followed.name,
        standing(followed),
        method,
        "\n".join(shown_line(line, 120) for line in lines if line),
        numbers["accuracy"],
        numbers["D"],
        math.inf if ago is None else ago,
    )


def in_order(facts: list[RunFacts], order: str) -> list[RunFacts]:
    """Return the facts of runs as one of ``ORDERS`` says: the highest value or the latest first.
    Runs without a value come last; equal ones are in the order of their names."""

    def place(one: RunFacts) -> float:
        if order == "name":
            return 0.0
        value = {"accuracy": one.accuracy, "diversity": one.diversity}.get(order, -one.seconds_ago)
        return math.inf if math.isnan(value) else -value

    return sorted(facts, key=lambda one: (place(one), one.name))


def is_found(one: RunFacts, text: str) -> bool:
    """Return whether the name or the method of a run holds the text, in any case of letters."""
    return text.casefold() in f"{one.name}\n{one.method}".casefold()


class RunList:
    """The controls and the cards. What is chosen is in the address. ``first_tab`` returns the tab
    that the card of a run opens."""

    def __init__(
        self,
        runs: FollowedRuns,
        base: str,
        query: Mapping[str, str],
        first_tab: Callable[[FollowedRun], str],
    ) -> None:
        self._runs = runs
        self._first_tab = first_tab
        self._base = base
        self._text = query.get("find", "")
        asked = query.get("sort", "")
        self._order = asked if asked in ORDERS else next(iter(ORDERS))
        self._facts: dict[str, RunFacts] = {}
        self._cards: dict[str, tuple[ui.link, ui.label, ui.label]] = {}
        with ui.element("div").classes("page"):
            ui.html("<h1>Runs</h1>", sanitize=False)
            self._draw_controls()
            self._nothing = ui.label("The runs are being read …").classes("note")
            self._nothing.props("role=status")
            self._box = ui.element("div").classes("cards")
        ui.timer(LOOK_AGAIN_S, self._look, immediate=True)

    def _draw_controls(self) -> None:
        self._controls = ui.element("div").classes("controls")
        self._controls.set_visibility(False)
        with self._controls:
            found = ui.input("find by name or method", value=self._text).classes("wide")
            found.props('dense outlined clearable debounce=200 aria-label="find runs"')
            found.on_value_change(self._find)
            ui.select(ORDERS, value=self._order, label="sorted by", on_change=self._sort).props(
                "dense outlined options-dense"
            )

    def _find(self, event: events.ValueChangeEventArguments) -> None:
        self._text = event.value or ""
        self._change()

    def _sort(self, event: events.ValueChangeEventArguments) -> None:
        self._order = event.value
        self._change()

    async def _look(self) -> None:
        """Read the runs one after the other, and sort them when all are read. Stop when somebody
        leaves the page: the one that is opened instead needs the processor."""
        found = await asyncio.to_thread(lambda: list(self._runs))
        for followed in found:
            if followed.name not in self._cards and not self._box.is_deleted:
                self._new_card(followed)
        for followed in found:
            if not self._box.client.has_socket_connection:
                return
            facts = await asyncio.to_thread(facts_of, followed)
            self._facts[followed.name] = facts
            _, state, lines = self._cards[followed.name]
            state.set_text(facts.state)
            lines.set_text(facts.lines)
        self._arrange()

    def _arrange(self) -> None:
        """Put the cards in order, and hide those that are not asked for."""
        facts = in_order(list(self._facts.values()), self._order)
        for place, one in enumerate(facts):
            card = self._cards[one.name][0]
            card.style(f"order: {place}")
            card.set_visibility(is_found(one, self._text))
        self._controls.set_visibility(len(facts) > 1)
        self._nothing.set_visibility(not any(is_found(one, self._text) for one in facts))
        self._nothing.set_text(
            f"No run has {self._text!r} in its name or method."
            if facts
            else "There are no runs here yet. This page shows them when they start."
        )

    def _change(self) -> None:
        usual = self._order == next(iter(ORDERS))
        query = query_of({"find": self._text, "sort": "" if usual else self._order})
        ui.navigate.history.replace(f"{self._base}/{query}")
        self._arrange()

    def _new_card(self, followed: FollowedRun) -> None:
        address = run_address(followed.name, self._first_tab(followed))
        with self._box, ui.link(target=address).classes("card run") as card:
            ui.label(followed.name).classes("name")
            words = ui.label().classes("note"), ui.label().classes("lines")
            self._cards[followed.name] = (card, *words)


def standing(followed: FollowedRun) -> str:
    """Return in a line whether a run goes on, and how far it is."""
    activity, data = followed.activity(), followed.data()
    if followed.is_evaluation():
        return "an evaluation of syngrpo evaluate"
    if followed.is_served_pool():
        ago = activity.seconds_ago
        return "pool of a data server" + ("" if ago is None else f" · written {duration(ago)} ago")
    planned = data.setting("trainer", "steps")
    step = data.metrics[-1]["step"] if data.metrics else 0
    known = isinstance(planned, int)
    parts = [activity.state, f"step {step:,}" + (f" of {planned:,}" if known else "")]
    if activity.state != "finished" and activity.seconds_ago is not None:
        parts.append(f"written {duration(activity.seconds_ago)} ago")
    return " · ".join(parts)
