"""Measures the whole life of a job: a trainer's client submits it, a worker leases it and hands in
a picture, and the picture comes back to the trainer's pool. Once beside the pool, once through
HTTP.

The workers hand in a picture of their own for each job at once, without a generator, so that the
queue, the service and the disk are measured alone. The rows ``painted`` are those of the real
worker processes, which also decode, composite, encode and judge. The times of submits are those of
calls with 16 jobs. All processes share this machine.

    python -m benchmarks.data_server
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.job_workers import (
    CHANGED,
    SLEEP_S,
    TURN,
    Sleeping,
    pool_worker,
    remote_worker,
    running,
    seeds,
    serving,
    settings_for,
)
from benchmarks.pool import TEMPLATE
from benchmarks.results import write_section
from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.data_connection import DataServerConnection
from syngrpo.data_server.pool_jobs import open_queue
from syngrpo.data_server.server_sink import ServerSink
from syngrpo.data_server.workers import LocalWorkers
from syngrpo.painting.generators.base import NoopGenerator
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.serving.http_client import ServerAddress
from syngrpo_rooms.dataset import rooms_samples

RUN = "bench"
CALL = 16
IN_FLIGHT = 512
FAR = 10_000_000
"""First seed of the jobs that must differ from all earlier ones."""
POLICY = SamplingPolicy(max_children=100_000, max_unmeasured=10_000_000)


@dataclass
class Life:
    """One measurement. ``submits``: seconds (n,) of the client's calls; ``posts``: seconds of the
    server's POST requests."""

    jobs_per_s: float
    submits: np.ndarray
    posts: np.ndarray


def live(client: AsyncClient, first: int, jobs: int, parents: list[str], warm: int) -> Life:
    """Submit jobs, at most ``IN_FLIGHT`` ahead, until all have come back. The time is counted from
    outcome number ``warm`` on, when all workers run."""
    submits: list[float] = []
    submitted = ended = 0
    began = time.perf_counter()
    while ended < jobs + warm:
        if submitted < min(jobs + warm, ended + IN_FLIGHT):
            asked = _requests(first + submitted, CALL, parents)
            start = time.perf_counter()
            client.submit(asked)
            submits.append(time.perf_counter() - start)
            submitted += CALL
        else:
            time.sleep(0.001)
        before, ended = ended, ended + len(client.outcomes())
        if before < warm <= ended:
            began, warm, jobs = time.perf_counter(), ended, jobs + warm - ended
    return Life(jobs / (time.perf_counter() - began), np.array(submits), np.array([]))


def _requests(first: int, count: int, parents: list[str]) -> list[JobRequest]:
    numbers = range(first, first + count)
    fingerprint = NoopGenerator.fingerprint
    return [JobRequest(parents[n % len(parents)], "wall", n, fingerprint) for n in numbers]


def embedded(folder: Path, jobs: int, workers: int) -> Life:
    samples = seeds(1000)
    with closing(Pool.open(folder)) as pool:
        pool.add_seeds(samples)
    settings = settings_for(folder)
    client = AsyncClient(settings, POLICY, batch=8)
    with closing(client), running(pool_worker, settings, workers):
        return live(client, 0, jobs, [one.id for one in samples], 20 * TURN)


