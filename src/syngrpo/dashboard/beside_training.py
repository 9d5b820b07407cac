"""Runs a dashboard beside a training run, in a process of its own that ends with the trainer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from syngrpo.sample import InputError

PORT = 8430
"""The port of the dashboard, if it is free; otherwise any free one."""
_NICE = 10
"""How far the dashboard's process stands back behind the trainer."""


@contextmanager
def dashboard_beside(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Show the run in ``directory`` in the browser until the end of the block.

    ``say`` gets a line with the address as soon as the dashboard listens, from another thread, or
    the reason why there is none. Training does not wait for it, and goes on without it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(directory, theirs), daemon=True)
    process.start()
    theirs.close()
    threading.Thread(target=_tell, args=(ours, say), daemon=True).start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _tell(ours: Connection, say: Callable[[str], None]) -> None:
    try:
        say(ours.recv())
    except EOFError:
        say("the dashboard has ended; syngrpo dashboard RUN shows the run")


def _serve(directory: Path, theirs: Connection) -> None:
    """Serve in this process, which nothing else uses."""
    from syngrpo.dashboard.server import serve_dashboard

    os.nice(_NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        try:
            serve_dashboard([directory], "127.0.0.1", PORT, None, theirs.send)
        except InputError:  # the port is taken
            serve_dashboard([directory], "127.0.0.1", 0, None, theirs.send)
    except InputError as error:
        with suppress(OSError):
            theirs.send(f"no dashboard: {error}")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # the trainer was killed, and cannot stop it
