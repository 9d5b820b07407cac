"""The lock of the directory of a run, which only one trainer may use at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

LOCK_NAME = ".lock"


class InUse(Exception):  # noqa: N818
    """Another process has locked the directory. ``owner`` is its id, "unknown" if it did not write
    it."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


def lock_directory(path: Path) -> IO[str]:
    """Create and lock the directory. The lock holds until the returned file is closed, or until the
    process ends for any reason. Raises InUse, and OSError when the directory cannot be written."""
    path.mkdir(parents=True, exist_ok=True)
    lock = (path / LOCK_NAME).open("a+")
    if not lock_descriptor(lock.fileno(), blocking=False):
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise InUse(owner)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
