"""The worker: it leases jobs, paints them and hands in the results, over and over.

``work`` is the main function of a worker process. Actors of a Ray cluster use ``Worker`` as well. A
worker may be killed at any moment: its leases expire, and other workers get its jobs.

Nothing here imports torch, so that a worker with a small generator starts in under a second.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar

from syngrpo.data_server.job_exchange import JobSource, Leased
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.synthesis_options import RemoteSettings, SynthesisSettings
from syngrpo.painting.judges.panel import load_judges
from syngrpo.painting.painter import Failed, HandedBack, Painter
from syngrpo.painting.painting_request import Result
from syngrpo.pool.jobs import error_line
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.serving import timeline
from syngrpo.serving.http_client import Stopped, Unavailable, call_until_available

WATCH_S = 0.25
"""Seconds between two checks of the current job, its lease and the parent process."""
IDLE_MIN_S, IDLE_MAX_S = 0.01, 0.2
"""The shortest and the longest pause before an empty queue is asked again, in seconds."""
TURN_S, TURN_JOBS = 0.2, 16
"""A worker leases as many jobs at once as it paints in ``TURN_S`` seconds, at most ``TURN_JOBS``.
So leasing costs little time, and the death of a worker delays only few jobs."""
FAILING_SEEDS = 3
"""A worker ends when jobs of this many seeds have failed in a row: after some errors of a device
every job fails at once, and the worker would give up the whole queue within seconds."""
REPORTED_CHARACTERS = 4000
"""Most characters of a message to the parent process."""
FIRST_ROW = 1000
"""The place of the first worker in a timeline, below the ranks of the trainer."""

T = TypeVar("T")


def work(
    settings: SynthesisSettings | RemoteSettings, place: int, parent: int, problems: Connection
) -> None:
    """Run a worker until SIGTERM. This is the main function of a worker process.

    ``place`` is the number of the worker, from 0; ``parent`` is the process id of the process that
    started it. After SIGTERM the worker ends after its current job; when its parent dies, it ends
    at once. An error that the user can fix is sent as one line through ``problems``. The exit
    status is 0 only after SIGTERM.
    """
    try:
        os.nice(settings.niceness)
        if settings.devices:  # before any library reads it
            device = settings.devices[place % len(settings.devices)]
            os.environ["CUDA_VISIBLE_DEVICES"] = device
        if settings.timeline is not None:
            file = settings.timeline / f"{os.getpid()}.jsonl"
            timeline.start(f"worker {place}", place=FIRST_ROW + place, file=file)
        worker = Worker(settings, lambda: os.getppid() == parent, partial(_report, problems))
        signal.signal(signal.SIGTERM, lambda number, frame: worker.stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent stops the workers
        worker.run()
    except InputError as error:
        _report(problems, str(error))
        sys.exit(2)


class Worker:
    """Paints jobs in a process that does nothing else.

    It ends the process when ``wanted`` returns False or a job takes longer than its timeout. In the
    second case, and after an error, it calls ``report`` with the reason first. ``run`` raises
    InputError when jobs of several seeds fail in a row, so that a new process takes its place.
    """

    def __init__(
        self,
        settings: SynthesisSettings | RemoteSettings,
        wanted: Callable[[], bool],
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._report = report
        self._name = _worker_name()
        self._stopping = threading.Event()
        self._source: JobSource | None = None
        self._failing: dict[str, str] = {}
        """The errors of the jobs that have failed since the last one that did not, by seed."""
        # Written by ``run``, read by the watching thread; each is replaced as a whole:
        self._held: list[Leased] = []
        self._current: tuple[Leased, float] | None = None

    def stop(self) -> None:
        """Let ``run`` return after the current job."""
        self._stopping.set()

    def run(self) -> None:
        """Lease and paint jobs until ``stop`` is called. Raises InputError when the generator, the
        pool or the disk cannot be used, and when jobs of several seeds fail in a row."""
        settings = self._settings
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        settings.load_tasks()
        painter = Painter(settings.make_generator(), load_judges(settings.judges))
        painter.load()
        source = self._source = self._open(settings, painter.fingerprint)
        idle, count = IDLE_MIN_S, 1
        while not self._stopping.is_set():
            leased = self._reaching(partial(source.lease, count)) or []
            self._held, started = leased, time.monotonic()
            done = self._paint(painter, source, leased)
            if done:  # an empty queue says nothing about how long a job takes
                each = (time.monotonic() - started) / done
                count = max(1, min(TURN_JOBS, 2 * count, int(TURN_S / max(each, 1e-6))))
            self._held = []
            idle = IDLE_MIN_S if leased else min(2 * idle, IDLE_MAX_S)
            if not leased:
                self._stopping.wait(idle)

    def _open(self, settings: SynthesisSettings | RemoteSettings, fingerprint: str) -> JobSource:
        if isinstance(settings, RemoteSettings):
            from syngrpo.data_server.remote_jobs import RemoteJobs

            return RemoteJobs(settings.server, self._name, fingerprint)
        pool = Pool.open(settings.directory)
        return PoolJobs(pool, open_queue(pool, settings), settings, self._name)

    def _paint(self, painter: Painter, source: JobSource, leased: list[Leased]) -> int:
        """Paint the leased jobs, hand in the results, and give back the jobs that were not tried.
        Return how many were tried."""
        results: list[tuple[Leased, Result]] = []
        tried = 0
        for one in leased:
            if self._stopping.is_set():
                break
            self._current = (one, time.monotonic())
            result = painter.paint(one)
            self._current = None
            tried += 1
            if isinstance(result, Failed):
                self._reaching(partial(source.fail, one, result.error))
                if one.job.generator == painter.fingerprint:
                    self._failing[one.source.id] = error_line(result.error)
                if len(self._failing) == FAILING_SEEDS:
                    break
            elif isinstance(result, HandedBack):
                tried -= 1
                break
            else:
                self._failing.clear()
                results.append((one, result))
        if results:
            with timeline.span("hand in pictures", jobs=len(results)):
                self._reaching(partial(source.complete, results))
        if leased[tried:]:
            self._reaching(partial(source.release, leased[tried:]))
        if len(self._failing) == FAILING_SEEDS:
            *_, last = self._failing.values()
            raise InputError(f"jobs of {FAILING_SEEDS} seeds failed in a row, the last one: {last}")
        return tried

    def _reaching(self, call: Callable[[], T]) -> T | None:
        """Repeat the call until the data server answers. Return None if ``stop`` is called
        first."""
        try:
            return call_until_available(
                call, "the data server", "trying again", stopping=self._stopping
            )
        except Stopped:
            return None

    def _watch(self) -> None:
        """Renew leases, give up a job that takes too long, and end this process after its parent.
        Runs in a thread of its own.

        The process ends at once, without cleaning up. This is safe, because leases expire.
        """
        try:
            self._watch_until_gone()
        except Exception as error:
            known = isinstance(error, InputError)
            self._report(str(error) if known else traceback.format_exc())
        os._exit(1)

    def _watch_until_gone(self) -> None:
        limit, renewed, pause = self._settings.job_timeout_s, 0.0, WATCH_S
        while self._wanted():
            time.sleep(pause)
            held, current, source = self._held, self._current, self._source
            if not held or source is None:
                renewed = time.monotonic()
                continue
            pause = min(WATCH_S, held[0].lease_s / 10)
            now = time.monotonic()
            try:
                if current is not None and now - current[1] > limit:
                    message = (
                        f"the generator did not return within {limit:g} s; raise "
                        "synthesis.job_timeout_s if it needs longer"
                    )
                    self._report(message)
                    source.fail(current[0], message)
                    source.release([one for one in held if one is not current[0]])
                    return
                if now - renewed > held[0].lease_s / 3:
                    source.heartbeat(held)
                    renewed = now
            except Unavailable:
                continue


def _worker_name() -> str:
    """Return a name that no other worker has: the host, the process, some random characters, and
    the devices that the process sees, if it sees only some."""
    parts = [socket.gethostname(), str(os.getpid()), uuid.uuid4().hex[:8]]
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return ":".join([*parts, devices] if devices else parts)


def _report(problems: Connection, text: str) -> None:
    """Send a text to the parent process, unless it has ended. Of a long one only the beginning and
    the end are sent: a pipe that is full would block this process until its parent reads."""
    half = REPORTED_CHARACTERS // 2
    if len(text) > REPORTED_CHARACTERS:
        text = f"{text[:half]} … {text[-half:]}"
    try:
        problems.send(text)
    except BrokenPipeError:
        return
