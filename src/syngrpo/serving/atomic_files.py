"""Writes files and directories that are either complete or absent, even if the process is killed.

Everything is written under a temporary name in the same folder and then renamed. A full disk raises
DiskFull, which is an InputError.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from syngrpo.sample import InputError

_UNFINISHED = ".unfinished-"
_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
"""Eight digits for the name of this host. Process ids are those of one host."""
_START = secrets.token_hex(4)
"""Tells this process from an earlier one with the same id."""
_NUMBERS = count()
_NAME_END = 40
"""Temporary names hold so many characters of the end of the file's name, because names of files are
limited."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING_FREE = 64_000
"""A disk with fewer free bytes than this is full."""


class DiskFull(InputError):  # noqa: N818
    """The disk has no room for what was to be written, or a quota is exhausted."""


@contextmanager
def atomic_file(target: Path, *, durable: bool = False, expected_bytes: int = 0) -> Iterator[Path]:
    """Yield the path of a temporary file beside ``target``, which the caller writes. At the end of
    the block the file is renamed to ``target`` and replaces an existing file.

    ``expected_bytes``: the size of the file as far as known, for the message of a full disk.
    ``durable``: sync the content to the disk before the rename, and the folder after it, so that
    the file also survives a loss of power. On an error the temporary file is removed and ``target``
    stays as it was. Missing folders are created. Raises DiskFull when there is no room.
    """
    make_directory(target.parent)
    _remove_of_ended(target)
    temporary = _beside(target)
    try:
        yield temporary
        if durable:
            flush(temporary)
        temporary.replace(target)
        if durable:
            flush(target.parent)
    except BaseException as error:
        full = is_disk_full(error, target.parent)
        written = temporary.stat().st_size if temporary.exists() else 0
        temporary.unlink(missing_ok=True)
        if full:
            raise disk_full_error(target, max(written, expected_bytes), error) from error
        raise


