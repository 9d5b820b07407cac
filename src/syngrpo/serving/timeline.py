"""Records what the processes of a run do, for a timeline that Perfetto and chrome://tracing open.

``span`` and ``traced`` name a piece of work where it is done. They do nothing unless the process
records: ``start`` begins that, ``stop`` ends it. A process keeps its events in memory until
``take``, or appends each to a file of its own. ``chrome_trace`` puts the events of all processes
together. ``workflow.profiling`` drives this for ``syngrpo train --profile``.

Events have the format of Chrome traces: a complete event ("X") for each span, and a metadata event
("M") for the name of each process and thread. Times are microseconds of the system's clock, so that
processes of several hosts agree as far as their clocks do.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

Event = dict[str, Any]
"""One event of a Chrome trace."""

T = TypeVar("T")
P = ParamSpec("P")

RANK_PIDS = 10**8
"""Added to the process ids of each further rank, because processes of other hosts may have the same
ids. Linux gives no id above 4 million."""

_CLOCK_OFFSET_NS = time.time_ns() - time.perf_counter_ns()
_NOTHING = nullcontext()

_recording: _Recording | None = None
_step: ContextVar[int | None] = ContextVar("step", default=None)


class _Recording:
    """The events of this process. Any thread may add some: a deque needs no lock for that."""

    def __init__(self, process: str, rank: int, place: int, file: Path | None) -> None:
        self.events: deque[Event] = deque()
        self._file = file
        self._pid = os.getpid() + rank * RANK_PIDS
        self._known: set[tuple[int, str]] = set()
        self._note("process_name", 0, name=process)
        self._note("process_sort_index", 0, sort_index=place)

    def add(self, name: str, begin_ns: int, end_ns: int, about: dict[str, Any]) -> None:
        thread = threading.current_thread()
        tid = threading.get_native_id()
        if (tid, thread.name) not in self._known:
            self._known.add((tid, thread.name))
            is_main = thread is threading.main_thread()
            self._note("thread_name", tid, name="main" if is_main else thread.name)
        step = _step.get()
        if step is not None:
            about = {"step": step, **about}
        # Both ends are rounded down alike, so that a span within another one stays within it.
        begin, end = begin_ns // 1000, end_ns // 1000
        event = {"name": name, "ph": "X", "pid": self._pid, "tid": tid, "ts": begin}
        self._keep({**event, "dur": end - begin, "args": about})

    def _note(self, kind: str, tid: int, **about: str | int) -> None:
        self._keep({"name": kind, "ph": "M", "pid": self._pid, "tid": tid, "args": about})

    def _keep(self, event: Event) -> None:
        if self._file is None:
            self.events.append(event)
            return
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
        except OSError:  # the folder is gone, because recording has ended; or the disk is full
            stop()


def start(process: str, rank: int = 0, place: int = 0, file: Path | None = None) -> None:
    """Begin to record the spans of this process, which is called ``process`` in the timeline.

    ``rank`` is that of a process of a training run; processes are shown in the order of ``place``.
    With a ``file`` each event is appended to it as a line of JSON, until its folder is removed;
    without one ``take`` returns the events.
    """
    global _recording
    _recording = _Recording(process, rank, place, file)


def stop() -> None:
    """Stop recording, and forget the events that nobody has taken."""
    global _recording
    _recording = None


def take() -> list[Event]:
    """Return the events since the last call. None while this process does not record."""
    events = _recording.events if _recording is not None else deque[Event]()
    return [events.popleft() for _ in range(len(events))]


def span(name: str, **about: str | int) -> AbstractContextManager[None]:
    """Return a context manager that records its block under this name.

    ``about`` is shown with it, beside the training step that the block belongs to (``of_step``).
    Where nothing is recorded, nothing is done.
    """
    recording = _recording
    return _NOTHING if recording is None else _recorded(recording, name, about)


def traced(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that records each call of a function as a span of this name."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with span(name):
                return function(*args, **kwargs)

        return call

    return decorate


@contextmanager
def of_step(step: int) -> Iterator[None]:
    """Say that the spans of the block belong to this training step, counted from 1. A thread that
    is to know it must run in a copy of the context (``contextvars.copy_context``)."""
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)


def events_in(directory: Path) -> list[Event]:
    """Return the events in all files of a folder. A last line that a killed process left incomplete
    is left out."""
    lines = [
        line
        for path in sorted(directory.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
    ]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def chrome_trace(events: Sequence[Event]) -> str:
    """Return the JSON text of a Chrome trace of these events."""
    return json.dumps({"traceEvents": list(events), "displayTimeUnit": "ms"})


@contextmanager
def _recorded(recording: _Recording, name: str, about: dict[str, Any]) -> Iterator[None]:
    begin = _now_ns()
    try:
        yield
    finally:
        recording.add(name, begin, _now_ns(), about)


def _now_ns() -> int:
    return time.perf_counter_ns() + _CLOCK_OFFSET_NS
