"""Draws a family as a tree: a row for each member, below its parent, with the description that
painted it, its first and its last visit, and what the description has earned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui

from syngrpo.dashboard.evolution.pool_families import Family, Relative
from syngrpo.dashboard.evolution.relative_view import drawn_sample
from syngrpo.dashboard.parts.page_parts import fact_line
from syngrpo.dashboard.parts.view import View
from syngrpo.pages.shown_text import shown_line
from syngrpo.serving.wording import count

Choose = Callable[[str], Awaitable[None]]
"""Called with the id of the member that somebody wants to look at."""


class FamilyTree:
    """A family as a tree: a row for each member, below its parent."""

    def __init__(self, view: View, choose: Choose) -> None:
        self._view = view
        self._choose = choose
        self._rows: dict[str, _Row] = {}
        self._chosen = ""
        self._head = ui.element("div")
        self._box = ui.element("div").classes("tree").props("aria-label=family")
        self._said = ui.label().classes("note").props("role=status")

    @property
    def ids(self) -> list[str]:
        """The ids of the members that are shown, in their order."""
        return list(self._rows)

    @property
    def seed_id(self) -> str:
        """The id of the seed; "" before a family is shown."""
        return next(iter(self._rows), "")

    def show(self, family: Family, chosen: str) -> None:
        """Show a family, and which of its members is chosen."""
        ids = [one.sample.id for one in family.members]
        if ids != self.ids:
            self._draw_head(family)
            self._box.clear()
            with self._box:
                self._rows = {
                    one.sample.id: _Row(self._view, one, self._choose) for one in family.members
                }
        for one in family.members:
            self._rows[one.sample.id].show(one, one.sample.id == chosen)
        if chosen != self._chosen:
            self._chosen = chosen
            self._rows[chosen].reveal()
        left = family.total - len(ids)
        self.say(f"{count(left, 'further member')} are not shown." if left > 0 else "")

    def say(self, line: str) -> None:
        """Show a line below the tree."""
        self._said.set_text(line)

    def _draw_head(self, family: Family) -> None:
        seed = family.seed.sample
        self._head.clear()
        with self._head:
            ui.label(shown_line(seed.question)).classes("question").props("dir=auto")
            fact_line(
                [
                    ("", count(family.total - 1, "descendant") if family.total > 1 else ""),
                    ("task", seed.task),
                    ("dataset", seed.dataset if seed.dataset != seed.task else ""),
                ]
            )


class _Row:
    """A member of a family in the tree."""

    def __init__(self, view: View, relative: Relative, choose: Choose) -> None:
        sample = relative.sample
        self._shown: tuple[Relative, bool] | None = None
        self._button = ui.element("button").classes("member").props("type=button")
        self._button.style(f"--depth: {min(sample.depth, 8)}")
        self._button.on("click", lambda: choose(sample.id), args=[])
        with self._button:
            ui.html(drawn_sample(view, sample, 160), sanitize=False).classes("small")
            with ui.element("div").classes("about"):
                words = sample.description if sample.description is not None else "the seed"
                ui.label(shown_line(words, 220)).classes("title").props("dir=auto")
                self._numbers = ui.label().classes("numbers")
            self._reward = ui.label().classes("earned")

    def reveal(self) -> None:
        """Scroll the tree until the row can be seen."""
        self._button.run_method("scrollIntoView", {"block": "nearest"})

    def show(self, relative: Relative, chosen: bool) -> None:
        """Show the numbers of now."""
        if self._shown == (relative, chosen):
            return
        self._shown = relative, chosen
        self._button.props("aria-current=true") if chosen else self._button.props(
            remove="aria-current"
        )
        self._numbers.set_text(_numbers(relative))
        if relative.sample.description is None:
            return
        reward = relative.reward
        self._reward.set_text("ρ –" if reward is None else f"ρ {reward:+.2f}")
        self._reward.classes(
            remove="up down", add="" if not reward else "up" if reward > 0 else "down"
        )


def _numbers(relative: Relative) -> str:
    """Return the visits of a member in a line: D and accuracy at the first and at the last."""
    visits = relative.visits
    parts = []
    for name, values in (
        ("D", [one.diversity for one in visits]),
        ("accuracy", [one.accuracy for one in visits]),
    ):
        if values:
            ends = [values[0], values[-1]] if len(values) > 1 else values
            parts.append(f"{name} " + " → ".join(f"{value:.2f}" for value in ends))
    parts.append(count(len(visits), "visit") if visits else "not visited yet")
    if relative.state != "active":
        parts.append(relative.state)
    return " · ".join(parts)
