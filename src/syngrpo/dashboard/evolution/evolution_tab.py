"""The tab that shows how pictures evolve: the families of the seeds as trees, and the words of the
descriptions that painted them.

``pool_families`` reads the pool, ``family_tree`` draws a family, ``relative_view`` the member of it
that is looked at, and ``word_tables`` the words. The address says which sample is shown.
"""

from __future__ import annotations

import time

from nicegui import events, ui

from syngrpo.dashboard.evolution.family_tree import FamilyTree
from syngrpo.dashboard.evolution.pool_families import (
    ORDERS,
    Family,
    Order,
    Relative,
    SeedLine,
    SeedPage,
    family_of,
    seed_page,
)
from syngrpo.dashboard.evolution.relative_view import RelativeView, Shown
from syngrpo.dashboard.evolution.word_tables import WordTables
from syngrpo.dashboard.parts.page_parts import on_keys
from syngrpo.dashboard.parts.view import View, whole_number
from syngrpo.dashboard.reading.gate_limits import ScoreLimit, score_limits
from syngrpo.dashboard.reading.thread_reading import pool_in_thread, read_in_thread
from syngrpo.pages.shown_text import shown_line
from syngrpo.pool.store import Pool
from syngrpo.serving.wording import count

SEEDS_A_PAGE = 12
LIST_AGAIN_S = 10.0
"""Seconds after which the list of seeds of a run that goes on is read again."""
NO_POOL = "This run has no pool of pictures yet."


def evolution(view: View) -> None:
    """Draw the tab."""
    view.follow(_Evolution(view).follow)


