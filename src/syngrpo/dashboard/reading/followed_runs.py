"""Finds the runs in the folders that the dashboard was given, also those that are started later."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.pages.shown_text import shown_line
from syngrpo.sample import InputError

DEEPEST = 3
"""How many folders below a given one are searched for runs."""
LOOK_AGAIN_S = 5.0
"""Seconds after which the folders are searched again."""
_MARKS = ("config.yaml", "metrics.jsonl", "evaluation.jsonl", "pool.db")
_NO_RUNS = {"images", "checkpoints", "responses", "final", "curves", "refused"}


class FollowedRuns:
    """The runs in some folders, each under a name of its own. A folder may be a run itself.

    Raises InputError for a path that is no folder.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if not path.is_dir():
                raise InputError(f"{path} is no folder; give a run directory or a folder of them")
        self._paths = [path.resolve() for path in paths]
        self._runs: dict[Path, FollowedRun] = {}
        self._lock = threading.Lock()
        self._looked_at = -LOOK_AGAIN_S

    def __iter__(self) -> Iterator[FollowedRun]:
        """Yield the runs in order of their names."""
        self._look()
        return iter(sorted(self._runs.values(), key=lambda run: run.name))

    def get(self, name: str) -> FollowedRun | None:
        """Return the run of that name, None without one."""
        return next((run for run in self if run.name == name), None)

    def close(self) -> None:
        """Close the pools of all runs."""
        for run in self._runs.values():
            run.close()

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked_at < LOOK_AGAIN_S:
                return
            self._looked_at = time.monotonic()
            for top in self._paths:
                for directory in _runs_below(top):
                    if directory not in self._runs:
                        self._runs[directory] = FollowedRun(self._name(top, directory), directory)

    def _name(self, top: Path, directory: Path) -> str:
        """Return a name that no other run has. It is a single part of a path, and can be shown:
        the name of a folder may hold anything."""
        below = directory.relative_to(top).parts
        name = shown_line("~".join(below) if below else directory.name) or "run"
        taken = {run.name for run in self._runs.values()}
        number, free = 2, name
        while free in taken:
            free, number = f"{name}-{number}", number + 1
        return free


def _runs_below(top: Path) -> Iterator[Path]:
    """Yield the run directories below a folder, itself included. Links to folders are not
    followed, and a run is not searched for further ones."""
    for folder, names, files in os.walk(top):
        depth = len(Path(folder).relative_to(top).parts)
        if any(mark in files for mark in _MARKS):
            yield Path(folder)
            names.clear()
        elif depth >= DEEPEST:
            names.clear()
        else:
            names[:] = sorted(name for name in names if name not in _NO_RUNS)
