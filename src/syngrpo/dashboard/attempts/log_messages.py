"""Reads a part of a log file: what is added to its end, and what is before a place in it.

A log may be larger than the memory, so that only the part that is shown is read. A message may have
several lines, such as a traceback; it ends where the next one begins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from syngrpo.dashboard.reading.own_files import require_own

BLOCK = 256 * 1024
"""Bytes that are read at a time."""
MOST_BLOCKS = 32
"""Largest number of blocks that are searched at once for messages that fit a filter."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LONGEST = 4 * BLOCK
"""Bytes after which a text without the beginning of a message is one by itself."""
_BEGIN = re.compile(
    rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) (\S+): ",
    re.MULTILINE,
)


@dataclass(frozen=True)
class LogMessage:
    """A message with its ``time`` and ``level``, and the ``module`` that has written it, all "" for
    lines of another form. ``at`` is its place in the file, in bytes."""

    at: int
    time: str
    level: str
    module: str
    text: str


@dataclass(frozen=True)
class LogFilter:
    """Lets through messages of at least a ``level`` that hold a ``text``, in letters of either
    case, and that begin in a part of the file. ``start`` and ``end`` are its places, in bytes; None
    is the end of the file. Lines of another form count as INFO."""

    level: str = LEVELS[0]
    text: str = ""
    start: int = 0
    end: int | None = None

    def fits(self, message: LogMessage) -> bool:
        """Return whether a message is let through."""
        if message.at < self.start or (self.end is not None and message.at >= self.end):
            return False
        if LEVELS.index(message.level or "INFO") < LEVELS.index(self.level):
            return False
        wanted = self.text.lower()
        return wanted in message.text.lower() or wanted in message.module.lower()


class LogEnd:
    """The end of a log file, which is followed. ``place`` is where it was read to, in bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self.place = 0

    def follow(self) -> list[LogMessage] | None:
        """Return the messages that were added since the last call. None: nothing is known of what
        is before, because this is the first call, the file is another one, or so much was added.

        Raises OSError, which is FileNotFoundError without a file, and InputError for what
        ``require_own`` refuses.
        """
        require_own(self._path)
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            named, size = (status.st_dev, status.st_ino), status.st_size
            if named != self._file or size < self.place or size - self.place > _LONGEST:
                self._file, self.place = named, _end_of_lines(file, size)
                return None
            file.seek(self.place)
            added = file.read(size - self.place)
        whole = added[: added.rfind(b"\n") + 1]
        found = list(_messages(whole, self.place))
        self.place += len(whole)
        return found


def messages_before(
    path: Path, place: int, wanted: LogFilter, number: int
) -> tuple[list[LogMessage], int]:
    """Return the last ``number`` messages before a place in a file that fit, and the place before
    which nothing was looked at, 0 if nothing there can fit.

    At most ``MOST_BLOCKS`` are read, so that fewer may be returned although there are more. Raises
    OSError, and InputError for what ``require_own`` refuses.
    """
    require_own(path)
    found: list[LogMessage] = []
    with path.open("rb") as file:
        for _ in range(MOST_BLOCKS):
            if place <= wanted.start or len(found) >= number:
                break
            messages, place = _block_before(file, place)
            found[:0] = filter(wanted.fits, messages)
    if len(found) > number:
        return found[-number:], found[-number].at
    return found, place if place > wanted.start else 0


def _block_before(file: BinaryIO, place: int) -> tuple[list[LogMessage], int]:
    """Return at least one message before a place that is not 0, and the place of the first one."""
    data, start, begin = b"", place, None
    while start > 0 and begin is None and len(data) < _LONGEST:
        size = min(BLOCK, start)
        start -= size
        file.seek(start)
        data = file.read(size) + data
        begin = _BEGIN.search(data)
    first = begin.start() if begin is not None and start > 0 else 0
    return list(_messages(data[first:], start + first)), start + first


def _end_of_lines(file: BinaryIO, size: int) -> int:
    """Return the place after the last complete line, as far as the last bytes tell."""
    start = max(0, size - _LONGEST)
    file.seek(start)
    return start + file.read(size - start).rfind(b"\n") + 1


def _messages(data: bytes, at: int) -> Iterator[LogMessage]:
    """Yield the messages in a part of the file that begins at the place ``at``."""
    begins = list(_BEGIN.finditer(data))
    first = begins[0].start() if begins else len(data)
    if data[:first].strip():
        yield LogMessage(at, "", "", "", _text(data[:first]))
    ends = [*(match.start() for match in begins[1:]), len(data)]
    for match, end in zip(begins, ends, strict=False):
        time, level, module = (part.decode("utf-8", "replace") for part in match.groups())
        yield LogMessage(at + match.start(), time, level, module, _text(data[match.end() : end]))


def _text(data: bytes) -> str:
    return data.rstrip(b"\n").decode("utf-8", "replace")