class _Evolution:
    """The list of seeds, the tree of a family, the chosen member, and the words."""

    def __init__(self, view: View) -> None:
        query = view.query
        self._view = view
        self._search = query.get("search", "")
        order = query.get("order", "")
        self._order: Order = next((one for one in ORDERS if one == order), "children")
        self._page = whole_number(query.get("page")) or 0
        self._sample = query.get("sample", "")
        self._said = ui.label().classes("note").props("role=status")
        with ui.element("div").classes("evolution") as self._main:
            with ui.element("div").classes("seeds"):
                self._draw_list_controls()
            with ui.element("div").classes("tree-column"):
                self._tree = FamilyTree(view, self._choose)
            self._relative = RelativeView(view)
        self._main.set_visibility(False)
        self._words = WordTables(view, self._remember)
        on_keys({"ArrowUp": lambda: self._go(-1), "ArrowDown": lambda: self._go(1)})
        self._asked = 0
        self._listed: SeedPage | None = None
        self._listed_seed = ""
        self._listed_at = -LIST_AGAIN_S

    async def follow(self) -> None:
        """Read the pool again, and draw what has changed."""
        pool, why = await pool_in_thread(self._view.run, NO_POOL)
        if pool is None:
            self._said.set_text(why)
            return
        if self._sample:
            await self._show_family(pool)
        if time.monotonic() - self._listed_at >= LIST_AGAIN_S:
            await self._show_list(pool)
        await self._words.follow(pool)

    # the list of seeds

    def _draw_list_controls(self) -> None:
        search = ui.input("search id or question", value=self._search)
        search.props("dense outlined clearable debounce=300 type=search")
        search.on_value_change(self._searched)
        ui.select(ORDERS, value=self._order, on_change=self._ordered).props(
            "dense outlined options-dense aria-label='order of the seeds'"
        )
        self._list = ui.element("div").classes("seed-list").props("aria-label=seeds")
        with ui.element("div").classes("pager"):
            self._back = ui.button(icon="chevron_left", on_click=lambda: self._turn(-1))
            self._place = ui.label().classes("what")
            self._on = ui.button(icon="chevron_right", on_click=lambda: self._turn(1))
            for button, label in ((self._back, "previous seeds"), (self._on, "next seeds")):
                button.props(f"flat dense round aria-label='{label}'")

    async def _searched(self, event: events.ValueChangeEventArguments) -> None:
        self._search, self._page = (event.value or "").strip(), 0
        await self._changed()

    async def _ordered(self, event: events.ValueChangeEventArguments) -> None:
        self._order, self._page = event.value, 0
        await self._changed()

    async def _turn(self, pages: int) -> None:
        self._page = max(0, self._page + pages)
        await self._changed()

    async def _changed(self) -> None:
        self._remember()
        pool, _ = await read_in_thread(self._view.run.pool)
        if pool is not None:
            await self._show_list(pool)

    async def _show_list(self, pool: Pool) -> None:
        self._listed_at = time.monotonic()
        wanted = self._search, self._order, self._page * SEEDS_A_PAGE
        page, why = await read_in_thread(lambda: seed_page(pool, *wanted, SEEDS_A_PAGE))
        if wanted != (self._search, self._order, self._page * SEEDS_A_PAGE):
            return  # something else was asked for meanwhile
        self._said.set_text(why)
        if page is None:
            return
        self._main.set_visibility(True)
        if not self._sample and page.lines:
            await self._show_family(pool, page.lines[0].sample_id)
        if page == self._listed and self._tree.seed_id == self._listed_seed:
            return
        self._listed, self._listed_seed = page, self._tree.seed_id
        self._back.set_enabled(page.first > 0)
        self._on.set_enabled(page.more)
        last = page.first + len(page.lines)
        self._place.set_text(f"{page.first + 1:,} – {last:,}" if page.lines else "no seed")
        self._list.clear()
        with self._list:
            for line in page.lines:
                self._draw_seed(line)

    def _draw_seed(self, line: SeedLine) -> None:
        button = ui.element("button").classes("seed").props("type=button")
        button.on("click", lambda: self._choose_family(line.sample_id), args=[])
        if line.sample_id == self._tree.seed_id:
            button.props("aria-current=true")
        with button:
            with ui.element("div").classes("thumb"):
                ui.element("img").props(
                    f'src="{self._view.picture(line.sample_id, 160)}" loading=lazy alt=""'
                )
            with ui.element("div").classes("about"):
                ui.label(shown_line(line.question, 90)).classes("title").props("dir=auto")
                with ui.element("div").classes("numbers"):
                    ui.label(count(line.children, "child") if line.children else "no children")
                    if line.diversity is not None:
                        ui.label(f"D {line.diversity:.2f}")

    # the family

    async def _choose(self, sample_id: str) -> None:
        """Look at a member of the family."""
        self._sample, self._asked = sample_id, self._asked + 1
        self._remember()
        pool, _ = await read_in_thread(self._view.run.pool)
        if pool is not None:
            await self._show_family(pool)

    async def _go(self, places: int) -> None:
        """Look at another member of the family, so many places after the one that is looked at."""
        ids = self._tree.ids
        if self._sample in ids:
            place = ids.index(self._sample) + places
            if 0 <= place < len(ids):
                await self._choose(ids[place])

    async def _choose_family(self, seed_id: str) -> None:
        """Look at the family of a seed."""
        self._asked += 1
        pool, _ = await read_in_thread(self._view.run.pool)
        if pool is not None:
            await self._show_family(pool, seed_id)
            self._remember()
            await self._show_list(pool)

    async def _show_family(self, pool: Pool, seed_id: str = "") -> None:
        """Show the family of the sample that is looked at, or of a seed. Of another seed, look at
        the child whose description has earned most."""
        wanted, asked = seed_id or self._sample, self._asked
        family, why = await read_in_thread(lambda: family_of(pool, wanted))
        limits, _ = await read_in_thread(lambda: score_limits(self._view.run.data()))
        if asked != self._asked or wanted != (seed_id or self._sample):
            return  # somebody looks at something else meanwhile
        if family is None:
            self._tree.say(why)
            return
        if seed_id:
            self._sample = best_member(family).sample.id
        chosen = family.get(self._sample) or family.seed
        self._tree.show(family, chosen.sample.id)
        self._relative.show(_shown(family, chosen, limits or {}))

    def _remember(self) -> None:
        self._view.remember(
            sample=self._sample,
            search=self._search,
            order=self._order if self._order != "children" else "",
            page=self._page or "",
            **self._words.query,
        )


def best_member(family: Family) -> Relative:
    """Return the member whose description has earned most; without any reward the seed's first
    child, or the seed if it has none."""
    earned = [one for one in family.members if one.reward is not None]
    if earned:
        return max(earned, key=lambda one: one.reward or 0.0)
    return family.members[min(1, len(family.members) - 1)]


def _shown(family: Family, chosen: Relative, limits: dict[str, ScoreLimit]) -> Shown:
    """Return what is drawn of a member: what it can be compared with are its parent, and the seed
    if that is another one, because pictures are always painted from the seed."""
    compared = {}
    parent = family.get(chosen.sample.parent or "")
    if parent is not None:
        compared["seed" if parent is family.seed else "parent"] = parent.sample
        compared["seed"] = family.seed.sample
    return Shown(chosen, compared, limits)