def atomic_write(target: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a whole file as ``atomic_file`` does; text is encoded as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(target, durable=durable, expected_bytes=len(data)) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_directory(
    target: Path, expected_bytes: int = 0, *, durable: bool = True
) -> Iterator[Path]:
    """Yield an empty temporary directory beside ``target``, which the caller fills. At the end of
    the block it is renamed to ``target`` and replaces an existing directory.

    ``durable``: sync every file to the disk before the rename. On an error the temporary directory
    is removed and ``target`` stays as it was. A killed process leaves the temporary directory
    behind; the next writer of ``target`` on this host removes it (see also ``remove_unfinished``).
    Raises DiskFull when there is no room; its message says how many bytes are free and how many
    were needed: those written so far, or ``expected_bytes`` if that is more.
    """
    make_directory(target.parent)
    _remove_of_ended(target)
    temporary = _beside(target)
    try:
        with _naming(target):
            temporary.mkdir()
        yield temporary
        if durable:
            flush_tree(temporary)
        _replace(temporary, target)
    except BaseException as error:
        full, needed = is_disk_full(error, target.parent), max(tree_size(temporary), expected_bytes)
        shutil.rmtree(temporary, ignore_errors=True)
        if full:
            raise disk_full_error(target, needed, error) from error
        raise


def make_directory(directory: Path) -> None:
    """Create a directory and its parents if it does not exist. Raises InputError with the reason
    that the operating system gives."""
    with _naming(directory):
        directory.mkdir(parents=True, exist_ok=True)


@contextmanager
def _naming(directory: Path) -> Iterator[None]:
    """Raise InputError that names the directory if the block cannot create it, for another reason
    than a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise InputError(
            f"{directory} cannot be created ({error.strerror}); choose another path"
        ) from error


def remove_unfinished(directory: Path) -> None:
    """Remove the temporary files that killed processes left in ``directory``. No other process may
    write there at the same time."""
    for path in directory.glob(f"{_UNFINISHED}*"):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _remove_of_ended(target: Path) -> None:
    """Remove the temporary files for ``target`` of processes of this host that have ended."""
    start = f"{_UNFINISHED}{_HOST}-"
    for name in os.listdir(target.parent):
        if name.startswith(start):
            process, begun, _, written = name.removeprefix(start).split("-", maxsplit=3)
            if written == target.name[-_NAME_END:] and not _is_running(int(process), begun):
                with suppress(OSError):  # another writer removes it, too, or it is somebody else's
                    _remove(target.parent / name)


def _is_running(process: int, begun: str) -> bool:
    if process == os.getpid():
        return begun == _START
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to somebody else
        pass
    return True


def remove_directory(directory: Path) -> None:
    """Delete a directory. A crash in between leaves no partial directory under its name."""
    condemned = directory.parent / f"{_UNFINISHED}removed-{directory.name}"
    directory.rename(condemned)
    shutil.rmtree(condemned)


def is_disk_full(error: BaseException, directory: Path) -> bool:
    """Return whether ``error`` comes from a full disk or an exhausted quota.

    Some libraries wrap the operating system's error, others raise one of their own without its
    number. In the second case the disk counts as full if it has almost no free space.
    """
    if not isinstance(error, Exception):
        return False
    numbers = [one.errno for one in _causes(error) if isinstance(one, OSError) and one.errno]
    if numbers:
        return any(number in _FULL for number in numbers)
    return shutil.disk_usage(directory).free < _NOTHING_FREE


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error, the one that it was raised from, and so on."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:  # errors raised again can form a circle
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def disk_full_error(path: Path, needed_bytes: int, error: BaseException) -> DiskFull:
    """Return the error for the user. Call this after the partial output has been removed, because
    the message says how much space is free.

    ``needed_bytes`` are the bytes of the output as far as known. ``error`` is what writing raised.
    """
    numbers = [one.errno for one in _causes(error) if isinstance(one, OSError)]
    if errno.EDQUOT in numbers:
        return DiskFull(
            f"the quota of the disk is used up: writing {path} needs {size_words(needed_bytes)}; "
            "free some space or choose another directory"
        )
    left = os.statvfs(path.parent)
    if left.f_files and not left.f_favail:
        return DiskFull(
            f"the disk is full: {path} cannot be created, because the disk holds as many files as "
            "it can; delete some or choose another directory"
        )
    free = left.f_bavail * left.f_frsize
    return DiskFull(
        f"the disk is full: writing {path} needs more than {size_words(max(needed_bytes, free))}, "
        f"{size_words(free)} are free; free some space or choose another directory"
    )


def free_bytes(directory: Path) -> int:
    """Return the number of bytes that can still be written to the disk of a directory."""
    return shutil.disk_usage(directory).free


def size_words(size: int) -> str:
    """Return a number of bytes in words: "12 kB", "3.4 MB", "5.6 GB"."""
    for unit, bytes_of in (("GB", 1e9), ("MB", 1e6)):
        if size >= bytes_of:
            return f"{size / bytes_of:.1f} {unit}"
    return f"{size / 1000:.0f} kB"


def flush_tree(directory: Path) -> None:
    """Sync every file and folder below ``directory``, and itself, to the disk."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            flush(Path(folder) / name)
        flush(Path(folder))


def flush(path: Path) -> None:
    """Sync a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tree_size(directory: Path) -> int:
    """Return the bytes of all files below ``directory``, 0 if it does not exist."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _beside(target: Path) -> Path:
    """Return a name that no other writer of ``target`` uses. It ends like that of ``target``,
    because some libraries choose the format by the end of the name."""
    writer = f"{_HOST}-{os.getpid()}-{_START}-{next(_NUMBERS)}"
    return target.parent / f"{_UNFINISHED}{writer}-{target.name[-_NAME_END:]}"


def _replace(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target``. A directory cannot be renamed onto one that has content,
    so an existing ``target`` is renamed first."""
    aside = _beside(target)
    if target.exists():
        target.rename(aside)
    temporary.rename(target)
    flush(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
