"""What of the log a run shows on the console, and what of an error it writes to the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from syngrpo.sample import InputError

logger = logging.getLogger(__name__)


class _ConsoleLines(logging.Handler):
    """Prints every warning as one line, which only a terminal wraps."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        level = (f"{record.levelname.lower()}: ", "yellow")
        self._console.print(Text.assemble(level, self.format(record)), soft_wrap=True)


@contextmanager
def warnings_on(console: Console) -> Iterator[None]:
    """Print warnings of the log to the console, too, above the progress bar."""
    handler = _ConsoleLines(console)
    logger = logging.getLogger("syngrpo")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def cause_in_log() -> Iterator[None]:
    """Write the traceback behind an InputError to ``log.txt``: of a user's reward or task that has
    failed, for example. The terminal shows the one line of the InputError."""
    try:
        yield
    except InputError as error:
        if error.__cause__ is not None:
            logger.info("%s", error, exc_info=error.__cause__)
        raise