def through_http(folder: Path, jobs: int, workers: int, queued: int) -> tuple[Life, Life]:
    """Return the life of jobs up to the trainer's pool, and up to the server's pool.

    ``posts`` of the first are requests to a server that has nothing else to do; ``posts`` of the
    second are sent while workers run. ``queued`` jobs wait in the queue before those that are
    measured. Then the first life is not measured, because workers take the oldest jobs first.
    """
    samples, parents = seeds(1000), [f"seed-{n + 1}" for n in range(1000)]
    own, settings = folder / "trainer", settings_for(folder / "trainer")
    with closing(Pool.open(own)) as pool:
        pool.add_seeds(samples)
    with ExitStack() as stack:
        url = stack.enter_context(serving(folder / "server"))
        sink = ServerSink(ServerAddress(url), RUN, settings, POLICY)
        client = AsyncClient(settings, POLICY, batch=8, sink=sink)
        stack.callback(client.close)
        client.submit(_requests(0, 1000, parents))  # every parent is uploaded once
        connection = DataServerConnection(ServerAddress(url))
        _until(lambda: _count(connection, "queued") == 1000)
        if queued:
            fill(folder / "server" / RUN, queued, parents)
        alone = [_post(connection, FAR // 2 + CALL * n, parents) for n in range(200)]
        stack.enter_context(running(remote_worker, url, workers))
        ready = 1000 if queued else 1000 + CALL * len(alone)
        _until(lambda: _count(connection, "admitted") >= ready)
        whole = Life(0.0, np.array([]), np.array(alone))
        if not queued:
            _until(lambda: client.stats().jobs["admitted"] >= ready)
            client.outcomes()
            whole = replace(live(client, FAR, jobs, parents, 20 * TURN), posts=whole.posts)
        return whole, _of_server(connection, 2 * FAR, jobs, parents)


def fill(directory: Path, count: int, parents: list[str]) -> None:
    """Queue jobs as another process on the server's host may do."""
    with closing(Pool.open(directory)) as pool:
        queue = JobQueue(pool, 10_000_000, 60, 3, POLICY)
        for first in range(1000, 1000 + count, 5000):
            queue.submit(_requests(first, min(5000, 1000 + count - first), parents))


def _of_server(connection: DataServerConnection, first: int, jobs: int, parents: list[str]) -> Life:
    """Measure jobs that end at the server, while a client posts new jobs as fast as they end."""
    posts: list[float] = []
    state = "admitted"
    begin, start = _count(connection, state), time.perf_counter()
    while (ended := _count(connection, state) - begin) < jobs:
        for _ in range(8):
            if len(posts) * CALL < min(ended + IN_FLIGHT, jobs):
                posts.append(_post(connection, first, parents))
                first += CALL
        time.sleep(0.02)
    return Life(ended / (time.perf_counter() - start), np.array([]), np.array(posts))


def _post(connection: DataServerConnection, first: int, parents: list[str]) -> float:
    data = {"jobs": [asdict(one) for one in _requests(first, CALL, parents)]}
    start = time.perf_counter()
    connection.send("POST", f"/v1/runs/{RUN}/jobs", data)
    return time.perf_counter() - start


def _count(connection: DataServerConnection, state: str) -> int:
    runs = connection.send("GET", "/v1/runs")["runs"]
    return int(runs[RUN]["jobs"][state]) if RUN in runs else 0


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def painted(folder: Path, generator: str, workers: int, jobs: int) -> float:
    """Return the jobs a second of real worker processes beside the pool, from the tenth outcome of
    each worker on."""
    samples = rooms_samples("train", 100)
    settings = settings_for(folder, generator, workers)
    fingerprint = NoopGenerator.fingerprint if generator == "noop" else Sleeping.fingerprint
    with closing(Pool.open(folder)) as pool, LocalWorkers(settings):
        pool.add_seeds(samples)
        queue = open_queue(pool, settings, POLICY)
        asked = [JobRequest(samples[n % 100].id, f"wall {n}", n, fingerprint) for n in range(jobs)]
        queue.submit(asked)
        begin = 10 * workers
        _until(lambda: len(queue.outcomes(0)) >= begin)
        begin, start = len(queue.outcomes(0)), time.perf_counter()
        while (ended := len(queue.outcomes(0))) < jobs:
            time.sleep(0.005)
        return (ended - begin) / (time.perf_counter() - start)


def _ms(seconds: np.ndarray) -> str:
    p50, p99 = np.percentile(1e3 * seconds, [50, 99])
    return f"{p50:.2f} | {p99:.2f}"


def measure(folder: Path, jobs: int, queued: int) -> str:
    beside = embedded(folder / "embedded", 2 * jobs, 2)
    print(f"embedded: {beside.jobs_per_s:.0f} jobs/s", flush=True)
    whole, server = through_http(folder / "http", jobs, 4, 0)
    print(f"HTTP: {whole.jobs_per_s:.0f}, {server.jobs_per_s:.0f} jobs/s", flush=True)
    alone, long = through_http(folder / "long", jobs, 4, queued)
    one, two = (
        painted(folder / f"sleeping-{n}", "benchmarks.job_workers:Sleeping", n, 60 * n)
        for n in (1, 2)
    )
    real = painted(folder / "real", "noop", 2, 300)
    table = [
        f"| embedded, 2 workers | {beside.jobs_per_s:,.0f} |",
        f"| HTTP, 4 workers, up to the trainer's pool | {whole.jobs_per_s:,.0f} |",
        f"| HTTP, 4 workers, up to the server's pool | {server.jobs_per_s:,.0f} |",
        f"| the same with {queued:,} jobs queued | {long.jobs_per_s:,.0f} |",
        f"| real worker processes (composite, encode, judge), 2 | {real:,.0f} |",
        f"| a generator that sleeps {SLEEP_S:g} s, 1 worker | {one:.2f} |",
        f"| a generator that sleeps {SLEEP_S:g} s, 2 workers | {two:.2f} |",
    ]
    calls = [
        f"| the client's call, embedded | {_ms(beside.submits)} |",
        f"| the client's call, HTTP | {_ms(whole.submits)} |",
        f"| the server's POST, workers idle | {_ms(whole.posts)} |",
        f"| the same with {queued:,} jobs queued | {_ms(alone.posts)} |",
        f"| the server's POST, 4 workers busy | {_ms(server.posts)} |",
    ]
    return "\n".join(
        [
            "| whole life of a job | jobs/s |",
            "|---|---|",
            *table,
            "",
            f"| submit of {CALL} jobs, ms | p50 | p99 |",
            "|---|---|---|",
            *calls,
            "",
            f"- with {queued:,} jobs queued / without: {long.jobs_per_s / server.jobs_per_s:.2f}",
            f"- two workers / one, with a generator that sleeps: {two / one:.2f}",
            f"- each job writes and syncs a picture of its own of {_size():.0f} kB, in HTTP mode "
            "once at the server and once at the trainer",
            f"- niceness {os.nice(0)}; load of the machine at the end: {os.getloadavg()[0]:.1f}",
        ]
    )


def _size() -> float:
    return (len(TEMPLATE.image.read()) + 32 * CHANGED) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where pools are made and deleted; on ext4 new files next to thousands that were "
        "deleted minutes ago take twice as long, so choose a folder of its own",
    )
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        body = measure(Path(folder), options.jobs, options.queued)
        print(body, flush=True)  # thousands of files take their time to go
    if not options.dry_run:
        write_section("Data server", body)


if __name__ == "__main__":
    main()
