"""Follows a run directory while it is written: what was read stays in memory, and only what was
added is read again.

Every page of the dashboard shows a ``FollowedRun``. It reads files and changes none, so that it is
safe beside a live run. A directory that is half written, damaged or gone gives ``problems``, which
the pages show, and never an error.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import yaml

from syngrpo.evaluation.evaluation_reading import METRICS
from syngrpo.pages.run_data import RunData, read_evaluation
from syngrpo.pool.database import FILE_NAME
from syngrpo.pool.pool_reading import open_to_read
from syngrpo.pool.store import Pool
from syngrpo.responses.response_reading import KeptResponses
from syngrpo.sample import InputError
from syngrpo.workflow.attempts import ATTEMPTS

REREAD_S = 1.0
"""Seconds for which what was read counts as current, however many pages are open."""
QUIET_S = 90.0
"""Seconds without a new byte in the run's files after which a run that is not finished counts as
stopped."""
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
        self._metrics = _FollowedLines(directory / "metrics.jsonl")
        self._evaluations = _FollowedLines(directory / "evaluation.jsonl")
        self._attempts = _FollowedLines(directory / ATTEMPTS)
        self._lock = threading.Lock()
        self._data = RunData(directory, [], [], {})
        self._read_at = -REREAD_S
        self._config_seen: tuple[int, int] | None = None
        self._config_problem = ""
        self._pool: Pool | None = None
        self._pool_problem = ""

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
            return list(self._attempts.rows)

    def pool(self) -> Pool | None:
        """Return the pool of the run, which stays open; None for a run that has none, and for one
        that cannot be opened, which ``problems`` then says."""
        with self._lock:
            if self._pool is None and (self.directory / FILE_NAME).is_file():
                try:
                    self._pool = open_to_read(self.directory)
                    self._pool_problem = ""
                except (InputError, OSError) as error:
                    self._pool_problem = str(error)
            return self._pool

    def is_evaluation(self) -> bool:
        """Return whether the directory is no run, but that of a finished ``syngrpo evaluate
        --out``."""
        return (self.directory / METRICS).is_file()

    def activity(self) -> Activity:
        """Return whether the run goes on."""
        newest = 0.0
        for name in _WRITTEN:
            with suppress(OSError):
                newest = max(newest, (self.directory / name).stat().st_mtime)
        ago = max(0.0, time.time() - newest) if newest else None
        if (self.directory / "final").is_dir() or self.is_evaluation():
            return Activity("finished", ago)
        return Activity("running" if ago is not None and ago < QUIET_S else "stopped", ago)

    def problems(self) -> list[str]:
        """Return a line for everything that could not be read."""
        if not self.directory.is_dir():
            return [f"{self.directory} is gone; what was read before is shown"]
        lines = [self._config_problem, self._pool_problem]
        for file in (self._metrics, self._evaluations, self._attempts):
            lines += file.problems
        lines += self.responses.problems
        return [line for line in lines if line]

    def close(self) -> None:
        """Close the pool."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def _read(self) -> None:
        if not self.directory.is_dir():
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

    def _read_config(self) -> None:
        path = self.directory / "config.yaml"
        try:
            seen = path.stat().st_mtime_ns, path.stat().st_size
            if seen == self._config_seen:
                return
            config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            if not isinstance(config, dict):
                raise ValueError("no mapping")
        except FileNotFoundError:
            self._config_problem = "" if self.is_evaluation() else f"{path} is missing"
            return
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            self._config_problem = f"{path} cannot be read: {reason}"
            return
        self._config_seen, self._config_problem = seen, ""
        self._data = replace(self._data, config=config)


def _has_step(row: dict[str, Any]) -> bool:
    return isinstance(row.get("step"), int)


class _FollowedLines:
    """A file with one JSON object a line, to which another process appends. ``rows`` are the
    complete lines that were read; lines that are no object are left out and named in
    ``problems``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = 0
        self._last_line = b""
        self.rows: list[dict[str, Any]] = []
        self.problems: list[str] = []

    def read(self) -> bool:
        """Read what was added. Return whether ``rows`` have changed.

        A file that has become shorter, or whose last line read is another one, was written anew:
        the run was set back. It is then read from its beginning.
        """
        try:
            with self._path.open("rb") as file:
                if not self._goes_on(file):
                    file.seek(0)
                    self._read_to, self._last_line = 0, b""
                    had_rows, self.rows, self.problems = bool(self.rows), [], []
                else:
                    had_rows = False
                added = file.read()
        except FileNotFoundError:
            had_rows, self.rows, self._read_to, self._last_line = bool(self.rows), [], 0, b""
            return had_rows
        except OSError as error:
            self.problem(f"it cannot be read ({error.strerror})")
            return False
        whole = added[: added.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._add(line)
        self._read_to += len(whole)
        return had_rows or bool(whole)

    def problem(self, text: str) -> None:
        """Note a problem of the file once."""
        line = f"{self._path}: {text}"
        if line not in self.problems:
            self.problems.append(line)

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
            self.rows.append(row)
        else:
            self.problem("lines that are no JSON object are left out")
