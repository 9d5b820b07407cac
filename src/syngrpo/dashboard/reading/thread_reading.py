"""Runs what reads a run in a thread, and turns faults of its files into a line for the page."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.pages.shown_text import shown_line
from syngrpo.pool.database import FILE_NAME
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.serving.wording import first_line

logger = logging.getLogger(__name__)
T = TypeVar("T")

FAULTS = (InputError, OSError, sqlite3.Error, ValueError, KeyError, TypeError)
"""What reading a damaged pool raises: those of the pool, of SQLite, and of values of another form
than this version writes."""


async def read_in_thread(read: Callable[[], T]) -> tuple[T | None, str]:
    """Return what ``read`` returns, and ""; or None, and why it could not be read."""
    try:
        return await asyncio.to_thread(read), ""
    except FAULTS as error:
        logger.debug("a run cannot be read", exc_info=error)
        return None, shown_line(f"The pool cannot be read: {first_line(error)}", 1000)


async def pool_in_thread(run: FollowedRun, without: str) -> tuple[Pool | None, str]:
    """Return the pool of a run, and ""; or None, and a line for the page: ``without`` for a run
    that has no pool."""
    pool, why = await read_in_thread(run.pool)
    if pool is None and not why:
        damaged = await asyncio.to_thread(os.path.isfile, run.directory / FILE_NAME)
        why = "The pool of this run cannot be read." if damaged else without
    return pool, why
