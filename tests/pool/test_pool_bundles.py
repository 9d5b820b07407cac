"""Siblings of a bundle are drawn in one batch, when all have ended or waited long enough."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_samples import child, seed

from syngrpo.pool.draw_index import Change, DrawIndex
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Rejected, bundled
from syngrpo.pool.mirror import mirror, mirrored_up_to
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation

POLICY = SamplingPolicy(sibling_deadline=3)


def row(
    number: int, root: int | None = None, visits: int = 0, bundle: int = 0, dataset: int = 0
) -> Change:
    """A seed, or with a root a child of it."""
    depth = 0 if root is None else 1
    return (number, dataset, root or number, depth, 1, visits, 0.5, 0.5, bundle, number)


def index_of(rows: list[Change], policy: SamplingPolicy = POLICY) -> DrawIndex:
    index = DrawIndex(policy)
    index.update(rows)
    return index


def draw(index: DrawIndex, count: int, rng_seed: int = 0, avoid=frozenset()) -> set[int]:
    return set(index.draw(count, np.random.default_rng(rng_seed), avoid))


SEEDS = [row(number) for number in range(1, 21)]


def siblings(*numbers: int, root: int, dataset: int = 0) -> list[Change]:
    return [row(n, root, bundle=numbers[0], dataset=dataset) for n in numbers]


# Which bundles a draw holds


def test_a_bundle_is_drawn_whole_the_oldest_first_and_one_of_a_family() -> None:
    rows = [*SEEDS, *siblings(21, 23, 24, root=1), *siblings(22, 25, root=1)]
    rows += [row(26, 2), *siblings(27, 28, root=3)]
    index = index_of(rows)
    for rng_seed in range(10):
        drawn = draw(index, 12, rng_seed)
        assert {n for n in drawn if n > 20} == {21, 23, 24, 26, 27, 28}
        assert not drawn & {1, 2, 3}, "of the same families"


def test_a_bundle_that_does_not_fit_any_more_comes_with_the_next_batch() -> None:
    index = index_of([*SEEDS, *siblings(21, 22, 23, root=1), *siblings(24, 25, root=2), row(26, 3)])
    first = {n for n in draw(index, 8) if n > 20}
    assert first == {21, 22, 23, 26}
    index.update([row(n, n - 20 if n > 25 else 1, 1, 21 * (n < 24)) for n in sorted(first)])
    assert {24, 25} < {n for n in draw(index, 8) if n > 20}


def test_measured_siblings_are_drawn_alone_and_those_in_use_are_not_drawn() -> None:
    rows = [*SEEDS, *siblings(21, 22, root=1), row(23, 2, 1, bundle=23), row(24, 3, 1, bundle=23)]
    index = index_of(rows)
    alone = [draw(index, 2, rng_seed, avoid={21}) & {23, 24} for rng_seed in range(20)]
    assert {len(some) for some in alone} == {1}
    assert set.union(*alone) == {23, 24}


def test_nothing_is_drawn_instead_of_a_bundle_when_only_seeds_are_wanted() -> None:
    index = index_of([*SEEDS, *siblings(21, 22, root=1)], SamplingPolicy(synthetic_ratio=0.0))
    assert all(max(draw(index, 8, rng_seed)) <= 20 for rng_seed in range(10))


def test_each_dataset_has_its_share_of_the_bundles_and_of_the_batch() -> None:
    rows, weights = [], {"": 2.0, "b": 1.0, "c": 1.0}
    for dataset in range(3):
        first = 1000 * dataset + 1
        rows += [row(n, dataset=dataset) for n in range(first, first + 100)]
        for bundle in range(first + 100, first + 140, 4):
            members = range(bundle, bundle + 4)
            rows += siblings(*members, root=first + bundle % 100, dataset=dataset)
    index = index_of(rows)
    index.set_names({0: "", 1: "b", 2: "c"})
    bundles: Counter[int] = Counter()
    places: Counter[int] = Counter()
    for rng_seed in range(400):
        drawn = index.draw(8, np.random.default_rng(rng_seed), frozenset(), weights)
        assert len(set(drawn)) == 8
        synthetic = [n for n in drawn if n % 1000 > 100]
        assert len(synthetic) == 4 and len({n // 1000 for n in synthetic}) == 1
        bundles[synthetic[0] // 1000] += 1
        places.update(n // 1000 for n in drawn)
    for dataset, share in enumerate((0.5, 0.25, 0.25)):
        assert bundles[dataset] / 400 == pytest.approx(share, abs=0.07)
        assert places[dataset] / 3200 == pytest.approx(share, abs=0.04)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_an_index_that_followed_every_change_draws_like_a_fresh_one(rng_seed: int) -> None:
    rng = np.random.default_rng(rng_seed)
    rows = [row(n, dataset=n % 2) for n in range(1, 31)]
    followed = index_of(rows)
    for _ in range(30):
        changed = set(followed.draw(8, rng, frozenset()))
        bundles = Counter(rows[n - 1][8] for n in changed if rows[n - 1][5] == 0)
        for bundle, size in bundles.items():
            assert not bundle or size == sum(one[8] == bundle for one in rows)
        for n in changed:
            number, dataset, root, _, _, visits, *_, bundle, _ = rows[n - 1]
            kin = root if root != number else None
            rows[n - 1] = row(number, kin, visits + 1, bundle, dataset)
        for parent in rng.integers(1, 31, size=rng.integers(0, 3)).tolist():
            first, size = len(rows) + 1, int(rng.integers(1, 5))
            rows += siblings(*range(first, first + size), root=parent, dataset=parent % 2)
            changed |= set(range(first, first + size))
        followed.update([rows[n - 1] for n in sorted(changed)])
    for count in (1, 8, 40):
        assert draw(followed, count, rng_seed) == draw(index_of(rows), count, rng_seed)


# When the siblings of a bundle stop waiting


def opened(folder: Path, **options: int) -> tuple[Pool, JobQueue]:
    pool = Pool.open(folder)
    pool.add_seeds(seed(n) for n in range(12))
    limits = {"limit": 99, "lease_s": 60, "max_attempts": 1} | options
    return pool, JobQueue(pool, **limits, sampling=POLICY)


def asked(parent: int, count: int = 3) -> list[JobRequest]:
    return bundled([JobRequest(f"seed-{parent}", f"wall {n}", n, "noop") for n in range(count)])


def fresh(pool: Pool, rng_seed: int = 0) -> set[str]:
    """The jobs of the synthetic samples in a batch."""
    drawn = pool.draw(8, POLICY, np.random.default_rng(rng_seed))
    return {str(one.job_id) for one in drawn if one.job_id is not None}


def end(queue: JobQueue, job_id: str, how: str = "admitted") -> None:
    job = queue.held("w", [job_id])[job_id]
    if how == "dead":
        assert queue.fail(job_id, "w", "broken")
    else:
        result = child(job) if how == "admitted" else Rejected("size", {})
        assert queue.complete(job_id, "w", result)


@pytest.mark.parametrize("last", ["admitted", "rejected", "dead"])
def test_siblings_wait_until_the_last_job_has_ended_in_whatever_way(
    tmp_path: Path, last: str
) -> None:
    pool, queue = opened(tmp_path)
    first, second = asked(1), asked(2)
    assert queue.submit(first + second).accepted == [job.id for job in first + second]
    queue.lease("w", 9)
    end(queue, second[0].id)
    for job in first[:2]:
        end(queue, job.id)
        assert fresh(pool) == set()
    end(queue, first[2].id, last)
    wanted = first if last == "admitted" else first[:2]
    assert fresh(pool) == {job.id for job in wanted}
    assert pool.stats().unmeasured == len(wanted) + 1


def test_after_the_deadline_those_that_are_there_are_drawn_and_a_late_one_alone(
    tmp_path: Path,
) -> None:
    pool, queue = opened(tmp_path)
    jobs = asked(1)
    queue.submit(jobs)
    queue.lease("w", 9)
    pool.observe([Observation("seed-5", 7, 7, 0.5, 0.5)], POLICY)
    for job in jobs[:2]:
        end(queue, job.id)
    for step in (8, 9):
        pool.observe([Observation("seed-5", step, step, 0.5, 0.5)], POLICY)
        assert fresh(pool) == set()
    pool.observe([Observation("seed-5", 10, 10, 0.5, 0.5)], POLICY)
    assert fresh(pool) == {job.id for job in jobs[:2]}
    names = [f"child-{job.id}" for job in jobs]
    pool.observe([Observation(name, 11, 11, 0.9, 0.5) for name in names[:2]], POLICY)
    end(queue, jobs[2].id)
    assert jobs[2].id in fresh(pool)


def test_a_bundle_is_queued_whole_or_not_at_all(tmp_path: Path) -> None:
    pool, queue = opened(tmp_path, limit=7)
    first, second, third = asked(1), asked(2), asked(3)
    result = queue.submit([*first, *second, *third, JobRequest("seed-4", "door", 1, "noop")])
    assert len(result.accepted) == 7 and result.dropped == 3
    assert not {job.id for job in third} & set(result.accepted)
    again = queue.submit(first)
    assert again.duplicates == [job.id for job in first] and not again.accepted
    few = JobQueue(pool, 99, 60, 1, SamplingPolicy(max_children=5))
    more = bundled([JobRequest("seed-1", f"door {n}", n, "noop") for n in range(3)])
    assert few.submit(more).refused == 3
    assert len(few.submit(more[:2]).accepted) == 2, "there is room for two"


def test_a_mirrored_pool_waits_for_the_same_jobs(tmp_path: Path) -> None:
    theirs, queue = opened(tmp_path / "server")
    own, _ = opened(tmp_path / "run")
    jobs = asked(1)
    queue.submit(jobs)
    queue.lease("w", 9)
    for job, how in zip(jobs, ("admitted", "rejected", "admitted"), strict=True):
        assert fresh(own) == set()
        end(queue, job.id, how)
        for _ in range(2):  # a record that comes twice is not counted twice
            mirror(own, "server", queue.ended(mirrored_up_to(own, "server"), 9))
    assert fresh(own) == fresh(theirs) == {jobs[0].id, jobs[2].id}
    with own.database.read() as connection:
        assert connection.execute("SELECT DISTINCT bundle, bundle_size FROM jobs").fetchall() == [
            (jobs[0].bundle, 3)
        ]


def test_a_sibling_that_cannot_be_read_does_not_keep_the_others(tmp_path: Path) -> None:
    pool, queue = opened(tmp_path)
    jobs = asked(1)
    queue.submit(jobs)
    queue.lease("w", 9)
    for job in jobs:
        end(queue, job.id)
    path = pool.get(f"child-{jobs[0].id}").image.path
    assert path is not None
    path.unlink()
    assert fresh(pool) == {job.id for job in jobs[1:]}
    assert pool.stats().quarantined == 1
