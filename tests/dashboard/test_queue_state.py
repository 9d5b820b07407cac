"""What the tab Data server reads from a queue, compared with what was done to it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pool_samples import child, seed

from syngrpo.dashboard.overview.run_health import waiting_descriptions
from syngrpo.dashboard.queue.data_server_tab import last_minute_words, queue_advice, worker_parts
from syngrpo.dashboard.queue.queue_state import (
    PAINTED,
    QueueSettings,
    SeenWorker,
    queue_curves,
    queue_settings,
    queue_state,
)
from syngrpo.data_server.worker_process import _worker_name
from syngrpo.pages.run_data import RunData
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Rejected
from syngrpo.pool.mirror import mirror
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool

LEASE_S = 30.0
TRACEBACK = (
    'Traceback (most recent call last):\n  File "painter.py", line 1, in paint\n    raise\n'
    "RuntimeError: CUDA error {}"
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool.open(tmp_path)
    pool.add_seeds(seed(number) for number in range(9))
    yield pool
    pool.close()


def queue_of(pool: Pool, clock: Clock) -> JobQueue:
    policy = SamplingPolicy(max_children=999)
    return JobQueue(pool, 999, LEASE_S, max_attempts=2, sampling=policy, clock=clock)


def submit(queue: JobQueue, count: int, first: int = 0) -> list[str]:
    asked = [
        JobRequest(f"seed-{n % 9}", f"a wall {n}", n, "noop") for n in range(first, first + count)
    ]
    return queue.submit(asked).accepted


def test_leases_are_those_of_the_workers_and_as_old_as_their_renewal(
    pool: Pool, clock: Clock
) -> None:
    queue = queue_of(pool, clock)
    names = submit(queue, 4)
    queue.lease("early", 2)
    clock.now += 10
    queue.lease("late", 1)
    clock.now += 5
    queue.heartbeat("early", names[1:2])
    clock.now += 1
    state = queue_state(pool, LEASE_S, time.time(), clock.now)
    assert [(one.worker, one.job_id, one.renewed_s) for one in state.leases] == [
        ("early", names[0], 16.0),
        ("late", names[2], 6.0),
        ("early", names[1], 1.0),
    ]
    assert state.leases[0].description == "a wall 0" and state.leases[0].parent == "seed-0"
    assert state.stats.jobs["queued"] == 1 and not state.dead and not state.mirrored


@pytest.mark.parametrize(
    ("later", "known"), [(-0.5, False), (0, True), (45, True), (100_000, False), (-2000, False)]
)
def test_the_age_of_a_lease_of_another_clock_is_not_known(
    pool: Pool, clock: Clock, later: float, known: bool
) -> None:
    """As on another host, or after this one was started again."""
    queue = queue_of(pool, clock)
    submit(queue, 1)
    queue.lease("w", 1)
    (lease,) = queue_state(pool, LEASE_S, time.time(), clock.now + later).leases
    assert lease.renewed_s == (later if known else None)


def test_dead_jobs_are_told_by_their_error_with_the_newest_traceback(
    pool: Pool, clock: Clock
) -> None:
    queue = queue_of(pool, clock)
    names = submit(queue, 6)
    for attempt in range(2):
        for number, job in enumerate(queue.lease("w", 5)):
            error = TRACEBACK.format(number % 2) + "\n" * attempt
            queue.fail(job.id, "w", error if number < 4 else "")
    queue.fail(queue.lease("w", 1)[0].id, "w", "no memory")
    state = queue_state(pool, LEASE_S, time.time(), clock.now)
    assert [(one.line, len(one.job_ids)) for one in state.dead] == [
        ("RuntimeError: CUDA error 1", 2),
        ("RuntimeError: CUDA error 0", 2),
        ("no error was recorded", 1),
    ]
    assert state.dead[0].traceback == TRACEBACK.format(1) + "\n"
    assert {one for of in state.dead for one in of.job_ids} == set(names[:5])
    (waiting,) = state.retried
    assert (waiting.line, waiting.job_ids) == ("no memory", (names[5],))


def test_of_many_ended_jobs_the_last_dead_ones_are_read(
    pool: Pool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syngrpo.dashboard.queue.queue_state.LOOKED_AT", 3)
    queue = queue_of(pool, clock)
    submit(queue, 5)
    for number, job in enumerate(queue.lease("w", 5)):
        queue.fail(job.id, "w", "first")
        assert queue.lease("again", 1)
        queue.fail(job.id, "again", f"error {number}")
    state = queue_state(pool, LEASE_S, time.time(), clock.now)
    assert [one.line for one in state.dead] == ["error 4", "error 3", "error 2"]
    assert state.stats.jobs["dead"] == 5


def test_the_rate_is_that_of_the_last_pictures(pool: Pool, clock: Clock, tmp_path: Path) -> None:
    queue = queue_of(pool, clock)
    submit(queue, 4)
    assert queue_state(pool, LEASE_S, time.time(), 0).a_minute is None
    for job in queue.lease("w", 3):
        queue.complete(job.id, "w", child(job))
    (refused,) = queue.lease("w", 1)
    queue.complete(refused.id, "w", Rejected("unseen", {}))
    now = 1_000_000.0
    with sqlite3.connect(tmp_path / "pool.db") as database:
        rows = database.execute("SELECT number FROM samples WHERE job NOT NULL ORDER BY number")
        for (number,), ago in zip(rows.fetchall(), (90.0, 60.0, 30.0), strict=True):
            database.execute("UPDATE samples SET created = ? WHERE number = ?", (now - ago, number))
    state = queue_state(pool, LEASE_S, now, clock.now)
    assert (state.last_minute, state.a_minute) == (2, 2.0)
    assert last_minute_words(state) == "2 in the last minute"
    many = replace(state, last_minute=PAINTED)
    assert last_minute_words(many) == "at least 500 in the last minute"
    with sqlite3.connect(tmp_path / "pool.db") as database:  # the run was resumed a day later
        first = "(SELECT MIN(number) FROM samples WHERE job NOT NULL)"
        database.execute(f"UPDATE samples SET created = ? WHERE number = {first}", (now - 1e5,))
    assert queue_state(pool, LEASE_S, now, clock.now).a_minute == 2.0


def test_workers_are_known_by_the_jobs_that_they_hold_and_have_ended(
    pool: Pool, clock: Clock, tmp_path: Path
) -> None:
    queue = queue_of(pool, clock)
    submit(queue, 9)
    for job in queue.lease("first", 3):
        queue.complete(job.id, "first", child(job))
    (refused,) = queue.lease("second", 1)
    queue.complete(refused.id, "second", Rejected("unseen", {}))
    for _ in range(2):
        (failed,) = queue.lease("second", 1)
        queue.fail(failed.id, "second", "CUDA error")
    queue.lease("third", 2)
    now = 1_000_000.0
    with sqlite3.connect(tmp_path / "pool.db") as database:
        database.execute("UPDATE samples SET created = ? - number WHERE job NOT NULL", (now,))
        newest = database.execute("SELECT MIN(number) FROM samples WHERE job NOT NULL").fetchone()

    def seen() -> list[SeenWorker]:
        return list(queue_state(pool, LEASE_S, now, clock.now).workers)

    assert seen() == [
        SeenWorker("third", {}, None, 2),
        SeenWorker("first", {"admitted": 3}, float(newest[0]), 0),
        SeenWorker("second", {"rejected": 1, "dead": 1}, None, 0),
    ]
    assert queue.requeue_dead([failed.id]) == [failed.id]
    assert seen()[2] == SeenWorker("second", {"rejected": 1}, None, 0)
    assert queue.lease("third", 1)[0].id == failed.id
    assert seen()[0] == SeenWorker("third", {}, None, 3)


def test_a_run_on_a_data_server_has_only_ended_jobs(
    pool: Pool, clock: Clock, tmp_path: Path
) -> None:
    queue = queue_of(pool, clock)
    submit(queue, 1)
    (job,) = queue.lease("w", 1)
    queue.complete(job.id, "w", child(job))
    run = Pool.open(tmp_path / "run")
    run.add_seeds(seed(number) for number in range(9))
    mirror(run, "server", queue.ended(0, 9))
    assert queue_state(run, LEASE_S, time.time(), clock.now).mirrored
    run.close()


def test_curves_add_up_what_the_steps_say() -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "synthesis/submitted": 8, "synthesis/admitted": 0, "time/step_s": 2.0},
        {"step": 2, "synthesis/submitted": 4, "synthesis/dropped": 3, "synthesis/admitted": 5},
        {"step": 3, "synthesis/rejected": 2, "synthesis/dead": 1, "time/step_s": 6.0},
    ]
    curves = queue_curves(RunData(Path(), rows, [], {}))
    assert curves is not None
    assert (curves.steps, curves.open) == ((1, 2, 3), (8.0, 7.0, 4.0))
    assert (curves.dropped, curves.dead) == ((0.0, 3.0, 0.0), (0.0, 0.0, 1.0))
    assert curves.a_minute == (0.0, 0.0, 30.0)
    assert queue_curves(RunData(Path(), [{"step": 1}], [], {})) is None


def test_jobs_of_an_earlier_attempt_that_end_are_not_missing_later() -> None:
    counts = [(4, 8), (4, 8), (8, 4), (8, 4)]  # submitted and ended
    rows = [
        {"step": step, "synthesis/submitted": submitted, "synthesis/admitted": ended}
        for step, (submitted, ended) in enumerate(counts, start=1)
    ]
    data = RunData(Path(), rows, [], {})
    curves = queue_curves(data)
    assert curves is not None and list(curves.open) == [0, 0, 4, 8]
    assert waiting_descriptions(data).values == [0, 0, 4, 8]


def test_settings_are_those_of_the_configuration_or_of_the_server(tmp_path: Path) -> None:
    synthesis = {"generator": "rooms", "workers": 2, "devices": ["0", "1"], "lease_s": 12}
    config = {"synthesis": synthesis, "server": {"url": None}}
    found = queue_settings(RunData(tmp_path, [], [], config))
    assert (found.generator, found.workers, found.devices, found.lease_s) == (
        "rooms",
        2,
        ("0", "1"),
        12.0,
    )
    strange = {"synthesis": {"workers": "two", "lease_s": True, "devices": 1}, "server": [1]}
    assert queue_settings(RunData(tmp_path, [], [], strange)) == QueueSettings()
    kept = {"identity": "x", "options": {"lease_s": 9.0, "max_attempts": 5, "queue_limit": 7}}
    (tmp_path / "run.json").write_text(json.dumps(kept))
    served = queue_settings(RunData(tmp_path, [], [], {}))
    assert (served.lease_s, served.max_attempts, served.queue_limit) == (9.0, 5, 7)


def test_a_worker_names_its_host_its_process_and_its_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    host, process, device = worker_parts(_worker_name())
    assert host and process.isdigit() and device == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert worker_parts(_worker_name())[2] == "2,3"
    assert _worker_name() != _worker_name()
    for other in ("w", "a:b:c", "", "::::"):
        assert worker_parts(other) == (other, "", "")


def test_advice_is_given_when_the_queue_stands_still(pool: Pool, clock: Clock) -> None:
    queue = queue_of(pool, clock)
    settings = QueueSettings(queue_limit=5)
    now = time.time()

    def advice(running: bool = True) -> str:
        state = queue_state(pool, LEASE_S, now, clock.now)
        return " ".join(queue_advice(state, settings, running))

    assert advice() == ""
    submit(queue, 3)
    assert "3 jobs wait and nobody paints" in advice() and advice(running=False) == ""
    queue.lease("w", 1)
    assert advice() == ""
    clock.now += 31
    assert "not heard of for 31 s" in advice()
    submit(queue, 2, first=3)
    assert "queue is full (5 jobs)" in advice()
    for _ in range(2):
        for job in queue.lease("x", 5):
            queue.fail(job.id, "x", "CUDA error")
    assert "5 jobs were given up, 0 admitted" in advice(running=False)
