"""Measures draws from a pool of a million samples, and the life of a job without a generator.

python -m benchmarks.pool --samples 1000000
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.results import write_section
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import Admitted, Job, JobRequest, bundled
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, pack
from syngrpo.sample import EncodedImage, LabelledObject, Sample

POLICY = SamplingPolicy(max_unmeasured=1_000_000)
IMAGE = EncodedImage.from_pixels(np.zeros((128, 128, 3), dtype=np.uint8))
BOXES = [(8.0 * n, 10.5, 8.0 * n + 30.25, 60.0) for n in range(4)]
TEMPLATE = Sample(
    id="seed-0",
    task="rec",
    image=IMAGE,
    question="the small red lamp left of the sofa",
    answer=BOXES[0],
    objects=tuple(LabelledObject("lamp", box) for box in BOXES),
    columns={"kind": "relation", "split": "train"},
)


def build(directory: Path, samples: int) -> None:
    """Build a pool: one half seeds, the other half their children in bundles of four. All samples
    are measured but for some 300 children."""
    pool = Pool.open(directory)
    with pool.adding([TEMPLATE]) as (image,):
        pass  # the rows come below
    seeds = samples // 2
    rows = zip(*_population(image, seeds, samples), strict=False)
    while batch := list(islice(rows, 50_000)):
        with pool.database.write() as connection:
            connection.executemany(
                "INSERT INTO samples (number, id, parent, image, body, created) "
                "VALUES (?, ?, ?, ?, ?, 0)",
                [sample for sample, _ in batch],
            )
            connection.executemany(
                "INSERT INTO standing (number, root, depth, state, visits, diversity_mean, "
                "diversity_last, bundle, changed) VALUES (?, ?, ?, 'active', ?, ?, ?, ?, 1)",
                [standing for _, standing in batch],
            )
    pool.close()


def _population(image: str, seeds: int, samples: int) -> tuple[Iterator, Iterator]:
    rng = np.random.default_rng(0)
    visits = rng.integers(1, 4, samples + 1)
    visits[-min(300, samples // 4) :] = 0
    diversity = rng.random(samples + 1).round(3)
    body = pack(TEMPLATE)

    def sample_rows() -> Iterator[tuple]:
        for n in range(1, samples + 1):
            parent = None if n <= seeds else (n - seeds - 1) // 4 * 4 + 1
            yield n, f"{'seed' if parent is None else 'child'}-{n}", parent, image, body

    def standing_rows() -> Iterator[tuple]:
        for n in range(1, samples + 1):
            d = float(diversity[n]) if visits[n] else None
            if n <= seeds:
                yield n, n, 0, int(visits[n]), d, d, None
            else:
                family = (n - seeds - 1) // 4 * 4 + 1  # its first sample is number seeds + family
                yield n, family, 1, int(visits[n]), d, d, seeds + family

    return sample_rows(), standing_rows()


def measure_draws(pool: Pool, count: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return seconds (draws, 2): wall clock, and processor time. Between draws visits are recorded
    and samples admitted, as in training."""
    queue = JobQueue(pool, limit=100_000, lease_s=60, max_attempts=1, sampling=POLICY)
    seconds = np.zeros((draws, 2))
    for step in range(draws):
        start = np.array([time.perf_counter(), time.thread_time()])
        drawn = pool.draw(count, POLICY, rng)
        seconds[step] = np.array([time.perf_counter(), time.thread_time()]) - start
        pool.observe(
            [Observation(d.sample.id, step, count, float(rng.random()), 0.5) for d in drawn],
            POLICY,
        )
        parent = next(d.sample.id for d in drawn if d.sample.parent is None)
        asked = [JobRequest(parent, f"wall {count} {n}", step, "noop") for n in range(4)]
        queue.submit(bundled(asked))
        for job in queue.lease("worker", 4):
            queue.complete(job.id, "worker", paint_nothing(job, IMAGE))
    return seconds


