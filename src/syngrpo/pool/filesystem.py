"""Checks the filesystem of a pool, and turns errors of the disk and of damaged files into messages
for the user."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import free_bytes, size_words

MOUNTS = Path("/proc/mounts")

_DAMAGED = ("no such table", "no such column", "unsupported file format")
"""How messages of SQLite begin that are about a damaged file although its code does not say so."""

NETWORK_TYPES = frozenset(
    {"9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs"}
    | {"lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs"}
    | {"wekafs", "fuse.beegfs", "fuse.ceph", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs"}
    | {"fuse.goofys", "fuse.juicefs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
    | {"fuse.ceph-fuse", "fuse.moosefs"}
)
"""Filesystems that several machines can mount at once. A pool cannot lie on one: SQLite's WAL mode
needs memory that all writers share, which exists only within one machine."""


def filesystem_type(directory: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of the filesystem that holds a directory, None if it is unknown.

    ``mounts`` is a file in the format of fstab(5). The result is the type at the deepest mount
    point above the directory; of several at the same point the last one, which hides the others.
    """
    if not mounts.exists():  # not Linux
        return None
    target = directory.resolve()
    deepest, kind = -1, None
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(_unescape(fields[1]))
        if target.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), fields[2]
    return kind


def refuse_network_filesystem(directory: Path, mounts: Path = MOUNTS) -> None:
    """Raise InputError when the directory lies on a filesystem shared between machines."""
    kind = filesystem_type(directory, mounts)
    if kind in NETWORK_TYPES:
        raise InputError(
            f"pool directory {directory} is on a network filesystem ({kind}), where concurrent "
            "writers would corrupt the database; choose a directory on a local disk"
        )


class PoolStorageError(InputError):
    """The pool cannot be written: the disk is full or write-protected, or the database locked."""


class PoolDamaged(InputError):  # noqa: N818
    """The database file of the pool is damaged or gone, while other files of the pool are there."""

    def __init__(self, directory: Path, what: str) -> None:
        super().__init__(f"pool {directory}: {what}; run: syngrpo pool repair {directory}")


@contextmanager
def explain_disk_errors(directory: Path) -> Iterator[None]:
    """Raise PoolStorageError if the block fails because the disk is full or write-protected, or the
    database stays locked, and PoolDamaged if it is damaged. The message says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PoolStorageError(_full(directory)) from error
    except sqlite3.OperationalError as error:
        if (code := getattr(error, "sqlite_errorcode", None)) is None:  # a text that is no UTF-8
            raise PoolDamaged(directory, f"pool.db is damaged ({error})") from error
        if str(error).startswith(_DAMAGED):
            raise PoolDamaged(directory, f"pool.db is damaged ({error})") from error
        message = _explanation(code & 0xFF, directory)
        if message is None:
            raise
        raise PoolStorageError(message) from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        raise PoolDamaged(directory, f"pool.db is damaged ({error})") from error
    except UnicodeDecodeError as error:  # in a message of SQLite about a name in the file
        raise PoolDamaged(directory, "pool.db is damaged (a name in it is no text)") from error


def _explanation(code: int, directory: Path) -> str | None:
    """Return a message that says what to do about a primary SQLite result code, None if the error
    is not one of the disk."""
    full = code == sqlite3.SQLITE_IOERR and free_bytes(directory) < 1 << 20
    if code == sqlite3.SQLITE_FULL or full:
        return _full(directory)
    if code == sqlite3.SQLITE_BUSY:
        return f"pool {directory} stayed locked by another process; stop what holds it open"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return f"pool {directory} cannot be written; check the permissions of its files"
    return None


def _full(directory: Path) -> str:
    free = size_words(free_bytes(directory))
    return (
        f"disk full while writing to pool {directory} ({free} are free); free some space there and "
        "run again"
    )


def _unescape(field: str) -> str:
    """Decode a mount point, in which blanks and backslashes are three octal digits."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
