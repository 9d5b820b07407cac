"""One cell being run: its process, the claim on it, and the time it took."""

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
from syngrpo.config import Config

PATIENCE_S = 10
"""From asking a process to end until it is made to."""


@dataclass(frozen=True)
class Spent:
    """What a cell has cost so far: seconds of wall clock, attempts, and the commits that they were
    made with. Of an attempt whose starter was killed the time is not known."""

    seconds: float = 0.0
    attempts: int = 0
    commits: tuple[str, ...] = ()


@dataclass
class Attempt:
    """A running cell. As long as the process lives, nobody else can start the same cell: the claim
    is a file lock that it inherits, so it also outlives whoever started it."""

    cell: Cell
    process: Popen[bytes]
    claim: IO[str]
    started: float
    resumed: bool

    def ended(self) -> int | None:
        """Exit status; None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """Ends the process and what it started."""
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
    """Starts a cell or goes on with it; None when somebody else is at it, or has ``done`` it.

    A run directory that was made with another configuration is begun anew. Raises InputError for a
    cell that this version cannot run.
    """
    claim = _claim(folders, cell)
    if claim is None:
        return None
    if done():
        claim.close()
        return None
    config = matrix.config(cell)
    run = folders.run(cell)
    if run.exists() and _made_otherwise(run, config):
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
            start_new_session=True,  # Ctrl-C is for us, who pass it on
        )
    return Attempt(cell, process, claim, time.monotonic(), resumed)


def busy(folders: Folders, cell: Cell) -> bool:
    """Whether somebody is at the cell."""
    if not _claim_file(folders, cell).exists():
        return False
    claim = _claim(folders, cell)
    if claim is not None:
        claim.close()
    return claim is None


def spent(folders: Folders, cell: Cell) -> Spent:
    """By all attempts at what is in the run directory."""
    path = _spent(folders, cell)
    if not path.exists():
        return Spent()
    known = json.loads(path.read_text())
    return Spent(known["seconds"], known["attempts"], tuple(known["commits"]))


def note_time(folders: Folders, attempt: Attempt) -> None:
    """Adds the time of an attempt that has ended."""
    before = spent(folders, attempt.cell)
    took = time.monotonic() - attempt.started
    _write_spent(folders, attempt.cell, replace(before, seconds=before.seconds + took))


def steps_done(folders: Folders, cell: Cell) -> int:
    """Of the run in its directory; 0 without one."""
    path = folders.run(cell) / "metrics.jsonl"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8192))
        lines = file.read().splitlines(keepends=True)
    whole = [line for line in lines[-2:] if line.endswith(b"\n") and line.startswith(b"{")]
    return int(json.loads(whole[-1])["step"]) if whole else 0


def _made_otherwise(run: Path, config: Config) -> bool:
    """An evaluation has no configuration file: it refuses other settings by itself."""
    path = run / "config.yaml"
    if not path.exists():
        return False
    before = Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    return bool(differences(plain(before), plain(config)))


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
