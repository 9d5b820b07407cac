"""Starts and stops the process of one cell, locks the cell, and records the time that it took.

A cell may need several attempts, because a run can be interrupted and resumed. ``runner`` calls
``start``, ``Attempt.ended``, ``Attempt.stop`` and ``note_time``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from typing import IO

import yaml

from experiments.rooms.machine import commit
from experiments.rooms.matrix import ROOT, Cell, Folders, Matrix, differences, plain, program
from experiments.rooms.result import world
from syngrpo.workflow.run_options import RunOptions

LENGTH = ("trainer.steps", "evaluation.every")
"""The keys in which a longer run may differ from the run that it goes on from."""
PATIENCE_S = 10
"""Seconds between asking a process to end (SIGTERM) and killing it (SIGKILL)."""


@dataclass(frozen=True)
class Spent:
    """What all attempts at a cell have cost together: seconds of wall-clock time, the number of
    attempts, and the commits that were checked out. ``world`` is that of ``result.world`` at the
    first attempt.

    The seconds do not include an attempt during which the command that started it was killed.
    """

    seconds: float = 0.0
    attempts: int = 0
    commits: tuple[str, ...] = ()
    world: Mapping[str, str] = field(default_factory=dict)

    def with_attempt(self, world: Mapping[str, str]) -> Spent:
        """Return this with one more attempt, at the commit that is checked out."""
        commits = tuple(dict.fromkeys([*self.commits, commit(ROOT)]))
        return replace(self, attempts=self.attempts + 1, commits=commits, world=world)


@dataclass
class Attempt:
    """A running cell.

    ``claim`` is a locked file, which prevents other commands from starting the same cell. The
    process inherits the file, so the lock lasts as long as the process, even if the command that
    started it is killed. ``started`` is the value of ``time.monotonic`` at the start, in seconds.
    ``resumed`` is true if the run had been interrupted before.
    """

    cell: Cell
    process: Popen[bytes]
    claim: IO[str]
    started: float
    resumed: bool

    def ended(self) -> int | None:
        """Return the exit status of the process, None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """End the process and all processes that it started, and release the lock.

        Sends SIGTERM first, and SIGKILL after ``PATIENCE_S`` seconds.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                try:
                    self.process.wait(PATIENCE_S)
                except TimeoutExpired:
                    continue
        self.claim.close()


def start(
    matrix: Matrix,
    cell: Cell,
    folders: Folders,
    threads: int,
    done: Callable[[], bool],
    shorter: Folders | None = None,
) -> Attempt | None:
    """Start or resume a cell. Returns None if another process runs it, or if ``done`` returns true.

    If ``shorter`` has a finished run of the same cell with fewer steps, whose checkpoint is still
    there, the cell goes on from a copy of it.

    ``done`` is called when the cell is locked, so that its answer cannot change any more. A run
    directory that was made with another configuration, model or generator is deleted first.
    ``threads`` is the number of threads that the process uses for computation. Raises InputError
    for a cell that this version cannot run.
    """
    claim = _lock(folders, cell)
    if claim is None:
        return None
    if done():
        claim.close()
        return None
    options = matrix.options(cell)
    run = folders.run(cell)
    if run.exists() and (
        has_other_configuration(run, options) or _has_other_world(folders, cell, options)
    ):
        shutil.rmtree(run)
        _spent_file(folders, cell).unlink(missing_ok=True)
    if not run.exists() and shorter is not None:
        _copy_shorter(shorter, folders, cell, options)
    resumed = run.exists()
    command = [*program(), *matrix.command(cell, run, resumed)]
    before = spent(folders, cell)
    _write_spent(folders, cell, before.with_attempt(world(options.model.path)))
    with folders.log(cell).open("a") as log:
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        process = Popen(
            command,
            stdin=DEVNULL,
            stdout=log,
            stderr=STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "COLUMNS": "120"},
            pass_fds=[claim.fileno()],
            start_new_session=True,  # Ctrl-C then reaches only this process, which stops the child
        )
    return Attempt(cell, process, claim, time.monotonic(), resumed)


def busy(folders: Folders, cell: Cell) -> bool:
    """Return whether a process of this or another command runs the cell."""
    if not _lock_file(folders, cell).exists():
        return False
    claim = _lock(folders, cell)
    if claim is not None:
        claim.close()
    return claim is None


def spent(folders: Folders, cell: Cell) -> Spent:
    """Return what all attempts that led to the run directory have cost."""
    path = _spent_file(folders, cell)
    if not path.exists():
        return Spent()
    known = json.loads(path.read_text())
    return Spent(**known | {"commits": tuple(known["commits"])})


def note_time(folders: Folders, attempt: Attempt) -> None:
    """Add the time of an attempt that has ended to what its cell has cost."""
    before = spent(folders, attempt.cell)
    took = time.monotonic() - attempt.started
    _write_spent(folders, attempt.cell, replace(before, seconds=before.seconds + took))


def steps_done(folders: Folders, cell: Cell) -> int:
    """Return the number of steps that the cell's run has finished; 0 if there is no run."""
    path = folders.run(cell) / "metrics.jsonl"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8192))
        lines = file.read().splitlines(keepends=True)
    whole = [line for line in lines[-2:] if line.endswith(b"\n") and line.startswith(b"{")]
    return int(json.loads(whole[-1])["step"]) if whole else 0


def _copy_shorter(shorter: Folders, folders: Folders, cell: Cell, options: RunOptions) -> None:
    """Copy the run of the cell with fewer steps, and what it has cost. Do nothing if it is not
    finished, has no checkpoint, or differs in more than the steps."""
    run, config = shorter.run(cell), shorter.run(cell) / "config.yaml"
    if not shorter.result(cell).exists() or not (run / "checkpoints").exists():
        return
    if _has_other_world(shorter, cell, options):
        return
    before = plain(yaml.safe_load(config.read_text(encoding="utf-8")))
    now = plain(options.as_values())
    if differences(before, now | {key: before[key] for key in LENGTH}):
        return
    copy = folders.run(cell).with_suffix(".copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    copy.rename(folders.run(cell))
    shutil.copy(_spent_file(shorter, cell), _spent_file(folders, cell))


def has_other_configuration(run: Path, options: RunOptions) -> bool:
    """Return whether the run was made with another configuration.

    The directory of an evaluation has no configuration file; ``syngrpo evaluate`` itself refuses to
    resume with other settings.
    """
    path = run / "config.yaml"
    if not path.exists():
        return False
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    return bool(differences(plain(before), plain(options.as_values())))


def _has_other_world(folders: Folders, cell: Cell, options: RunOptions) -> bool:
    """Return whether the run was made with another model or generator."""
    return spent(folders, cell).world != world(options.model.path)


def _lock(folders: Folders, cell: Cell) -> IO[str] | None:
    """Lock the cell and return the locked file, None if another process holds the lock."""
    folders.runs.mkdir(parents=True, exist_ok=True)
    file = _lock_file(folders, cell).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _lock_file(folders: Folders, cell: Cell) -> Path:
    return folders.runs / f"{cell.name}.lock"


def _spent_file(folders: Folders, cell: Cell) -> Path:
    return folders.runs / f"{cell.name}.time"


def _write_spent(folders: Folders, cell: Cell, cost: Spent) -> None:
    _spent_file(folders, cell).write_text(json.dumps(asdict(cost)))
