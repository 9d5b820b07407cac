"""Writing directories that are whole or not there, and telling a full disk as such."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syngrpo.sample import InputError

_UNFINISHED = ".unfinished-"
_MEGABYTE = 1_000_000
_NOTHING_FREE = 64_000


@contextmanager
def atomic_directory(target: Path, expected_bytes: int = 0) -> Iterator[Path]:
    """Yields an empty temporary directory beside ``target``; on leaving, its content reaches the
    disk and then takes the name ``target``. An existing ``target`` is replaced.

    On an error the temporary directory is removed and ``target`` stays as it was. A full disk
    becomes InputError, which says how much is free and how much was needed: the bytes written so
    far, or ``expected_bytes`` if that is more. A killed process leaves the temporary directory.
    """
    temporary = target.parent / f"{_UNFINISHED}{target.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        flush_tree(temporary)
        _replace(temporary, target)
    except BaseException as error:
        full, needed = is_disk_full(error, target.parent), max(tree_size(temporary), expected_bytes)
        shutil.rmtree(temporary, ignore_errors=True)
        if full:
            raise disk_full_error(target, needed) from error
        raise


def remove_unfinished(directory: Path) -> None:
    """Removes what killed processes left in ``directory``. Nobody may be writing there."""
    for path in directory.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path)


def remove_directory(directory: Path) -> None:
    """Deletes a directory so that a crash half-way leaves no partial one under its name."""
    condemned = directory.parent / f"{_UNFINISHED}removed-{directory.name}"
    directory.rename(condemned)
    shutil.rmtree(condemned)


def is_disk_full(error: BaseException, directory: Path) -> bool:
    """Whether ``error`` comes from a full disk or an exhausted quota.

    Libraries wrap the operating system's error (torch), keep only its text (safetensors) or lose
    it; for the last, the disk is looked at.
    """
    if not isinstance(error, Exception):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return shutil.disk_usage(directory).free < _NOTHING_FREE


def disk_full_error(path: Path, needed_bytes: int) -> InputError:
    """The one line for the user; call it after what was written in vain has been removed."""
    free = shutil.disk_usage(path.parent).free
    return InputError(
        f"the disk is full: writing {path} needs more than {needed_bytes / _MEGABYTE:.1f} MB, "
        f"{free / _MEGABYTE:.1f} MB are free; free some space or choose another --run-dir"
    )


def flush_tree(directory: Path) -> None:
    """Brings every file and folder below ``directory``, and itself, to the disk."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            flush(Path(folder) / name)
        flush(Path(folder))


def flush(path: Path) -> None:
    """fsync of a file's content or a directory's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tree_size(directory: Path) -> int:
    """Bytes of all files below ``directory``; 0 if it does not exist."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _replace(temporary: Path, target: Path) -> None:
    """A directory cannot be renamed onto one with content, so an old one steps aside first."""
    aside = target.parent / f"{_UNFINISHED}replaced-{target.name}"
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    temporary.rename(target)
    flush(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
