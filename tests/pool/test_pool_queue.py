"""The queue of jobs: leases, results, and what ends a job."""

import time
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from pool_samples import child, seed

from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Outcome, Rejected
from syngrpo.pool.mirror import mirror
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import DescriptionReward, Observation
from syngrpo.sample import InputError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    pool = Pool.open(tmp_path)
    pool.add_seeds(seed(n) for n in range(4))
    return pool


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(pool: Pool, clock: Clock) -> JobQueue:
    return JobQueue(pool, limit=100, lease_s=30, max_attempts=3, clock=clock)


def requests(count: int, parent: str = "seed-0", first: int = 0) -> list[JobRequest]:
    return [JobRequest(parent, "a blue wall", n, "noop") for n in range(first, first + count)]


def test_a_job_through_its_whole_life(pool: Pool, queue: JobQueue) -> None:
    asked = requests(3)
    assert queue.submit(asked).accepted == [request.id for request in asked]
    first, second = queue.lease("a", 2)
    (third,) = queue.lease("b", 2)
    assert queue.lease("c", 2) == []
    assert [job.id for job in (first, second, third)] == [request.id for request in asked]
    assert (first.parent_id, first.description, first.attempts) == ("seed-0", "a blue wall", 1)
    assert queue.complete(third.id, "b", Rejected("near_duplicate", {"distance": 0.0}))
    assert queue.complete(first.id, "a", child(first))
    assert queue.outcomes(after=0) == [
        Outcome(1, third.id, "rejected", None, "near_duplicate"),
        Outcome(2, first.id, "admitted", f"child-{first.id}", None),
    ]
    assert [outcome.cursor for outcome in queue.outcomes(after=1)] == [2]
    stats = pool.stats()
    assert stats.rejected == {"near_duplicate": 1}
    assert stats.jobs == {"queued": 0, "leased": 1, "admitted": 1, "rejected": 1, "dead": 0}
    with pool.database.read() as connection:
        scores = connection.execute("SELECT scores FROM jobs ORDER BY number").fetchall()
    assert scores == [('{"background_changed": 0.75}',), (None,), ('{"distance": 0.0}',)]


def test_the_same_request_is_one_job_whatever_became_of_it(pool: Pool, queue: JobQueue) -> None:
    asked = requests(1)
    assert queue.submit(asked * 2).duplicates == [asked[0].id]
    (job,) = queue.lease("a", 1)
    assert queue.submit(asked).duplicates == [asked[0].id]
    queue.complete(job.id, "a", child(job))
    assert queue.submit(asked).accepted == []
    other = JobRequest("seed-0", "a blue wall", 0, "another generator")
    assert queue.submit([other]).accepted == [other.id]
    assert pool.stats().jobs["queued"] == 1


def test_a_full_queue_drops(pool: Pool) -> None:
    queue = JobQueue(pool, limit=5, lease_s=30, max_attempts=3)
    result = queue.submit(requests(8))
    assert (len(result.accepted), result.dropped, result.refused) == (5, 3, 0)
    assert queue.submit(requests(8)).dropped == 3
    (job,) = queue.lease("a", 1)
    assert queue.submit(requests(8)).dropped == 3, "a leased job still has its place"
    queue.complete(job.id, "a", Rejected("size", {}))
    assert len(queue.submit(requests(8)).accepted) == 1


def test_jobs_are_dropped_while_too_many_samples_wait_for_a_visit(pool: Pool) -> None:
    policy = SamplingPolicy(max_unmeasured=1)
    queue = JobQueue(pool, limit=5, lease_s=30, max_attempts=3, sampling=policy)
    queue.submit(requests(1))
    (job,) = queue.lease("a", 1)
    queue.complete(job.id, "a", child(job))
    assert queue.submit(requests(1, "seed-1")).dropped == 1
    pool.observe([Observation(f"child-{job.id}", 1, 1, 0.5, 0.5)])
    assert len(queue.submit(requests(1, "seed-1")).accepted) == 1