def paint_nothing(job: Job, image: EncodedImage) -> Admitted:
    """Return what a worker hands in whose generator does nothing."""
    sample = replace(
        TEMPLATE,
        id=job.id,
        image=image,
        parent=job.parent_id,
        description=job.description,
        depth=1,
    )
    return Admitted(sample, {"background_changed": 1.0})


def measure_jobs(pool: Pool, jobs: int, distinct_images: bool) -> tuple[float, np.ndarray]:
    """Return the number of jobs a second through their whole life in one process, and seconds
    (submits, 2)."""
    queue = JobQueue(pool, limit=100_000, lease_s=60, max_attempts=1, sampling=POLICY)
    kind = "distinct" if distinct_images else "same"
    submits: list[tuple[float, float]] = []
    cursor, ended = 0, 0
    for outcome in queue.outcomes(after=0)[-1:]:
        cursor = outcome.cursor
    begin = time.perf_counter()
    for first in range(0, jobs, 16):
        asked = [JobRequest(f"seed-{n + 1}", kind, n, "noop") for n in range(first, first + 16)]
        start, processor = time.perf_counter(), time.thread_time()
        queue.submit(asked)
        submits.append((time.perf_counter() - start, time.thread_time() - processor))
        while leased := queue.lease("worker", 8):
            for job in leased:
                image = replace(IMAGE, data=job.id.encode() * 300) if distinct_images else IMAGE
                queue.complete(job.id, "worker", paint_nothing(job, image))
        for outcome in queue.outcomes(after=cursor):
            cursor, ended = outcome.cursor, ended + 1
    assert ended == len(submits) * 16
    return ended / (time.perf_counter() - begin), np.array(submits)


def memory_mb(field: str) -> float:
    """Return VmRSS (memory now) or VmHWM (most memory so far) of this process."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) / 1000


def percentiles(seconds: np.ndarray) -> str:
    """Return the cells of a table: p50 and p99 of the wall clock, then p50 and p99 of the processor
    time."""
    values = np.percentile(seconds * 1e3, [50, 99], axis=0)  # (2, 2): percentile, clock
    return " | ".join(f"{value:.2f}" for value in values.T.reshape(-1))


def measure(directory: Path, samples: int, draws: int) -> str:
    before = memory_mb("VmRSS")
    pool, rng = Pool.open(directory), np.random.default_rng(0)
    start = time.perf_counter()
    pool.draw(8, POLICY, rng)
    first = time.perf_counter() - start
    rows = [
        f"| draw of {count} | {percentiles(measure_draws(pool, count, draws, rng))} |"
        for count in (8, 64)
    ]
    memory = memory_mb("VmHWM")
    same, submits = measure_jobs(pool, 8000, distinct_images=False)
    distinct, _ = measure_jobs(pool, 800, distinct_images=True)
    size = sum(file.stat().st_size for file in directory.glob("pool.db*")) / 1e9
    return "\n".join(
        [
            f"{samples:,} samples, half of them synthetic; database {size:.2f} GB; {draws} draws "
            "of each size, visits recorded and children admitted in between. Load of the machine "
            f"at the end: {os.getloadavg()[0]:.1f}.",
            "",
            "| ms | p50 | p99 | p50, processor time | p99, processor time |",
            "|---|---|---|---|---|",
            *rows,
            f"| submit of 16 jobs | {percentiles(submits)} |",
            "",
            f"- first draw of a process (reads the standing of every sample): {first:.1f} s",
            f"- memory: {memory:.0f} MB at most, {before:.0f} MB before the pool was opened",
            f"- whole life of a job (submit, lease, complete, outcome), one process: {same:,.0f} "
            f"jobs/s when the image is known, {distinct:,.0f} jobs/s when each job writes and "
            "syncs an image of its own",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # In a process of its own, so that its memory is not counted.
        builder = multiprocessing.get_context("spawn").Process(
            target=build, args=(directory, arguments.samples)
        )
        builder.start()
        builder.join()
        if builder.exitcode != 0:
            raise SystemExit("building the pool failed")
        body = measure(directory, arguments.samples, arguments.draws)
    print(body)
    write_section("Pool", body)


if __name__ == "__main__":
    main()
