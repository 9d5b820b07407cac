"""The runs that use a data server. Each has a pool and a queue in a folder of its own.

``Runs`` opens them and closes those that nobody uses; ``served_run`` has the methods of one.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from syngrpo.data_server.api_schemas import JobOptions
from syngrpo.data_server.job_exchange import Leased
from syngrpo.data_server.served_run import (
    RECORD,
    ServerRun,
    belongs_to_trainer,
    holds_samples,
)
from syngrpo.data_server.synthesis_options import RUN_PATTERN
from syngrpo.pool.database import FILE_NAME
from syngrpo.sample import InputError
from syngrpo.serving.refusals import Refused

log = logging.getLogger(__name__)

IDLE_S = 60.0
"""Seconds after which the pool of a run is closed if nobody has used it."""
MOST_OPEN = 32
"""Largest number of pools that stay open. Each needs three file descriptors."""


class Runs:
    """All runs in a directory, which only one server may use at a time."""

    def __init__(self, directory: Path) -> None:
        """Load all runs in the directory. A damaged one is offline. Raises InputError when another
        server uses the directory, when it is that of a single run, or when it cannot be used."""
        self.directory = directory.resolve()
        _refuse_single_run(self.directory)
        self._lock = threading.Lock()
        self._runs: dict[str, ServerRun] = {}
        self._turn = 0
        self._claim = _claim(self.directory)
        for folder in sorted(self.directory.iterdir()):
            if belongs_to_trainer(folder):
                log.warning(
                    "%s is the directory of a training run, which is not served, because its pool "
                    "is its own; set server.url in its configuration to let this server paint",
                    folder,
                )
            elif re.fullmatch(RUN_PATTERN, folder.name) and _is_run(folder):
                run = self._runs[folder.name] = self._run(folder.name)
                run.load()

    def open(self, name: str, options: JobOptions) -> ServerRun:
        """Return the run with this name; make it if there is none. It uses these options from now
        on. Raises Refused for a name that is not allowed, and for a run that is offline."""
        if not re.fullmatch(RUN_PATTERN, name):
            raise Refused(422, "the name of a run is 1 to 64 of a-z, 0-9, - and _")
        with self._lock:
            run = self._runs.get(name)
            if run is None:
                run = self._run(name)
                run.create(options)
                self._runs[name] = run
            else:
                run.configure(options)
            return run

    def get(self, name: str) -> ServerRun:
        """Return the run with this name. Raises Refused when there is none."""
        run = self._runs.get(name)
        if run is None:
            raise Refused(404, f"there is no run {name[:64]!r} here; PUT /v1/runs/NAME opens one")
        return run

    def lease(self, worker: str, generator: str, count: int) -> list[Leased]:
        """Lease up to ``count`` jobs of any run. Each call begins with another run, so that all
        runs get their turn."""
        leased: list[Leased] = []
        self._turn += 1
        runs = [run for run in self if run.problem is None]
        for offset in range(len(runs)):
            if len(leased) == count:
                break
            run = runs[(self._turn + offset) % len(runs)]
            with suppress(Refused):  # the run has just gone offline; the others serve
                leased += run.lease(worker, generator, count - len(leased))
        return leased

    def tidy(self) -> None:
        """Close the pools that nobody uses. The server calls this every few seconds."""
        for run in self:
            run.rest(time.monotonic() - IDLE_S)

    def __iter__(self) -> Iterator[ServerRun]:
        return iter(list(self._runs.values()))

    def close(self) -> None:
        for run in self:
            run.close()
        self._claim.release()

    def _run(self, name: str) -> ServerRun:
        return ServerRun(self.directory / name, self._make_room)

    def _make_room(self) -> None:
        """Close the pools that were not used for longest, so that one more may be opened."""
        opened = sorted((run for run in self if run.is_open()), key=lambda run: run.used)
        surplus = len(opened) - MOST_OPEN + 1
        for run in opened:
            if surplus <= 0:
                return
            surplus -= run.rest(time.monotonic())


def _refuse_single_run(directory: Path) -> None:
    """Raise InputError for the directory of a training run, and for the folder of one run of a
    server."""
    if belongs_to_trainer(directory):
        raise InputError(
            f"{directory} is the directory of a training run, whose pool is its own; give --pool a "
            "directory for the server alone, and set server.url in the configuration of the run"
        )
    if (directory / RECORD).exists() or (directory / FILE_NAME).exists():
        raise InputError(
            f"{directory} is the folder of one run; give --pool the folder above, "
            f"{directory.parent}"
        )


def _is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run. One that has lost its record is a damaged run; a
    server that was killed while it made a new one leaves an empty pool."""
    return folder.is_dir() and (os.path.lexists(folder / RECORD) or holds_samples(folder))


def _claim(directory: Path) -> FileLock:
    """Create the directory and lock it until the process ends or the lock is released."""
    lock = FileLock(directory / "server.lock", thread_local=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"{directory} belongs to another server; stop it first") from None
    except OSError as error:
        reason = error.strerror
        raise InputError(f"pool directory {directory} cannot be used ({reason})") from None
    return lock
