"""The tab with the settings of a run, its attempts, and its log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nicegui import ui

from syngrpo.dashboard.attempts.config_keys import ConfigKey, config_keys, fitting_keys
from syngrpo.dashboard.attempts.log_messages import (
    LEVELS,
    LogEnd,
    LogFilter,
    LogMessage,
    messages_before,
)
from syngrpo.dashboard.attempts.run_attempts import RunAttempt, run_attempts
from syngrpo.dashboard.parts.view import View, whole_number
from syngrpo.pages.page_templates import render
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import InputError

AT_ONCE = 200
"""Number of messages that are shown first, and that "earlier" adds."""
MOST_PARTS = 300
"""Number of additions to the log after which only the last messages stay on the page."""


@dataclass(frozen=True)
class AskedConfig:
    """What the address says: a text that settings must hold, whether only those that are not the
    default are shown, and the level, the text and the attempt of messages (0: of all attempts)."""

    text: str = ""
    changed: bool = False
    level: str = LEVELS[0]
    log: str = ""
    attempt: int = 0


def config(view: View) -> None:
    """Draw the tab."""
    view.follow(_Config(view).follow)


class _Config:
    """The three parts of the tab, and what is asked for."""

    def __init__(self, view: View) -> None:
        self._view = view
        query = view.query
        level = query.get("level", LEVELS[0])
        self._asked = AskedConfig(
            text=query.get("text", ""),
            changed=query.get("changed") == "1",
            level=level if level in LEVELS else LEVELS[0],
            log=query.get("log", ""),
            attempt=whole_number(query.get("attempt")) or 0,
        )
        self._config: object = None
        self._keys: list[ConfigKey] = []
        self._attempts: list[RunAttempt] | None = None
        _heading("Attempts")
        self._attempts_table = ui.html(sanitize=False)
        _heading("Log")
        self._log = _Log(view, self._asked, self._ask)
        _heading("Settings")
        with ui.element("div").classes("controls"):
            text = ui.input("find", value=self._asked.text).props(
                'dense outlined clearable debounce=200 aria-label="find settings"'
            )
            text.classes("wide").on_value_change(lambda e: self._find(text=e.value or ""))
            changed = ui.switch("only those that are not the default", value=self._asked.changed)
            changed.props("dense").on_value_change(lambda e: self._find(changed=e.value))
        self._number = ui.label().classes("note").props("role=status")
        self._table = ui.html(sanitize=False)

    async def follow(self) -> None:
        """Show what has changed in the configuration, the attempts and the log."""
        run = self._view.run
        data = await asyncio.to_thread(run.data)
        if data.config is not self._config:
            self._config = data.config
            self._keys = await asyncio.to_thread(config_keys, data.config)
            self._show_keys()
        rows = await asyncio.to_thread(run.attempts)
        last = data.metrics[-1]["step"] if data.metrics else None
        attempts = run_attempts(rows, last)
        if attempts != self._attempts:
            self._attempts = attempts
            self._show_attempts(attempts)
            await self._log.show_attempts([one.log for one in attempts])
        await self._log.follow()

    def _show_attempts(self, attempts: Sequence[RunAttempt]) -> None:
        if attempts:
            versions = attempts[-1].versions
            text = render("attempts.html", attempts=attempts, versions=versions)
        else:
            line = "None are written down: the run is of an earlier version, or begins just now."
            text = render("note.html", text=line)
        self._attempts_table.set_content(shown_text(text))

    def _show_keys(self) -> None:
        found = fitting_keys(self._keys, self._asked.text, self._asked.changed)
        sections: dict[str, list[ConfigKey]] = {}
        for key in found:
            sections.setdefault(key.section, []).append(key)
        self._table.set_content(shown_text(render("config_keys.html", sections=sections)))
        differing = sum(key.differs for key in self._keys)
        of = "" if len(found) == len(self._keys) else f" of {len(self._keys)}"
        self._number.set_text(
            f"{len(found)}{of} settings; {differing} are not the default, and in bold."
        )

    def _find(self, **changes: Any) -> None:
        self._ask(**changes)
        self._show_keys()

    def _ask(self, **changes: Any) -> None:
        self._asked = asked = replace(self._asked, **changes)
        self._view.remember(
            text=asked.text,
            changed=int(asked.changed) or "",
            level=asked.level if asked.level != LEVELS[0] else "",
            log=asked.log,
            attempt=asked.attempt or "",
        )


class _Log:
    """The end of the log, to which new messages are added, and more of what is before it."""

    def __init__(self, view: View, asked: AskedConfig, ask: Any) -> None:
        self._path = view.run.directory / "log.txt"
        self._end = LogEnd(self._path)
        self._filter = LogFilter(asked.level, asked.log)
        self._ask = ask
        self._reading = asyncio.Lock()
        self._from = 0
        self._parts: list[tuple[int | None, int | None]] = []
        self._asked_attempt = asked.attempt
        with ui.element("div").classes("controls"):
            self._attempt = ui.select({0: "all"}, value=0, label="attempt")
            self._attempt.props("dense outlined options-dense").classes("narrow")
            self._attempt.on_value_change(lambda e: self._change_attempt(e.value))
            self._attempt.set_visibility(False)
            levels = {LEVELS[0]: "all", **{one: one.lower() for one in LEVELS[1:]}}
            level = ui.select(levels, value=asked.level, label="least level")
            level.props("dense outlined options-dense").classes("narrow")
            level.on_value_change(lambda e: self._change(level=e.value))
            text = ui.input("find", value=asked.log).props(
                'dense outlined clearable debounce=300 aria-label="find messages"'
            )
            text.classes("wide").on_value_change(lambda e: self._change(text=e.value or ""))
            self._following = ui.switch("follow", value=True).props("dense")
            self._earlier = ui.button("earlier", on_click=self._show_earlier)
            self._earlier.props("flat dense no-caps icon=expand_less")
        self._note = ui.label().classes("note").props("role=status")
        with ui.element("div").classes("log").props("tabindex=0 role=log aria-label=log"):
            self._lines = ui.element("div")

    async def show_attempts(self, parts: Sequence[tuple[int | None, int | None]]) -> None:
        """Let somebody choose among attempts whose ``parts`` of the log are known."""
        self._parts = list(parts)
        known = {n: str(n) for n, (start, _) in enumerate(parts, 1) if start is not None}
        self._attempt.set_visibility(len(parts) > 1 and bool(known))
        asked = self._asked_attempt if self._asked_attempt in known else self._attempt.value
        self._attempt.set_options({0: "all", **known}, value=asked if asked in known else 0)

    async def _change_attempt(self, number: int) -> None:
        self._asked_attempt = number
        start, end = self._parts[number - 1] if number else (0, None)
        self._filter = replace(self._filter, start=start or 0, end=end)
        self._ask(attempt=number)
        async with self._reading:
            await self._show_end()

    async def follow(self) -> None:
        """Add the messages that were written since the last call."""
        if not self._following.value:
            return
        async with self._reading:
            try:
                added = await asyncio.to_thread(self._end.follow)
            except FileNotFoundError:
                self._note.set_text("There is no log yet.")
                return
            except (InputError, OSError) as error:
                self._note.set_text(_unreadable(error))
                return
            if added is None or len(self._lines.default_slot.children) > MOST_PARTS:
                await self._show_end()
            elif added:
                self._add([one for one in added if self._filter.fits(one)])

    async def _change(self, **changes: Any) -> None:
        self._filter = replace(self._filter, **changes)
        self._ask(level=self._filter.level, log=self._filter.text)
        async with self._reading:
            await self._show_end()

    async def _show_end(self) -> None:
        """Show the last messages that fit."""
        self._lines.clear()
        end = self._filter.end
        self._from = self._end.place if end is None else min(end, self._end.place)
        await self._before()

    async def _show_earlier(self) -> None:
        async with self._reading:
            await self._before()

    async def _before(self) -> None:
        """Show messages before those that are shown."""
        try:
            found, self._from = await asyncio.to_thread(
                messages_before, self._path, self._from, self._filter, AT_ONCE
            )
        except (InputError, OSError) as error:
            self._note.set_text(_unreadable(error))
            return
        self._add(found, at=0)
        self._earlier.set_enabled(self._from > 0)
        if self._from == 0:
            whole = "of this attempt" if self._asked_attempt else "of the run"
            self._note.set_text(
                f"These are all messages {whole} that fit."
                if self._has_lines()
                else "Nothing fits."
            )
        else:
            self._note.set_text(f"{self._from / 1e6:,.1f} MB of the log are before these messages.")

    def _has_lines(self) -> bool:
        return bool(self._lines.default_slot.children)

    def _add(self, messages: Sequence[LogMessage], at: int = -1) -> None:
        if messages:
            text = shown_text(render("log_messages.html", messages=messages))
            with self._lines:
                added = ui.html(text, sanitize=False)
            if at >= 0:
                added.move(self._lines, target_index=at)


def _unreadable(error: InputError | OSError) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return shown_line(f"The log cannot be read: {reason}.", 1000)


def _heading(text: str) -> None:
    ui.label(text).classes("heading").props("role=heading aria-level=2")
