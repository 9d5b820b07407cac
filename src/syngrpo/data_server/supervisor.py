"""The worker processes of one machine, kept alive."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType

from syngrpo.data_server.options import RemoteSettings, SynthesisSettings
from syngrpo.data_server.worker import work

log = logging.getLogger(__name__)

LOOK_S = 0.1
BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0
"""A worker that dies is restarted after the first, doubled each time up to the second."""
SETTLED_S = 60.0
"""A worker that lived this long is not one of a row of failures."""


@dataclass(eq=False)
class Slot:
    """A place for one worker, of whatever kind. ``started`` by the monotonic clock; ``failures`` in
    a row; no restart before ``not_before``."""

    started: float = 0.0
    failures: int = 0
    not_before: float = 0.0

    def back_off(self, now: float) -> float:
        """Its worker is found dead; the pause in seconds before the next."""
        self.failures = 1 if now - self.started > SETTLED_S else self.failures + 1
        delay = min(BACKOFF_S * 2 ** (self.failures - 1), BACKOFF_MAX_S)
        self.not_before = now + delay
        return delay


@dataclass(eq=False)
class _ProcessSlot(Slot):
    process: SpawnProcess | None = None
    problems: Connection | None = None


class DataServer:
    """Starts ``settings.workers`` worker processes and replaces those that die.

    The workers take jobs straight from the pool in ``settings.directory``, or from the service at
    ``settings.server``: they may be stopped and started at any time. They end by themselves when
    the process that started them dies.
    """

    def __init__(self, settings: SynthesisSettings | RemoteSettings) -> None:
        self._settings = settings
        self._slots = [_ProcessSlot() for _ in range(settings.workers)]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.restarts = 0
        self.problem: str | None = None
        """The last line a dying worker left, for the user."""

    def start(self) -> None:
        """Returns at once; the workers come up beside."""
        self._stopping.clear()
        for slot in self._slots:
            self._spawn(slot)
        self._thread = threading.Thread(target=self._supervise, name="data-server", daemon=True)
        self._thread.start()

    def stop_soon(self) -> None:
        """Tells every worker to end after its job at hand; ``stop`` waits for them."""
        self._stopping.set()
        for slot in self._slots:
            if slot.process is not None:
                slot.process.terminate()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Lets every worker finish its job; one that takes longer than ``timeout_s`` is killed."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.stop_soon()
        running = [slot.process for slot in self._slots if slot.process is not None]
        deadline = time.monotonic() + timeout_s
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._slots = [_ProcessSlot() for _ in self._slots]

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run."""
        processes = [slot.process for slot in self._slots]
        return [p.pid for p in processes if p is not None and p.is_alive() and p.pid is not None]

    def __enter__(self) -> DataServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, slot: _ProcessSlot) -> None:
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        slot.process = context.Process(
            target=work,
            args=(self._settings, os.getpid(), sender, self._slots.index(slot)),
            name="syngrpo-worker",
            daemon=True,
        )
        slot.process.start()
        sender.close()
        slot.problems, slot.started = receiver, time.monotonic()

    def _supervise(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for slot in self._slots:
                self._look_after(slot)

    def _look_after(self, slot: _ProcessSlot) -> None:
        now = time.monotonic()
        if slot.process is None:
            if now >= slot.not_before:
                self._spawn(slot)
            return
        if slot.process.is_alive():
            return
        line = _last_words(slot)
        if line is not None:
            self.problem = line
        delay = slot.back_off(now)
        log.warning(
            "worker %s ended with status %s%s; restarting it in %g s",
            slot.process.pid,
            slot.process.exitcode,
            f" ({line})" if line else "",
            delay,
        )
        slot.process, slot.problems = None, None
        self.restarts += 1


def _last_words(slot: _ProcessSlot) -> str | None:
    """What the dead worker sent before it ended, if anything."""
    assert slot.problems is not None
    try:
        return str(slot.problems.recv()) if slot.problems.poll() else None
    except EOFError:
        return None
    finally:
        slot.problems.close()
