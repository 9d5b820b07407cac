"""The lock of a directory that only one process may write to, such as that of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from syngrpo.sample import InputError

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


@contextmanager
def used_alone(directory: Path, remedy: str) -> Iterator[None]:
    """Lock the directory during the block. Raises InputError, with a message that ends with
    ``remedy``, when another process has locked it, and OSError as ``lock_directory``."""
    try:
        lock = lock_directory(directory)
    except InUse as error:
        raise InputError(f"{directory} is in use by process {error.owner}; {remedy}") from None
    with lock:
        yield
