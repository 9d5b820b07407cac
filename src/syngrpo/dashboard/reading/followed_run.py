"""Follows a run directory while it is written: what was read stays in memory, and only what was
added is read again.

Every page of the dashboard shows a ``FollowedRun``. It reads files and changes none, so that it is
safe beside a live run. A directory that is half written, damaged or gone gives ``problems``, which
the pages show, and never an error.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from syngrpo.dashboard.reading.compact_rows import CompactRows
from syngrpo.dashboard.reading.own_files import require_own
from syngrpo.data_server.served_run import RECORD
from syngrpo.evaluation.evaluation_reading import METRICS
from syngrpo.pages.run_data import RunData, load_tasks_of, read_evaluation
from syngrpo.pool.database import FILE_NAME
from syngrpo.pool.pool_reading import PoolCopy, open_to_read
from syngrpo.pool.store import Pool
from syngrpo.responses.response_reading import KeptResponses
from syngrpo.sample import InputError
from syngrpo.serving.run_files import read_sections
from syngrpo.serving.wording import first_line
from syngrpo.workflow.attempts import ATTEMPTS

REREAD_S = 1.0
"""Seconds for which what was read counts as current, however many pages are open."""
OPENING_S = 5.0
"""Seconds that a page waits while another one opens the pool, and between two attempts to open one
that cannot be opened."""
COPY_AGAIN_S = 30.0
"""Seconds after which a pool is copied again that can only be read as a copy."""
QUIET_S = 90.0
QUIET_STEPS = 3
"""Without a new byte in the run's files for so many seconds, and for the time of so many steps, a
run that is not finished counts as stopped."""
LAST_STEPS = 20
"""Number of steps of which the longest counts for it."""
_WRITTEN = ("metrics.jsonl", "log.txt", "evaluation.jsonl", "pool.db-wal", "pool.db")


@dataclass(frozen=True)
class Activity:
    """Whether a run goes on. ``state`` is ``running``, ``finished`` or ``stopped``;
    ``seconds_ago`` is the time since its files were last written, None without files."""

    state: str
    seconds_ago: float | None


class FollowedRun:
    """A run directory, under the ``name`` that links use. Its methods may be called from several
    threads."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.responses = KeptResponses(directory)
        self._metrics = _FollowedLines(directory / "metrics.jsonl", CompactRows().compact)
        self._evaluations = _FollowedLines(directory / "evaluation.jsonl", _without_samples)
        self._attempts = _FollowedLines(directory / ATTEMPTS)
        self._lock = threading.Lock()
        self._data = RunData(directory, [], [], {})
        self._read_at = -REREAD_S
        self._config_seen: tuple[int, int] | None = None
        self._config_problem = ""
        self._task_problems: list[str] = []
        self._pool_lock = threading.Lock()
        self._pool: Pool | None = None
        self._pool_file: tuple[int, int] | None = None
        self._pool_problem = ""
        self._open_at = 0.0

    def data(self) -> RunData:
        """Return metrics, evaluations and configuration, at most ``REREAD_S`` old."""
        with self._lock:
            if time.monotonic() - self._read_at >= REREAD_S:
                self._read()
                self._read_at = time.monotonic()
            return self._data

    def attempts(self) -> list[dict[str, Any]]:
        """Return what is written down about each start of the run."""
        with self._lock:
            self._attempts.read()
            return [dict(row) for row in self._attempts.rows]

    def pool(self) -> Pool | None:
        """Return the pool of the run, which stays open until another file is in its place; None for
        a run that has none, and for one that cannot be opened, which ``problems`` then says."""
        if not self._pool_lock.acquire(timeout=OPENING_S):
            self._pool_problem = "the pool is opened by another page, which waits for it"
            return None
        try:
            file = _identity(self.directory / FILE_NAME)
            if file is not None and (file != self._pool_file or self._pool_is_old()):
                self._pool = None  # not closed: a page may be reading the pool that was there
                self._pool_file, self._pool_problem, self._open_at = file, "", 0.0
            if self._pool is None and file is not None and time.monotonic() >= self._open_at:
                try:
                    self._pool = open_to_read(self.directory)
                    self._pool_problem = ""
                    self._open_at = time.monotonic() + COPY_AGAIN_S
                except (InputError, OSError, sqlite3.Error) as error:
                    self._pool_problem = f"the pool cannot be opened: {first_line(error)}"
                    self._open_at = time.monotonic() + OPENING_S
            return self._pool
        finally:
            self._pool_lock.release()

    def _pool_is_old(self) -> bool:
        """Return whether the pool is a copy, because its folder cannot be written, and the run has
        gone on since."""
        if not isinstance(self._pool, PoolCopy) or time.monotonic() < self._open_at:
            return False
        with suppress(OSError):  # it is gone, which the next look at its file tells
            return not self._pool.is_current()
        return False

    def is_evaluation(self) -> bool:
        """Return whether the directory is no run, but that of a finished ``syngrpo evaluate
        --out``."""
        return os.path.isfile(self.directory / METRICS)

    def is_served_pool(self) -> bool:
        """Return whether the directory is the folder of a run on a data server: it has the pool and
        the queue, and nothing that the trainer writes."""
        return os.path.isfile(self.directory / RECORD)

    def activity(self) -> Activity:
        """Return whether the run goes on."""
        newest = 0.0
        for name in _WRITTEN:
            with suppress(OSError):
                newest = max(newest, (self.directory / name).stat().st_mtime)
        ago = max(0.0, time.time() - newest) if newest else None
        ended = os.path.isdir(self.directory / "final") and self._has_all_steps()
        if ended or self.is_evaluation():
            return Activity("finished", ago)
        quiet = max(QUIET_S, QUIET_STEPS * self._longest_step())
        return Activity("running" if ago is not None and ago < quiet else "stopped", ago)

    def _has_all_steps(self) -> bool:
        """Return whether the last planned step is done. A finished run that is resumed with more
        steps still has its final weights."""
        planned, rows = self._data.setting("trainer", "steps"), self._data.metrics
        return not isinstance(planned, int) or not rows or rows[-1]["step"] >= planned

    def _longest_step(self) -> float:
        """Return the seconds of the longest of the last steps, 0 without any."""
        times = (row.get("time/step_s") for row in self._data.metrics[-LAST_STEPS:])
        return max((float(one) for one in times if isinstance(one, int | float)), default=0.0)

    def problems(self) -> list[str]:
        """Return a line for everything that could not be read."""
        if not os.path.isdir(self.directory):
            return [f"{self.directory} is gone; what was read before is shown"]
        lines = [self._config_problem, self._pool_problem]
        for file in (self._metrics, self._evaluations, self._attempts):
            lines += file.problems
        lines += [*self._task_problems, *self.responses.problems]
        return [line for line in lines if line]

    def close(self) -> None:
        """Close the pool."""
        with self._pool_lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = self._pool_file = None

    def _read(self) -> None:
        if not os.path.isdir(self.directory):
            return
        if self._metrics.read():
            by_step = {int(row["step"]): row for row in self._metrics.rows if _has_step(row)}
            self._data = replace(self._data, metrics=[by_step[step] for step in sorted(by_step)])
        if self._evaluations.read():
            found = {}
            for row in self._evaluations.rows:
                try:
                    found[row["step"], row["set"]] = read_evaluation(row)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    self._evaluations.problem(f"a line has another form ({error!r})")
            self._data = replace(self._data, evaluations=list(found.values()))
        self._read_config()

    def _has_no_config(self) -> bool:
        return self.is_evaluation() or self.is_served_pool()

    def _read_config(self) -> None:
        path = self.directory / "config.yaml"
        try:
            seen = path.stat().st_mtime_ns, path.stat().st_size
            if seen == self._config_seen:
                return
            require_own(path)
            config = read_sections(path)
        except FileNotFoundError:
            self._config_problem = "" if self._has_no_config() else f"{path} is missing"
            return
        except InputError as error:
            self._config_seen, self._config_problem = seen, first_line(error)
            return
        except OSError as error:
            self._config_problem = f"{path} cannot be read ({error.strerror})"
            return
        self._config_seen, self._config_problem = seen, ""
        self._task_problems = load_tasks_of(config)
        self._data = replace(self._data, config=config)


