"""A worker process: lease, paint, report, again. It holds no state that its death could lose.

Nothing here imports torch, so a worker with the embedded generator starts in well under a second.
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
from multiprocessing.connection import Connection
from types import FrameType

from syngrpo.pool.queue import Job, Queue
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.synthesis.gate import Gate
from syngrpo.synthesis.generator import make_generator
from syngrpo.synthesis.settings import SynthesisSettings
from syngrpo.synthesis.synthesize import Canvas, run_job

WATCH_S = 0.25
"""How often a worker looks whether its server is still there, in seconds."""
IDLE_MIN_S, IDLE_MAX_S = 0.01, 0.2
"""Pauses between two looks into an empty queue grow from one to the other."""


def work(settings: SynthesisSettings, server: int, problems: Connection) -> None:
    """The main of a worker process. ``server`` is the process id of its parent.

    SIGTERM ends it after the job at hand; the death of its parent ends it at once. What the user
    can fix is sent as one line through ``problems``; then, as for anything else that ends it too
    early, the exit status is not 0.
    """
    try:
        os.nice(settings.niceness)
        _Worker(settings, server, problems).run()
    except InputError as error:
        _report(problems, str(error))
        sys.exit(2)


class _Worker:
    def __init__(self, settings: SynthesisSettings, server: int, problems: Connection) -> None:
        self._settings = settings
        self._server = server
        self._problems = problems
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stopping = False
        self._queue: Queue | None = None
        self._job: tuple[Job, float] | None = None
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, who stops us

    def run(self) -> None:
        """Until SIGTERM. Raises InputError when the generator, the pool or the disk is at fault."""
        settings = self._settings
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        pool = Pool.open(settings.directory)
        queue = Queue(pool, settings.queue_limit, settings.lease_s, settings.max_attempts)
        self._queue = queue
        generator = make_generator(settings.generator)
        gate, canvas = Gate(settings.thresholds), Canvas(settings.feather, settings.max_side)
        idle = IDLE_MIN_S
        while not self._stopping:
            jobs = queue.lease(self._name, 1)
            for job in jobs:
                self._job = (job, time.monotonic())
                run_job(pool, queue, job, self._name, generator, gate, canvas)
                self._job = None
            idle = IDLE_MIN_S if jobs else min(2 * idle, IDLE_MAX_S)
            if not jobs:
                time.sleep(idle)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _watch(self) -> None:
        """Runs beside the work: renews the lease, gives up a job that hangs, follows the server.

        It ends the process without ceremony, which is safe at any moment: the lease expires.
        """
        try:
            self._watch_until_gone()
        except Exception as error:
            known = isinstance(error, InputError)
            _report(self._problems, str(error) if known else traceback.format_exc())
        os._exit(1)

    def _watch_until_gone(self) -> None:
        settings, renewed = self._settings, 0.0
        while os.getppid() == self._server:
            time.sleep(min(WATCH_S, settings.lease_s / 10))
            if self._job is None or self._queue is None:
                continue
            (job, started), now = self._job, time.monotonic()
            if now - started > settings.job_timeout_s:
                message = f"the generator did not return within {settings.job_timeout_s:g} s"
                self._queue.fail(job.id, self._name, message)
                _report(self._problems, message)
                return
            if now - max(renewed, started) > settings.lease_s / 3:
                self._queue.heartbeat(self._name, [job.id])
                renewed = now


def _report(problems: Connection, line: str) -> None:
    """To the server, unless it has gone."""
    try:
        problems.send(line)
    except BrokenPipeError:
        return
