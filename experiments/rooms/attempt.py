"""Runs one cell: its process, a lock so that nobody else runs it, and the time it took."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from typing import IO

import yaml

from experiments.rooms.machine import commit
from experiments.rooms.matrix import ROOT, Cell, Folders, Matrix, differences, plain, program
from syngrpo.workflow.run_options import RunOptions

PATIENCE_S = 10
"""Seconds between asking a process to end (SIGTERM) and killing it (SIGKILL)."""


@dataclass(frozen=True)
class Spent:
    """What a cell has cost so far: seconds of wall clock, attempts, and their commits. The time of
    an attempt is missing if the command that started it was killed."""

    seconds: float = 0.0
    attempts: int = 0
    commits: tuple[str, ...] = ()


@dataclass
class Attempt:
    """A running cell. Nobody else can start the same cell while its process lives: ``claim`` is a
    locked file that the process inherits, so the lock stays even if the command that started it is
    killed."""

    cell: Cell
    process: Popen[bytes]
    claim: IO[str]
    started: float
    resumed: bool

    def ended(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """End the process and all processes that it started, and release the lock."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                try:
                    self.process.wait(PATIENCE_S)
                except TimeoutExpired:
                    continue
        self.claim.close()


def start(
    matrix: Matrix, cell: Cell, folders: Folders, threads: int, done: Callable[[], bool]
) -> Attempt | None:
    """Start or resume a cell. Returns None if somebody else runs it or ``done`` says it is
    finished.

    A run directory that was made with another configuration is deleted first. Raises InputError
    for a cell that this version cannot run.
    """
    claim = _claim(folders, cell)
    if claim is None:
        return None
    if done():
        claim.close()
        return None
    options = matrix.options(cell)
    run = folders.run(cell)
    if run.exists() and _made_otherwise(run, options):
        shutil.rmtree(run)
        _spent(folders, cell).unlink(missing_ok=True)
    resumed = run.exists()
    command = [*program(), *matrix.command(cell, run, resumed)]
    before = spent(folders, cell)
    commits = tuple(dict.fromkeys([*before.commits, commit(ROOT)]))
    _write_spent(folders, cell, replace(before, attempts=before.attempts + 1, commits=commits))
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
            start_new_session=True,  # Ctrl-C reaches this process only, which then stops the other
        )
    return Attempt(cell, process, claim, time.monotonic(), resumed)


def busy(folders: Folders, cell: Cell) -> bool:
    """Return whether some process runs the cell."""
    if not _claim_file(folders, cell).exists():
        return False
    claim = _claim(folders, cell)
    if claim is not None:
        claim.close()
    return claim is None


def spent(folders: Folders, cell: Cell) -> Spent:
    """Return what all attempts that led to the run directory have cost."""
    path = _spent(folders, cell)
    if not path.exists():
        return Spent()
    known = json.loads(path.read_text())
    return Spent(known["seconds"], known["attempts"], tuple(known["commits"]))


def note_time(folders: Folders, attempt: Attempt) -> None:
    """Add the time of an attempt that has ended."""
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


def _made_otherwise(run: Path, options: RunOptions) -> bool:
    """Whether the run has another configuration. An evaluation has no configuration file; it
    refuses other settings by itself."""
    path = run / "config.yaml"
    if not path.exists():
        return False
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    return bool(differences(plain(before), plain(options.as_values())))


def _claim(folders: Folders, cell: Cell) -> IO[str] | None:
    folders.runs.mkdir(parents=True, exist_ok=True)
    file = _claim_file(folders, cell).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _claim_file(folders: Folders, cell: Cell) -> Path:
    return folders.runs / f"{cell.name}.lock"


def _spent(folders: Folders, cell: Cell) -> Path:
    return folders.runs / f"{cell.name}.time"


def _write_spent(folders: Folders, cell: Cell, cost: Spent) -> None:
    _spent(folders, cell).write_text(json.dumps(asdict(cost)))