def test_caps_on_children_and_depth_refuse(pool: Pool) -> None:
    policy = SamplingPolicy(max_children=2, max_depth=1)
    queue = JobQueue(pool, limit=50, lease_s=30, max_attempts=3, sampling=policy)
    result = queue.submit(requests(3))
    assert (len(result.accepted), result.refused, result.dropped) == (2, 1, 0)
    first, second = queue.lease("a", 2)
    queue.complete(first.id, "a", child(first))
    queue.complete(second.id, "a", Rejected("size", {}))
    result = queue.submit(requests(2, first=5))
    assert (len(result.accepted), result.refused) == (1, 1), "a rejected job gives its place back"
    grandchild = queue.submit(requests(1, parent=f"child-{first.id}"))
    assert (grandchild.accepted, grandchild.refused) == ([], 1)
    retire = SamplingPolicy(retire_after=1, retire_below=0.5)
    pool.observe([Observation(f"child-{first.id}", 1, 1, 0.0, 1.0)], retire)
    assert len(queue.submit(requests(2, first=7)).accepted) == 1, "so does a retired child"
    pool.quarantine("seed-1", "image does not decode")
    assert queue.submit(requests(1, parent="seed-1")).refused == 1
    with pytest.raises(InputError, match="no sample nobody"):
        queue.submit(requests(1, parent="nobody"))


def test_an_expired_lease_goes_to_another_worker(queue: JobQueue, clock: Clock, pool: Pool) -> None:
    queue.submit(requests(2))
    slow, kept = queue.lease("slow", 2)
    clock.now += 20
    assert queue.heartbeat("slow", [kept.id]) == [kept.id]
    clock.now += 15
    (again,) = queue.lease("fast", 5)
    assert (again.id, again.attempts) == (slow.id, 2)
    assert queue.heartbeat("slow", [slow.id, kept.id]) == [kept.id]
    assert not queue.complete(slow.id, "slow", child(slow))
    assert not queue.fail(slow.id, "slow", "too late")
    assert pool.stats().synthetic == 0
    assert queue.complete(again.id, "fast", child(again))
    assert not queue.complete(again.id, "fast", child(again)), "once only"
    assert pool.stats().synthetic == 1
    assert queue.reclaim_expired() == 0
    clock.now += 31
    assert queue.reclaim_expired() == 1


def test_a_lease_from_before_the_host_was_started_again_has_expired(
    queue: JobQueue, clock: Clock
) -> None:
    """The clock counts from the start of the host."""
    queue.submit(requests(1))
    clock.now = 1_000_000.0
    (job,) = queue.lease("before", 1)
    clock.now = 12.0
    assert [again.id for again in queue.lease("after", 1)] == [job.id]
    clock.now += 29
    assert queue.lease("another", 1) == []


def test_a_jump_of_the_wall_clock_neither_ends_nor_stretches_a_lease(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = JobQueue(pool, limit=100, lease_s=30, max_attempts=3)
    queue.submit(requests(1))
    queue.lease("worker", 1)
    with pool.database.read() as connection:
        (until,) = connection.execute("SELECT lease_until FROM jobs").fetchone()
    assert 0 < until - time.monotonic() <= 30
    for jump in (-86_400, 86_400):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1e9 + jump)
        assert queue.reclaim_expired() == 0


def test_a_job_that_kills_its_workers_ends_as_a_dead_letter(queue: JobQueue, clock: Clock) -> None:
    queue.submit(requests(1))
    for attempt in (1, 2, 3):
        (job,) = queue.lease(f"worker-{attempt}", 1)
        assert job.attempts == attempt
        clock.now += 31
    assert queue.lease("worker-4", 1) == []
    (dead,) = queue.outcomes(after=0)
    assert (dead.state, dead.sample_id) == ("dead", None)
    assert dead.reason == "worker worker-3 was lost while it held the job"


def test_a_dead_letter_keeps_its_traceback(queue: JobQueue, pool: Pool) -> None:
    queue.submit(requests(1))
    for _ in range(3):
        (job,) = queue.lease("a", 1)
        try:
            raise OSError("generator out of memory")
        except OSError:
            assert queue.fail(job.id, "a", traceback.format_exc())
    assert queue.lease("a", 1) == []
    (dead,) = queue.outcomes(after=0)
    assert (dead.state, dead.reason) == ("dead", "OSError: generator out of memory")
    with pool.database.read() as connection:
        (error,) = connection.execute("SELECT error FROM jobs").fetchone()
    assert error.startswith("Traceback") and "test_pool_queue.py" in error
    assert pool.stats().jobs["dead"] == 1


