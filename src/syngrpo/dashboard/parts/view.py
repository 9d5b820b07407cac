"""What a tab is given: the run that it shows, what the address says, and how to link and follow.

The functions make the addresses of pages, and lists of names in them: ``runs=first,second``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from nicegui import ui

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.pages.shown_text import shown_line
from syngrpo.serving.wording import first_line

logger = logging.getLogger(__name__)

FOLLOW_S = 2.0
"""Seconds between two looks at the files of a run."""


@dataclass(frozen=True)
class View:
    """One open page.

    ``base`` is the path under which the dashboard is mounted, "" at the top of the server.
    ``query`` holds what the address says after the question mark: which step, which filter.
    ``actions``: whether somebody who looks at it may change something in a run.
    """

    runs: FollowedRuns
    run: FollowedRun
    tab: str
    base: str
    query: Mapping[str, str]
    actions: bool = False

    def other_runs(self) -> list[str]:
        """Return the names of the other runs of the dashboard."""
        return [run.name for run in self.runs if run.name != self.run.name]

    def link(self, tab: str, of: str = "", **query: object) -> str:
        """Return the address of a tab that shows what ``query`` says, of this run or of the one
        named ``of``. Values that are None or "" are left out.

        It is for ``ui.link`` and ``ui.navigate.to``, which put ``base`` in front themselves.
        """
        return run_address(of or self.run.name, tab) + query_of(query)

    def picture(self, sample_id: str, side: int = 480, held_out: str = "", of: str = "") -> str:
        """Return the address of the image of a sample in the pool, or in the evaluation set of the
        name ``held_out``, of this run or of the one named ``of``."""
        run = of or self.run.name
        query = {"run": run, "set": held_out, "sample": sample_id, "side": side}
        return f"{self.base}/picture" + query_of(query)

    def refused(self, job_id: str, side: int = 480) -> str:
        """Return the address of the picture that the gate has refused for a job."""
        query = {"run": self.run.name, "job": job_id, "side": side}
        return f"{self.base}/refused" + query_of(query)

    def remember(self, **query: object) -> None:
        """Write what is shown into the address bar, so that the address shows it again."""
        ui.navigate.history.replace(self.base + self.link(self.tab, "", **query))

    def follow(self, show: Callable[[], Awaitable[None] | None]) -> None:
        """Call ``show`` now, and again every ``FOLLOW_S`` while a browser has the page open. If it
        fails, a line on the page says so: what it reads may be damaged in any way, and be whole
        again soon."""
        problem = ui.label().classes("problem").props("role=status")
        problem.set_visibility(False)
        problem.move(target_index=0)

        async def shown() -> None:
            if not problem.client.has_socket_connection:
                return  # NiceGUI keeps a page for a while after it was left
            line = ""
            try:
                done = show()
                if done is not None:
                    await done
            except Exception as error:
                if problem.is_deleted:  # somebody has closed the page meanwhile
                    return
                logger.debug("a part of a page cannot be shown", exc_info=error)
                what = f"{type(error).__name__}: {first_line(error)}"
                line = shown_line(f"A part of this page cannot be shown ({what}).")
            if line and line != problem.text:
                logger.warning("run %s, tab %s: %s", self.run.name, self.tab, line)
            problem.set_text(line)
            problem.set_visibility(bool(line))

        ui.timer(FOLLOW_S, shown, immediate=True)


def run_address(name: str, tab: str) -> str:
    """Return the path of a tab of the run of this name, below that of the dashboard."""
    return f"/run/{quote(name, safe='')}/{tab}"


def query_of(query: Mapping[str, object]) -> str:
    """Return the end of an address that says ``query``, without the values that are None or ""."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""


def whole_number(text: str | None) -> int | None:
    """Return the whole number, not negative and with at most nine digits, that a part of an address
    says; None if it says none."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else None


def joined_names(names: Iterable[str]) -> str:
    """Return names as one text that ``split_names`` takes apart again, whatever they hold."""
    return ",".join(name.replace("%", "%25").replace(",", "%2C") for name in names)


def split_names(text: str) -> list[str]:
    """Return the names that ``joined_names`` has joined; [] for ""."""
    parts = text.split(",") if text else []
    return [part.replace("%2C", ",").replace("%25", "%") for part in parts]
