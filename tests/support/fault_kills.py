"""Processes that kill themselves at the n-th statement or file operation, and what they work on.

They are forked, so one costs milliseconds; SIGKILL leaves them no chance to tidy up.
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.truncate", "fcntl.flock"}


def fork(work: Callable[[], None], event: int) -> int:
    """Does the work in a process that is killed before the n-th statement or file operation; its
    process id. It ends with status 0 when the work is done earlier, with 1 when that raises."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray, where a test used it, leaves its own
        _kill_at(event)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _kill_at(event: int) -> None:
    events, connect = itertools.count(1), sqlite3.connect

    def count(*_: object) -> None:
        if next(events) == event:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = traced
    sys.addaudithook(lambda name, _: count() if name in FILE_EVENTS else None)


def image_files(directory: Path) -> set[str]:
    """Names of all files under a pool's ``images``."""
    return {path.name for path in (directory / "images").rglob("*") if path.is_file()}


def image_rows(directory: Path) -> set[str]:
    """Digests that the samples of a pool refer to."""
    with sqlite3.connect(directory / "pool.db") as db:
        return {digest for (digest,) in db.execute("SELECT DISTINCT image FROM samples")}
