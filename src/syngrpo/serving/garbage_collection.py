"""Switches Python's garbage collector off where it would look through objects that all stay."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Switch the garbage collector off while millions of small objects are made that all stay in
    use. It would take a fifth of the time and free nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Import large libraries without garbage collection, and leave what they have made out of all
    later collections, of which the first would look through it three times."""
    with without_garbage_collection():
        yield
        gc.freeze()
        atexit.register(gc.unfreeze)  # else some libraries complain of leaks as the process ends
