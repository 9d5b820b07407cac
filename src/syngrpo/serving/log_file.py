"""A log file that does not disturb its program when the disk is full."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path


class LogFile(logging.FileHandler):
    """Appends messages to a file. When that fails, one line on standard error says so, and messages
    are left out until the file can be written again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self._told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            reason = error.strerror or error
            print(f"{self.baseFilename} cannot be written ({reason})", file=sys.stderr)

    def close(self) -> None:
        with suppress(OSError):  # what is still to be written then is lost
            super().close()
