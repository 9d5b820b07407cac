"""Several processes on one pool, and processes that are killed while they write."""

import itertools
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from fault_kills import fork
from pool_integrity import check_consistent
from pool_samples import child, seed

from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Rejected
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation

spawn = multiprocessing.get_context("spawn")
POLICY = SamplingPolicy(max_children=10_000, max_unmeasured=100_000)


def work(directory: Path, name: str, jobs: int) -> None:
    """Leases and ends jobs until all are done; says how many it ended."""
    pool = Pool.open(directory)
    queue = JobQueue(pool, limit=1000, lease_s=60, max_attempts=3, sampling=POLICY)
    ended = 0
    while sum(pool.stats().jobs[state] for state in ("admitted", "rejected", "dead")) < jobs:
        for job in queue.lease(name, 3):
            if job.seed % 7 == 0 and job.attempts == 1:
                assert queue.fail(job.id, name, "Traceback\nRuntimeError: once")
            elif job.seed % 5 == 0:
                ended += queue.complete(job.id, name, Rejected("size", {"width": 0.0}))
            else:
                ended += queue.complete(job.id, name, child(job))
    (directory / f"ended-{name}").write_text(str(ended))


def test_workers_and_trainer_share_the_queue_without_loss_or_double(tmp_path: Path) -> None:
    jobs, seeds = 240, 12
    pool = Pool.open(tmp_path)
    pool.add_seeds(seed(n) for n in range(seeds))
    queue = JobQueue(pool, limit=1000, lease_s=60, max_attempts=3, sampling=POLICY)
    names = ["a", "b", "c"]
    workers = [spawn.Process(target=work, args=(tmp_path, name, jobs)) for name in names]
    for worker in workers:
        worker.start()
    submitted, outcomes, rng = [], [], np.random.default_rng(0)
    for step in itertools.count():
        if len(submitted) < jobs:
            asked = [
                JobRequest(f"seed-{step % seeds}", "tiles", step * 8 + n, "x") for n in range(8)
            ]
            submitted += queue.submit(asked).accepted
        drawn = pool.draw(6, POLICY, rng)
        pool.observe([Observation(d.sample.id, step, step, 0.5, 0.5) for d in drawn], POLICY)
        outcomes += queue.outcomes(after=outcomes[-1].cursor if outcomes else 0)
        if len(outcomes) >= jobs or not any(worker.is_alive() for worker in workers):
            break
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    outcomes += queue.outcomes(after=outcomes[-1].cursor)
    assert sorted(outcome.job_id for outcome in outcomes) == sorted(submitted)
    assert len(submitted) == jobs
    assert sum(int((tmp_path / f"ended-{name}").read_text()) for name in names) == jobs
    assert [outcome.cursor for outcome in outcomes] == list(range(1, jobs + 1))
    check_consistent(tmp_path)


def churn(directory: Path, generation: int) -> None:
    """Writes everything a pool can write, for ever; notes each job id once it is accepted."""
    pool = Pool.open(directory)
    queue = JobQueue(pool, limit=10_000, lease_s=60, max_attempts=9, sampling=POLICY)
    rng = np.random.default_rng(generation)
    note = os.open(directory / "accepted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for step in itertools.count():
        first = generation * 100_000 + step * 3
        pool.add_seeds(seed(n) for n in range(first, first + 3))
        asked = [JobRequest(f"seed-{first}", f"wall {step}", n, "x") for n in range(4)]
        os.write(note, "".join(f"{job}\n" for job in queue.submit(asked).accepted).encode())
        for job in queue.lease(f"worker-{generation}", 3):
            if job.seed == 1:
                queue.fail(job.id, f"worker-{generation}", "no luck")
            elif job.seed == 2:
                queue.complete(job.id, f"worker-{generation}", Rejected("size", {}))
            else:
                queue.complete(job.id, f"worker-{generation}", child(job))
        drawn = pool.draw(2, POLICY, rng)
        version = generation * 100_000 + step
        pool.observe([Observation(d.sample.id, step, version, 0.5, 0.5) for d in drawn], POLICY)


def test_kill_9_at_any_moment_leaves_a_whole_pool_and_loses_no_job(tmp_path: Path) -> None:
    moments = random.Random(0)
    Pool.open(tmp_path).close()
    for generation in range(1, 6):
        before = Pool.open(tmp_path).stats().seed
        process = spawn.Process(target=churn, args=(tmp_path, generation))
        process.start()
        while Pool.open(tmp_path).stats().seed < before + 9:
            assert process.is_alive()
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.join()
        check_consistent(tmp_path)

    later = JobQueue(
        Pool.open(tmp_path), 10_000, 60, 9, sampling=POLICY, clock=lambda: time.monotonic() + 120
    )
    while jobs := later.lease("last", 50):
        for job in jobs:
            assert later.complete(job.id, "last", child(job))
    accepted = (tmp_path / "accepted").read_text().split()
    ended = [outcome.job_id for outcome in later.outcomes(after=0)]
    assert len(ended) == len(set(ended))
    assert set(accepted) <= set(ended)
    check_consistent(tmp_path)


def live(directory: Path) -> None:
    """One of everything a pool writes. Run again after a crash, it completes what is missing."""
    pool = Pool.open(directory)
    pool.add_seeds([seed(1), seed(2)])
    queue = JobQueue(pool, limit=10, lease_s=60, max_attempts=100, sampling=POLICY)
    queue.reclaim_worker("w")
    queue.submit([JobRequest(f"seed-{n}", "wall", n, "x") for n in (1, 2)])
    for job in queue.lease("w", 2):
        outcome = child(job) if job.seed == 1 else Rejected("size", {})
        assert queue.complete(job.id, "w", outcome)
    pool.observe([Observation(f"seed-{n}", 5, 5, 0.5, 0.5) for n in (1, 2)], POLICY)


def live_until(directory: Path, event: int) -> int:
    """Runs ``live`` in a fork that kills itself before its n-th statement or file operation.

    Returns the signal that ended it, or 0 when it came to the end.
    """
    process = fork(lambda: live(directory), event)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.slow
def test_killed_before_any_statement_or_file_operation_the_work_goes_on(tmp_path: Path) -> None:
    ended = None
    for event in itertools.count(1):
        directory = tmp_path / str(event)
        ended = live_until(directory, event)
        if ended != -signal.SIGKILL:
            break
        Pool.open(directory).close()
        check_consistent(directory)
        live(directory)
        check_consistent(directory)
        pool = Pool.open(directory)
        stats = pool.stats()
        assert (stats.seed, stats.synthetic, stats.rejected) == (2, 1, {"size": 1})
        assert stats.jobs == {"queued": 0, "leased": 0, "admitted": 1, "rejected": 1, "dead": 0}
        assert [len(pool.observations(f"seed-{n}")) for n in (1, 2)] == [1, 1]
        pool.close()
    assert ended == 0
    assert event > 80, "so many places to crash at"


def join_in(directory: Path, barrier: Barrier) -> None:
    barrier.wait()
    Pool.open(directory).add_seeds(seed(n) for n in range(20))


def test_processes_that_create_a_pool_at_the_same_time(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "run"
    barrier = spawn.Barrier(3)
    processes = [spawn.Process(target=join_in, args=(directory, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert Pool.open(directory).stats().seed == 20
    check_consistent(directory)
