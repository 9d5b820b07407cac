"""Keeps a number of workers running: starts them, replaces those that die, and stops them.

``Supervisor`` does this in a thread, for any class of workers that has the methods of
``Supervised``. ``WorkerProcess`` here is a process of this host; ``data_server.ray_workers`` has
actors of a Ray cluster.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from syngrpo.serving.wording import one_line

log = logging.getLogger(__name__)

_LOOK_S = 0.1
"""Seconds between two looks at the workers."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
"""Seconds until a dead worker is replaced. The pause doubles with every further death in a row, up
to the longest one."""
_SETTLED_S = 60.0
"""After a worker that ran for this many seconds, the pause is the first one again."""


class Supervised(Protocol):
    """A worker that was started."""

    @property
    def name(self) -> str:
        """The name of the worker in messages."""
        ...

    def ending(self) -> str | None:
        """Return how the worker ended, for the log; None while it runs."""
        ...

    def problem(self) -> str | None:
        """Return the line that a dead worker left for the user, None if it left none."""
        ...

    def finish_soon(self) -> None:
        """Ask the worker to end after its current job. Does not wait for it."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait until the worker has ended, at most this many seconds."""
        ...

    def kill(self) -> None:
        """End the worker now, and free what it holds. It may have ended already."""
        ...


W = TypeVar("W", bound=Supervised)


@dataclass(eq=False)
class _Place(Generic[W]):
    """The place of one worker, or of its replacement. Times are those of the monotonic clock."""

    worker: W | None = None
    started: float = 0.0
    deaths: int = 0
    """Number of deaths in a row. A worker that ran for ``_SETTLED_S`` ends the row."""
    not_before: float = 0.0
    """The time at which the next worker may start."""


class Supervisor(Generic[W]):
    """Keeps ``count`` workers running until it is stopped.

    ``start_worker`` starts one worker. Its argument is the number of the worker's place, from 0.
    """

    def __init__(self, start_worker: Callable[[int], W], count: int) -> None:
        self._start_worker = start_worker
        self._places: list[_Place[W]] = [_Place() for _ in range(count)]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.restarts = 0
        """Number of dead workers that were found, and of replacements that could not be started."""
        self.problem: str | None = None
        """The last line that a dying worker left for the user, or why none could be started."""

    def start(self) -> None:
        """Start the workers in the background and return immediately."""
        self._stopping.clear()
        for number in range(len(self._places)):
            self._spawn(number)
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()

    def stop_soon(self) -> None:
        """Ask every worker to end after its current job. ``stop`` waits for them. This may be
        called from a signal handler."""
        self._stopping.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let every worker finish its job. Kill those that take more than ``timeout_s`` seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        deadline = time.monotonic() + timeout_s
        for worker in self.workers():
            worker.wait(max(0.0, deadline - time.monotonic()))
            worker.kill()
        self._places = [_Place() for _ in self._places]

    def workers(self) -> list[W]:
        """Return the workers that were started and not yet found dead."""
        return [place.worker for place in self._places if place.worker is not None]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, number: int) -> None:
        self._places[number].worker = self._start_worker(number)
        self._places[number].started = time.monotonic()

    def _supervise(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            for number in range(len(self._places)):
                self._look_after(number)
        for worker in self.workers():
            worker.finish_soon()

    def _look_after(self, number: int) -> None:
        """Note if the worker at this place has ended, and start the next one when it is time."""
        place, now = self._places[number], time.monotonic()
        if place.worker is None:
            if now >= place.not_before:
                self._replace(number)
            return
        ending = place.worker.ending()
        if ending is None:
            return
        self.problem = place.worker.problem() or self.problem
        if now - place.started > _SETTLED_S:
            place.deaths = 0
        pause = self._note_death(place)
        log.warning("%s ended %s; replacing it in %g s", place.worker.name, ending, pause)
        place.worker.kill()
        place.worker = None

    def _replace(self, number: int) -> None:
        """Start the next worker at this place. One that cannot be started, because memory or
        processes are short for example, counts as a death."""
        try:
            self._spawn(number)
        except Exception as error:
            self.problem = f"a worker could not be started ({one_line(error)})"
            pause = self._note_death(self._places[number])
            log.warning("%s; trying again in %g s", self.problem, pause)

    def _note_death(self, place: _Place[W]) -> float:
        """Count a death at this place. Return the seconds until the next start there."""
        place.deaths += 1
        self.restarts += 1
        doubled = min(place.deaths - 1, 30)  # a power of some thousand would be no float
        pause = min(_FIRST_PAUSE_S * 2**doubled, _LONGEST_PAUSE_S)
        place.not_before = time.monotonic() + pause
        return pause


class WorkerProcess:
    """A worker in a process of this host. SIGTERM asks it to end after its current job.

    The process calls ``main(*arguments, parent, problems)``. ``parent`` is the process id of this
    process, ``problems`` the sending end of a pipe for a line that says why the worker cannot go
    on.
    """

    def __init__(self, main: Callable[..., None], arguments: Sequence[Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._problems, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=main, args=(*arguments, os.getpid(), sender), name="syngrpo-worker", daemon=True
        )
        self._line: str | None = None
        try:
            self._process.start()
        except BaseException:
            self._problems.close()
            raise
        finally:
            sender.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def name(self) -> str:
        return f"worker {self.pid}"

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ending(self) -> str | None:
        if self.is_alive():
            return None
        line = self.problem()
        return f"with status {self._process.exitcode}" + (f" ({line})" if line else "")

    def problem(self) -> str | None:
        try:
            if self._line is None and self._problems.poll():
                self._line = str(self._problems.recv())
        except EOFError:
            pass
        return self._line

    def finish_soon(self) -> None:
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        self._process.join(seconds)

    def kill(self) -> None:
        if self.is_alive():
            self._process.kill()
        self._process.join()
        self._problems.close()