def _has_step(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("step"), int)


def _without_samples(row: dict[str, Any]) -> dict[str, Any]:
    """Return a line of ``evaluation.jsonl`` without the values of each sample, which no page reads
    and which are most of it."""
    return {name: value for name, value in row.items() if name != "per_sample"}


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one in its place; None without a file."""
    if not os.path.isfile(path):
        return None
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


class _FollowedLines:
    """A file with one JSON object a line, to which another process appends. ``rows`` are the
    complete lines that were read; lines that are no object are left out and named in
    ``problems``, and so is why the file cannot be read now. ``compact`` makes the rows smaller."""

    def __init__(
        self, path: Path, compact: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    ) -> None:
        self._path = path
        self._compact = compact
        self._read_to = 0
        self._last_line = b""
        self.rows: list[Mapping[str, Any]] = []
        self._in_lines: list[str] = []
        self._unreadable = ""

    @property
    def problems(self) -> list[str]:
        return [self._unreadable, *self._in_lines]

    def read(self) -> bool:
        """Read what was added. Return whether ``rows`` have changed.

        A file that has become shorter, or whose last line read is another one, was written anew:
        the run was set back. It is then read from its beginning.
        """
        try:
            require_own(self._path)
            with self._path.open("rb") as file:
                if not self._goes_on(file):
                    file.seek(0)
                    self._read_to, self._last_line = 0, b""
                    had_rows, self.rows, self._in_lines = bool(self.rows), [], []
                else:
                    had_rows = False
                added = file.read()
        except FileNotFoundError:
            had_rows, self.rows, self._read_to, self._last_line = bool(self.rows), [], 0, b""
            self._in_lines, self._unreadable = [], ""
            return had_rows
        except InputError as error:
            self._unreadable = str(error)
            return False
        except OSError as error:
            self._unreadable = f"{self._path} cannot be read ({error.strerror})"
            return False
        self._unreadable = ""
        whole = added[: added.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            self._add(line)
        self._read_to += len(whole)
        return had_rows or bool(whole)

    def problem(self, text: str) -> None:
        """Note a problem of the file once."""
        line = f"{self._path}: {text}"
        if line not in self._in_lines:
            self._in_lines.append(line)

    def _goes_on(self, file: Any) -> bool:
        start = self._read_to - len(self._last_line)
        file.seek(start)
        return bool(file.read(len(self._last_line)) == self._last_line)

    def _add(self, line: bytes) -> None:
        self._last_line = line + b"\n"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            self.rows.append(self._compact(row) if self._compact else row)
        else:
            self.problem("lines that are no JSON object are left out")