def die(queue: JobQueue, count: int) -> list[str]:
    """Let ``count`` new jobs fail until they are dead; their ids."""
    asked = requests(count)
    queue.submit(asked)
    for _ in range(3):
        for job in queue.lease("a", count):
            queue.fail(job.id, "a", "CUDA error")
    return [request.id for request in asked]


def test_a_dead_job_can_be_tried_again_and_ends_once_more(queue: JobQueue, pool: Pool) -> None:
    first, second = die(queue, 2)
    assert [outcome.state for outcome in queue.outcomes(after=0)] == ["dead", "dead"]
    assert queue.requeue_dead([first, "unknown"]) == [first]
    assert queue.requeue_dead([first]) == [], "it is queued already"
    with pool.database.read() as connection:
        query = "SELECT attempts, worker, error FROM jobs WHERE id = ?"
        assert connection.execute(query, (first,)).fetchone() == (0, None, None), "as if new"
        assert connection.execute(query, (second,)).fetchone() == (3, "a", "CUDA error")
    stats = pool.stats().jobs
    assert (stats["queued"], stats["dead"]) == (1, 1)
    assert [outcome.job_id for outcome in queue.outcomes(after=0)] == [second]
    assert [ended.request.id for ended in queue.ended(0, 9)] == [second]
    (job,) = queue.lease("b", 9)
    assert (job.id, job.attempts) == (first, 1)
    assert queue.requeue_dead([first]) == [], "a worker has it"
    assert queue.complete(first, "b", child(job))
    (again,) = queue.outcomes(after=2)
    assert (again.cursor, again.job_id, again.state) == (3, first, "admitted")
    assert queue.requeue_dead([first]) == [], "it has its image"


def test_the_jobs_of_a_data_server_are_requeued_there_and_mirrored_again(
    queue: JobQueue, pool: Pool, tmp_path: Path
) -> None:
    (name,) = die(queue, 1)
    with closing(Pool.open(tmp_path / "run")) as run:
        run.add_seeds(seed(n) for n in range(4))
        of_run = JobQueue(run, limit=100, lease_s=30, max_attempts=3)
        assert mirror(run, "server", queue.ended(0, 9)) == 1
        with pytest.raises(InputError, match="painted by a data server"):
            of_run.requeue_dead([name])
        assert run.stats().jobs["queued"] == 0
        assert queue.requeue_dead([name]) == [name]
        (job,) = queue.lease("b", 1)
        queue.complete(name, "b", child(job))
        assert mirror(run, "server", queue.ended(1, 9)) == 1
        assert [outcome.state for outcome in of_run.outcomes(after=1)] == ["admitted"]
        assert run.stats().jobs == pool.stats().jobs


def test_what_descriptions_have_earned_is_kept_with_their_jobs(queue: JobQueue, pool: Pool) -> None:
    first, second = requests(2)
    queue.submit([first, second])
    pool.record_rewards([])
    for _ in range(2):
        pool.record_rewards(
            [DescriptionReward(first.id, 7, -0.25), DescriptionReward("unknown", 7, 1.0)]
        )
    with pool.database.read() as connection:
        rows = connection.execute("SELECT id, reward, settled FROM jobs ORDER BY number").fetchall()
    assert rows == [(first.id, -0.25, 7), (second.id, None, None)]


def test_jobs_of_a_worker_known_to_be_gone_are_taken_back_at_once(queue: JobQueue) -> None:
    queue.submit(requests(3))
    assert len(queue.lease("gone", 2)) == 2
    assert queue.reclaim_worker("gone") == 2
    assert [job.attempts for job in queue.lease("next", 3)] == [2, 2, 1]


def test_a_sample_that_does_not_descend_from_its_parent_is_refused(
    queue: JobQueue, pool: Pool
) -> None:
    queue.submit(requests(1))
    (job,) = queue.lease("a", 1)
    with pytest.raises(ValueError, match="its job says seed-0 and 1"):
        queue.complete(job.id, "a", child(job, depth=2))
    assert pool.stats().synthetic == 0
    assert queue.complete(job.id, "a", child(job))
