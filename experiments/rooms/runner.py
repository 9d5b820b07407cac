"""Runs the cells that are not done, several at once, and resumes those that were interrupted.

``Runner.run`` repeats these steps until no cell is left: write the results of the cells that have
ended, start further cells, and check what other commands have done meanwhile.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from rich.console import Console

from experiments.rooms.attempt import Attempt, note_time, spent, start
from experiments.rooms.collect import collect
from experiments.rooms.matrix import Cell, Folders, Matrix
from experiments.rooms.result import write_result
from experiments.rooms.settings import STARTER
from experiments.rooms.sheet import write_sheet
from experiments.rooms.standing import Standing, counted, seconds_left, standing
from syngrpo.pages.run_headlines import duration
from syngrpo.sample import InputError

POLL_S = 0.5
"""Seconds between two checks whether a running cell has ended."""
LOOK_S = 5.0
"""Seconds between two checks of how much is done of cells that are running, here or elsewhere."""


@dataclass
class Runner:
    """Runs ``jobs`` cells at once, with ``threads`` threads each.

    When the result of a cell is written, the directory of its run is deleted if ``discard`` is set;
    otherwise only the checkpoints in it are, except for the cells of ``continued``, from which
    those of a longer part go on. ``shorter`` are the folders of the runs that the cells go on
    from, None if they start at step 0. ``running`` are the cells that this command runs, and
    ``failed`` is cell → reason.
    """

    matrix: Matrix
    folders: Folders
    cells: Sequence[Cell]
    jobs: int = 1
    threads: int = 1
    discard: bool = False
    continued: Collection[Cell] = ()
    shorter: Folders | None = None
    console: Console = field(default_factory=Console)
    running: dict[Cell, Attempt] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    _standings: dict[Cell, Standing] = field(default_factory=dict)

    def run(self) -> dict[Cell, str]:
        """Run until every cell is done or has failed. Return the cells that failed, with the
        reason.

        If another command runs a cell, this one waits for its result. Ctrl-C, SIGTERM and SIGHUP
        end all running cells and raise KeyboardInterrupt; the next call resumes from the
        checkpoints.
        """
        with _interruptible(), self.console.status("") as line:
            try:
                self._update_standings(self.cells)
                looked = time.monotonic()
                while self._unfinished():
                    self._collect_ended()
                    self._start_cells(self._unfinished())
                    if time.monotonic() - looked > LOOK_S:
                        self._update_standings(
                            [c for c in self.cells if self._standings[c].state == "running"]
                        )
                        looked = time.monotonic()
                    line.update(self.progress())
                    time.sleep(POLL_S)
            finally:
                for attempt in self.running.values():
                    attempt.stop()
                    note_time(self.folders, attempt)
        return self.failed

    def progress(self) -> str:
        """Return the line that is shown while the cells run: how many cells are in each state, the
        time left, and how much of each running cell is done."""
        so_far = {c: time.monotonic() - a.started for c, a in self.running.items()}
        left = seconds_left(self._standings, so_far, max(self.jobs, 1))
        others = [one for cell, one in self._standings.items() if cell not in self.failed]
        states = [f"{n} {state}" for state, n in counted(others).items()]
        failed = f", {len(self.failed)} failed" if self.failed else ""
        rest = f"about {duration(left)} left" if left is not None else "time left unknown"
        where = ", ".join(f"{c.name} {self._standings[c].share:.0%}" for c in self.running)
        return f"{', '.join(states)}{failed}; {rest}{': ' if where else ''}{where}"

    def _unfinished(self) -> list[Cell]:
        """Return the cells that are neither done nor failed, including the running ones."""
        done = {c for c, s in self._standings.items() if s.state == "done"}
        return [c for c in self.cells if c not in done and c not in self.failed]

    def _update_standings(self, cells: Sequence[Cell]) -> None:
        """Read again from the files how much of these cells is done."""
        self._standings |= {c: standing(self.matrix, c, self.folders) for c in cells}

    def _start_cells(self, left: Sequence[Cell]) -> None:
        """Start further cells until ``jobs`` are running."""
        for cell in left:
            if len(self.running) >= self.jobs:
                return
            if cell not in self.running:
                try:
                    self._start_cell(cell)
                except InputError as error:
                    self._record_failure(cell, str(error))

    def _start_cell(self, cell: Cell) -> None:
        """Start a cell, unless another command runs it or has finished it."""

        def done() -> bool:
            return standing(self.matrix, cell, self.folders).state == "done"

        attempt = start(self.matrix, cell, self.folders, self.threads, done, self.shorter)
        self._update_standings([cell])
        if attempt is not None:
            self.running[cell] = attempt
            word = "resumes" if attempt.resumed else "starts"
            self.console.print(f"{cell.name} {word}", highlight=False)

    def _collect_ended(self) -> None:
        """Write the results of the cells whose process has ended, or record why they failed."""
        for cell, attempt in list(self.running.items()):
            status = attempt.ended()
            if status is None:
                continue
            del self.running[cell]
            note_time(self.folders, attempt)
            try:
                if status != 0:
                    self._record_failure(cell, f"exit status {status}: {self._last_line(cell)}")
                else:
                    self._finish(cell)
            except InputError as error:
                self._record_failure(cell, str(error))
            finally:
                attempt.claim.close()

    def _finish(self, cell: Cell) -> None:
        """Write the result of a cell that has ended, and delete what is not needed any more."""
        run = self.folders.run(cell)
        cost = spent(self.folders, cell)
        result = collect(self.matrix, cell, run, cost)
        if cell.seed == min(self.matrix.settings.seeds) and cell.method != STARTER:
            write_sheet(run, self.folders.sheet(cell))
        write_result(result, self.folders.result(cell))
        if self.discard:
            shutil.rmtree(run)
        elif cell not in self.continued:
            shutil.rmtree(run / "checkpoints", ignore_errors=True)
        self._standings[cell] = Standing("done", share=1.0, seconds=cost.seconds)
        self.console.print(f"{cell.name} done in {duration(cost.seconds)}", highlight=False)

    def _record_failure(self, cell: Cell, why: str) -> None:
        """Record that a cell has failed, and print the reason."""
        self.failed[cell] = why
        self._standings[cell] = Standing("impossible", why)
        self.console.print(f"[red]{cell.name} failed[/red]: ", end="")
        log = self.folders.log(cell)
        told = f"{why}; the whole output is in {log}" if log.exists() else why
        self.console.print(told, markup=False, highlight=False, soft_wrap=True)

    def _last_line(self, cell: Cell) -> str:
        """Return the last line of the cell's output."""
        lines = self.folders.log(cell).read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "no output"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
