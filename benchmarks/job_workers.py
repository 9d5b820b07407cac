"""The processes that ``benchmarks.data_server`` measures against: a server, and workers that only
lease jobs and hand in a picture for each."""

from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pool import TEMPLATE
from syngrpo.data_server.job_exchange import JobSource, Leased
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.remote_jobs import RemoteJobs
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator
from syngrpo.painting.painting_request import Painted
from syngrpo.pool.store import Pool
from syngrpo.sample import EncodedImage, Sample
from syngrpo.serving.http_client import ServerAddress

TURN = 16
"""Number of jobs that a worker leases at once."""
CHANGED = 150
"""A picture is this many times 32 bytes larger than the template."""
SLEEP_S = 0.1
spawn = multiprocessing.get_context("spawn")


class Sleeping(NoopGenerator):
    """A generator that sleeps instead of painting, as if another device painted."""

    fingerprint = "sleeping"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        time.sleep(SLEEP_S)
        return super().generate(requests)


def seeds(count: int) -> list[Sample]:
    return [replace(TEMPLATE, id=f"seed-{n + 1}") for n in range(count)]


def settings_for(folder: Path, generator: str = "noop", workers: int = 1) -> SynthesisSettings:
    thresholds = GateThresholds(min_distance=0.0)
    return SynthesisSettings(
        directory=folder,
        generator=generator,
        workers=workers,
        gate=thresholds,
        queue_limit=1_000_000,
        niceness=0,
    )


def hand_in(source: JobSource, stop: Event) -> None:
    """Hand in a picture of its own for each job, as a worker would whose generator, compositing and
    gate take no time."""
    picture = TEMPLATE.image
    while not stop.is_set():
        leased = source.lease(TURN)
        if not leased:
            time.sleep(0.005)
            continue
        source.complete([(one, _nothing(one, picture)) for one in leased])


def _nothing(leased: Leased, picture: EncodedImage) -> Painted:
    # Bytes after a PNG's end are no part of the picture, and make a file of its own of it.
    own = replace(picture, data=picture.read() + bytes.fromhex(leased.job.id) * CHANGED)
    noise = hashlib.shake_256(leased.job.id.encode()).digest(256)
    return Painted(own, "", noise, {"background_changed": 1.0})


def remote_worker(url: str, number: int, stop: Event) -> None:
    hand_in(RemoteJobs(ServerAddress(url), f"worker-{number}", NoopGenerator.fingerprint), stop)


def pool_worker(settings: SynthesisSettings, number: int, stop: Event) -> None:
    pool = Pool.open(settings.directory)
    hand_in(PoolJobs(pool, open_queue(pool, settings), settings, f"worker-{number}"), stop)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run ``syngrpo serve`` in a process of its own; yields its address."""
    command = [sys.executable, "-m", "syngrpo", "serve", "--pool", str(folder), "--port", "0"]
    process = subprocess.Popen([*command, "--workers", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running(target: Callable[..., None], what: Any, count: int) -> Iterator[None]:
    """Run this many workers."""
    stop = spawn.Event()
    workers = [spawn.Process(target=target, args=(what, n, stop)) for n in range(count)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()
