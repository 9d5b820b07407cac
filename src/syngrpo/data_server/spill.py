"""A file of records that wait to be passed on to the pool or to a data server.

Appending copies bytes into a memory-mapped file. It makes no system call, so neither the disk nor
another thread can delay it. Records survive ``kill -9`` of the process, but not a loss of power.
The thread that passes records on acknowledges them. After a crash all records after the last
acknowledged one are passed on again, so their receiver must ignore a record that it has already.

The file holds the offset of the first record that is not acknowledged (8 bytes, little endian),
then, from byte ``HEAD`` on, JSON lines, then zeros.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from syngrpo.sample import InputError
from syngrpo.serving.run_files import content_of, require_plain
from syngrpo.serving.wording import count

HEAD = 64
CAPACITY = 1 << 20
"""Bytes of a new file. The size doubles when it is full."""
_HEAD_BYTES = 8
"""Bytes of the offset at the start of the file."""
COMPACT = CAPACITY // 4
"""If more bytes than this were acknowledged and no record waits, the next record is written at the
start of the file again."""


@dataclass(frozen=True)
class Pending:
    """Records that are not acknowledged, oldest first, and the offset after the last of them."""

    records: list[dict[str, Any]]
    offset: int


class Spill:
    """A spill file. Only one process can have it open.

    One thread may call ``append`` while another one calls ``pending`` and ``acknowledge``. A record
    that a crash cut off is dropped when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises InputError when another process has it open or when it is
        damaged, OSError when the disk is full."""
        require_plain(path)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not lock_descriptor(self._file, blocking=False):
                raise InputError(f"{path} is in use by another trainer; stop it first")
            require_whole(path)
            self._map = self._mapped(max(CAPACITY, os.fstat(self._file).st_size))
        except BaseException:
            os.close(self._file)
            raise
        (acknowledged,) = struct.unpack_from("<Q", self._map)
        self._acknowledged = max(acknowledged, HEAD)
        self._end = self._without_torn_record()

    def append(self, records: list[dict[str, Any]]) -> None:
        """Append records. Raises OSError when the file must grow and the disk is full; then no
        record is added."""
        data = b"".join(json.dumps(record).encode("ascii") + b"\n" for record in records)
        if self._acknowledged == self._end > COMPACT:
            self._map[HEAD : self._end] = bytes(self._end - HEAD)
            self._end = HEAD
            self.acknowledge(HEAD)
        end = self._end + len(data)
        if end >= len(self._map):  # one zero stays after the last record
            self._map = self._mapped(2 * end)
        self._map[self._end : end] = data
        self._end = end

    def pending(self, limit: int | None = None) -> Pending:
        """Return the records that are not acknowledged: all of them, or with ``limit`` the first
        ones with at most that many bytes together, but at least one."""
        start = self._acknowledged
        end = self._end
        if limit is not None and end - start > limit:
            cut = self._map.rfind(b"\n", start, start + limit)
            end = (cut if cut >= 0 else self._map.find(b"\n", start, end)) + 1
        data = self._map[start:end]
        if self._acknowledged != start:  # append began at the start again: no record waited
            return Pending([], start)
        return Pending([json.loads(line) for line in data.splitlines()], end)

    def acknowledge(self, offset: int) -> None:
        """Mark all records before ``offset`` as passed on. They are not returned again."""
        struct.pack_into("<Q", self._map, 0, offset)
        self._acknowledged = offset

    def backlog(self) -> int:
        """Return the number of bytes of the records that are not acknowledged."""
        # append begins the file again before it notes that all records are acknowledged.
        return max(0, self._end - self._acknowledged)

    def close(self) -> None:
        self._map.close()
        os.close(self._file)

    def _mapped(self, size: int) -> mmap.mmap:
        # Reserve the space first: the system kills a process that writes to a mapped page for which
        # the disk has no room.
        os.posix_fallocate(self._file, 0, size)
        return mmap.mmap(self._file, size)

    def _without_torn_record(self) -> int:
        """Overwrite everything after the last complete record with zeros. Return the end of that
        record."""
        zero = self._map.find(b"\0", self._acknowledged)
        written = zero if zero >= 0 else len(self._map)
        end = max(self._map.rfind(b"\n", self._acknowledged, written) + 1, self._acknowledged)
        self._map[end:] = bytes(len(self._map) - end)
        return end


def require_whole(path: Path) -> list[dict[str, Any]]:
    """Return the records that wait in a spill file. Raises InputError unless everything that waits
    is records; the last one may be cut off. Nothing is changed, and there need not be a file."""
    good, bad = read_waiting(content_of(path))
    if bad:
        raise InputError(
            f"{path} is damaged: {count(len(good), 'waiting record')} can be read, "
            f"{count(bad, 'byte')} cannot; to go on with what can, run: syngrpo pool repair "
            f"{path.parent}"
        )
    return good


def read_waiting(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the records that wait in the content of a spill file, and the number of bytes that are
    no records. A cut-off record at the end counts as neither. If the head is damaged, its bytes
    count as such, and all records as waiting ones.

    Between two records there are no zeros; so zeros before a record are damage, too.
    """
    (start,) = struct.unpack_from("<Q", data[:HEAD].ljust(HEAD, b"\0"))
    bad = _HEAD_BYTES if start > max(len(data), HEAD) else 0
    written = data[HEAD if bad else max(start, HEAD) :].rstrip(b"\0")
    good: list[dict[str, Any]] = []
    zeros = 0
    pieces = re.findall(rb"\0+|[^\0]+", written)
    for number, piece in enumerate(pieces, start=1):
        if piece.startswith(b"\0"):
            zeros += len(piece)
            continue
        for line in piece.splitlines(keepends=True):
            whole = line.endswith(b"\n")
            record = _parsed(line) if whole else None
            if record is not None:
                good.append(record)
                bad, zeros = bad + zeros, 0
            elif whole or number < len(pieces):
                bad += len(line)
    return good, bad


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
