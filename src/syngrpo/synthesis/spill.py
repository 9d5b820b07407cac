"""An append-only file of records that are on their way to the pool.

Appending is one write to the page cache, without fsync: microseconds, and it survives ``kill -9``
of the process, though not the loss of power. What was handed on is acknowledged by its offset;
after a crash, everything behind the last acknowledged offset is handed on again, so whoever
receives the records must accept one twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.sample import InputError

COMPACT_BYTES = 1 << 20
"""A fully acknowledged file larger than this is emptied."""

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Pending:
    """Records not yet acknowledged, oldest first, and the offset behind the last of them."""

    records: list[dict[str, Any]]
    offset: int


class Spill:
    """``append`` may be called from any thread, the other methods from one.

    The file and its acknowledged offset (beside it, ``.acknowledged``) belong to one process at a
    time; a line cut off by a crash or a full disk is removed when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError when another process has it, OSError when it cannot be opened."""
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise InputError(f"{path} is in use by another trainer; stop it first") from None
        self._mark = os.open(path.with_suffix(".acknowledged"), os.O_RDWR | os.O_CREAT, 0o644)
        self._size = self._cut_torn_line(os.fstat(self._file).st_size)
        mark = os.pread(self._mark, 32, 0).strip()
        self._acknowledged = int(mark) if mark else 0
        if self._acknowledged > self._size:  # the file was emptied, the mark not yet reset
            self._acknowledge(0)

    def append(self, records: list[dict[str, Any]]) -> None:
        """Raises OSError when the disk is full; then nothing of the records stays."""
        data = b"".join(json.dumps(record).encode("ascii") + b"\n" for record in records)
        with self._lock:
            written = 0
            try:
                while written < len(data):
                    written += os.write(self._file, data[written:])
            except OSError:
                if written:
                    os.ftruncate(self._file, self._size)
                raise
            self._size += len(data)

    def pending(self) -> Pending:
        """The oldest unacknowledged records, at most about CHUNK_BYTES of them."""
        with self._lock:
            size = self._size
        start, data = self._acknowledged, b""
        while not data.endswith(b"\n") and start + len(data) < size:
            data += self._read(start + len(data), size)
            complete = data.rfind(b"\n") + 1
            data = data[:complete] if complete else data
        return Pending([json.loads(line) for line in data.splitlines()], start + len(data))

    def backlog(self) -> int:
        """Bytes not yet acknowledged."""
        return self._size - self._acknowledged

    def acknowledge(self, offset: int) -> None:
        """Everything before ``offset`` has arrived and is never read again."""
        self._acknowledge(offset)
        with self._lock:
            if offset == self._size and offset > COMPACT_BYTES:
                os.ftruncate(self._file, 0)
                self._size = 0
                self._acknowledge(0)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._mark)

    def _acknowledge(self, offset: int) -> None:
        os.pwrite(self._mark, b"%020d\n" % offset, 0)
        self._acknowledged = offset

    def _read(self, start: int, size: int) -> bytes:
        return os.pread(self._file, min(CHUNK_BYTES, size - start), start)

    def _cut_torn_line(self, size: int) -> int:
        """Shortens the file to its last complete line; returns its size."""
        end, keep = size, 0
        while end > 0 and keep == 0:
            start = max(0, end - CHUNK_BYTES)
            keep = os.pread(self._file, end - start, start).rfind(b"\n") + 1
            keep = start + keep if keep else 0
            end = start
        if keep < size:
            os.ftruncate(self._file, keep)
        return keep
