import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.job_exchange import SubmitCounts, run_job
from syngrpo.data_server.pool_jobs import PoolJobs
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.data_server.workers import LocalWorkers
from syngrpo.painting.generators import make_generator
from syngrpo.painting.painter import Painter
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Rejected, bundled
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import DescriptionReward, Observation
from syngrpo.sample import InputError
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import random_description

SEEDS = rooms_samples("train", 24)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pool = Pool.open(tmp_path / "pool")
    pool.add_seeds(SEEDS)
    pool.close()
    return tmp_path / "pool"


def client(folder: Path, batch: int = 4, prefetch: int = 1, limit: int = 256) -> AsyncClient:
    settings = SynthesisSettings(folder, queue_limit=limit, generator="rooms")
    # Steps without a model take less time than painting: siblings may wait for many of them.
    policy = SamplingPolicy(sibling_deadline=1_000_000)
    return AsyncClient(settings, policy, batch=batch, prefetch=prefetch)


def requests(count: int, first: int = 0) -> list[JobRequest]:
    rng = np.random.default_rng(first)
    fingerprint = make_generator("rooms").fingerprint
    return [
        JobRequest(SEEDS[n % len(SEEDS)].id, random_description(rng), n, fingerprint)
        for n in range(first, first + count)
    ]


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture
def locked(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can hold the pool's write lock, as a slow writer would."""
    connection = sqlite3.connect(folder / "pool.db", isolation_level=None)
    yield connection
    connection.close()


def test_the_life_of_a_job_seen_from_the_trainer(folder: Path) -> None:
    with (
        LocalWorkers(SynthesisSettings(folder, generator="rooms")),
        closing(client(folder)) as synthesis,
    ):
        asked = requests(12)
        counts = synthesis.submit(asked)
        outcomes = []

        def ended() -> bool:
            nonlocal counts
            counts += synthesis.submit([])
            outcomes.extend(synthesis.outcomes())
            return len(outcomes) == len(asked)

        until(ended, "the outcomes")
        assert counts == SubmitCounts(12, 0, ())
        assert {outcome.job_id for outcome in outcomes} == {request.id for request in asked}
        admitted = {outcome.sample_id for outcome in outcomes if outcome.state == "admitted"}
        assert synthesis.outcomes() == []
        drawn = set()
        for step in range(8):  # fresh synthetic samples come first, once each
            batch = synthesis.draw(4)
            drawn |= {item.sample.id for item in batch if item.job_id is not None}
            measured = [Observation(item.sample.id, step, step, 0.5, 0.5) for item in batch]
            synthesis.observe(measured)
        assert len(drawn & admitted) >= 8


def test_rewards_reach_the_jobs_that_were_submitted_before_them(folder: Path) -> None:
    first, second = requests(2)
    with closing(client(folder)) as synthesis:
        synthesis.submit([first, second])
        synthesis.record_rewards([DescriptionReward(first.id, 3, 0.5)])
    with closing(sqlite3.connect(folder / "pool.db")) as pool:
        rows = pool.execute("SELECT id, reward, settled FROM jobs ORDER BY number").fetchall()
    assert rows == [(first.id, 0.5, 3), (second.id, None, None)]


def test_nothing_waits_while_the_database_is_locked(
    folder: Path, locked: sqlite3.Connection
) -> None:
    synthesis = client(folder, prefetch=2)
    first = synthesis.draw(4)
    until(lambda: len(synthesis._stock) == 2, "the stock")
    locked.execute("BEGIN IMMEDIATE")
    # Nothing but this thread can end the lock: a call that waited for it would never return.
    synthesis.observe([Observation(item.sample.id, 0, 0, 1.0, 0.5) for item in first])
    assert synthesis.submit(requests(5)) == SubmitCounts()
    second, third = synthesis.draw(4), synthesis.draw(4)
    assert synthesis.outcomes() == []
    assert synthesis.stats().seed == len(SEEDS)
    assert synthesis.get(SEEDS[0].id).question == SEEDS[0].question
    locked.execute("COMMIT")
    synthesis.close()
    ids = [item.sample.id for item in (*first, *second, *third)]
    assert len(set(ids)) == 12
    stats = Pool.open(folder).stats()
    assert stats.jobs["queued"] == 5
    assert len(Pool.open(folder).observations(first[0].sample.id)) == 1


def test_draws_go_on_while_the_workers_are_stopped(folder: Path) -> None:
    with (
        LocalWorkers(SynthesisSettings(folder, generator="rooms")) as server,
        closing(client(folder)) as synthesis,
    ):
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        for step in range(20):
            batch = synthesis.draw(4)
            assert len({item.sample.id for item in batch}) == 4
            synthesis.submit(requests(4, first=100 * step))
            synthesis.observe([Observation(d.sample.id, step, step, 0.5, 0.5) for d in batch])
        until(lambda: synthesis.stats().jobs["queued"] >= 79, "the jobs in the queue")
        os.kill(worker, signal.SIGCONT)
        until(lambda: len(synthesis.outcomes()) > 0, "the worker to go on")


def test_what_does_not_fit_is_dropped_and_named(folder: Path) -> None:
    synthesis = client(folder, limit=3)
    asked = requests(8)
    counts = synthesis.submit(asked)

    def known() -> bool:
        nonlocal counts
        counts += synthesis.submit([])
        return counts.submitted + counts.dropped == 8

    until(known, "the counts")
    assert counts == SubmitCounts(3, 5, tuple(request.id for request in asked[3:]))
    synthesis.close()


def test_a_batch_knows_what_the_one_before_measured(folder: Path) -> None:
    """The stock, drawn before, is drawn anew with the observations; nothing comes twice."""
    synthesis = client(folder, batch=12)
    first = [item.sample.id for item in synthesis.draw(12)]
    synthesis.observe([Observation(name, 0, 0, 1.0, 0.5) for name in first])
    until(lambda: len(Pool.open(folder).observations(first[0])) == 1, "the observations")
    until(lambda: not synthesis._stock_is_old and len(synthesis._stock) == 1, "a new stock")
    second = synthesis.draw(12)
    assert any(item.visits == 1 for item in second)  # half of a batch is drawn by diversity
    synthesis.close()
    quiet = client(folder, batch=12)
    first, second = ([item.sample.id for item in quiet.draw(12)] for _ in range(2))
    assert not set(first) & set(second)  # handed out and not yet measured: not again
    quiet.close()


def test_measured_samples_can_be_avoided_in_a_further_draw(folder: Path) -> None:
    with closing(client(folder, batch=12)) as synthesis:
        first = {item.sample.id for item in synthesis.draw(12)}
        synthesis.observe([Observation(name, 0, 0, 1.0, 0.5) for name in first])
        until(lambda: not synthesis._unobserved, "the observations")
        second = {item.sample.id for item in synthesis.draw(12, avoid=first)}
        assert not first & second


@pytest.mark.parametrize("prefetch", [1, 2])
def test_siblings_are_handed_out_in_one_batch_after_their_outcomes(
    folder: Path, prefetch: int
) -> None:
    """Also beside batches of other sizes, and while measurements let the stock be drawn anew."""
    fingerprint = make_generator("rooms").fingerprint
    rng = np.random.default_rng(1)
    bundles = [
        bundled([JobRequest(one.id, random_description(rng), n, fingerprint) for n in range(3)])
        for one in SEEDS[:8]
    ]
    name_of = {request.id: str(request.bundle) for jobs in bundles for request in jobs}
    seen: dict[str, list[int]] = {}
    told: set[str] = set()
    quiet = step = 0
    with (
        LocalWorkers(SynthesisSettings(folder, generator="rooms")),
        closing(client(folder, batch=6, prefetch=prefetch)) as synthesis,
    ):
        while quiet < 20:  # steps after the last outcome
            if step % 3 == 0 and step // 3 < len(bundles):
                synthesis.submit(bundles[step // 3])
            batch = synthesis.draw(6) + (synthesis.draw(2) if step % 2 else [])
            told |= {outcome.job_id for outcome in synthesis.outcomes()}
            for item in batch:
                if item.job_id is not None and item.visits == 0:
                    name = name_of[item.job_id]
                    seen.setdefault(name, []).append(step)
                    assert {job for job, bundle in name_of.items() if bundle == name} <= told
            synthesis.observe([Observation(d.sample.id, step, step, 0.5, 0.5) for d in batch])
            step += 1
            quiet += len(told) == len(name_of)
    assert len(seen) >= 6 and step < 5000
    assert all(len(set(steps)) == 1 for steps in seen.values()), seen


def test_outcomes_come_again_after_a_resume(folder: Path) -> None:
    pool = Pool.open(folder)
    queue = JobQueue(pool, limit=100, lease_s=60, max_attempts=3)
    queue.submit(requests(3))
    source = PoolJobs(pool, queue, SynthesisSettings(folder, generator="rooms"), "worker")
    first, second, third = source.lease(3)
    source.complete([(first, Rejected("size", {}))])
    synthesis = client(folder)
    seen = []
    until(lambda: bool(seen.extend(synthesis.outcomes()) or seen), "an outcome")
    state = synthesis.state_dict()
    source.complete([(second, Rejected("size", {}))])
    run_job(Painter(make_generator("rooms")), source, third)
    until(lambda: len(seen.extend(synthesis.outcomes()) or seen) == 3, "all outcomes")
    synthesis.close()
    resumed = client(folder)
    resumed.load_state_dict(state)
    again = []
    until(lambda: len(again.extend(resumed.outcomes()) or again) == 2, "the later outcomes")
    assert again == seen[1:]
    resumed.close()


CRASH = """
import json, os, signal, sys
from pathlib import Path
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.stored_samples import DescriptionReward, Observation
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.synthesis_options import SynthesisSettings

settings = SynthesisSettings(Path(sys.argv[1]), generator="rooms")
client = AsyncClient(settings, SamplingPolicy(), batch=4)
for job in json.loads(sys.argv[2]):
    client.submit([JobRequest(*job)])
client.observe([Observation(name, 3, 3, 0.5, 0.25) for name in json.loads(sys.argv[3])])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_submitted_survives_kill_9(folder: Path, locked: sqlite3.Connection) -> None:
    asked = requests(6)
    jobs = [[r.parent_id, r.description, r.seed, r.generator] for r in asked]
    names = [sample.id for sample in SEEDS[:3]]
    locked.execute("BEGIN IMMEDIATE")  # nothing can reach the pool before the crash
    arguments = [str(folder), json.dumps(jobs), json.dumps(names)]
    process = subprocess.run([sys.executable, "-c", CRASH, *arguments], check=False)
    locked.execute("COMMIT")
    assert process.returncode == -signal.SIGKILL
    assert Pool.open(folder).stats().jobs["queued"] == 0
    for _ in range(2):  # handed on once, however often the client starts
        synthesis = client(folder)
        synthesis.outcomes()
        synthesis.close()
        pool = Pool.open(folder)
        assert pool.stats().jobs["queued"] == 6
        assert [pool.observations(name) for name in names] == [
            [Observation(name, 3, 3, 0.5, 0.25)] for name in names
        ]
    queue = JobQueue(pool, limit=100, lease_s=60, max_attempts=3)
    assert [job.id for job in queue.lease("worker", 10)] == [request.id for request in asked]


def test_a_full_disk_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    synthesis = client(folder)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="disk full while writing to pool") as raised:
        synthesis.observe([Observation("x" * 2_000_000, 0, 0, 0.5, 0.5)])
    assert "\n" not in str(raised.value)
    synthesis.close()
    with pytest.raises(InputError, match="disk full while writing to pool"):
        client(folder)


def test_an_error_in_the_background_reaches_the_trainer(folder: Path) -> None:
    synthesis = client(folder)
    synthesis.submit([JobRequest("nobody", "a wall", 0, "rooms")])
    with pytest.raises(InputError, match="has no sample nobody"):
        until(lambda: synthesis.stats() is None, "the error")
    with pytest.raises(InputError, match="has no sample nobody"):
        synthesis.draw(4)
    synthesis.close()


def test_one_trainer_at_a_time(folder: Path) -> None:
    synthesis = client(folder)
    with pytest.raises(InputError, match="in use by another trainer"):
        client(folder)
    synthesis.close()
    client(folder).close()


def test_admitted_children_reach_a_batch(folder: Path) -> None:
    pool = Pool.open(folder)
    queue = JobQueue(pool, limit=100, lease_s=60, max_attempts=3)
    (request,) = requests(1)
    queue.submit([request])
    source = PoolJobs(pool, queue, SynthesisSettings(folder, generator="rooms"), "worker")
    (leased,) = source.lease(1)
    assert run_job(Painter(make_generator("rooms")), source, leased)
    with closing(client(folder)) as synthesis:
        by_job = {item.job_id: item for item in synthesis.draw(4)}
    assert by_job[request.id].sample.parent == request.parent_id
    pixels = by_job[request.id].sample.image.decode()
    assert (pixels == pool.children(request.parent_id)[0].sample.image.decode()).all()
