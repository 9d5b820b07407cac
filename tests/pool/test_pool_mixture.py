"""Several datasets in one pool: how the places of a batch are shared out."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_samples import child, seed

from syngrpo.pool.draw_index import Change, DrawIndex
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy, dataset_weights, share_places, systematic_shares
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import InputError, Sample

weights_of_datasets = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), min_size=1, max_size=9
).filter(any)
UNLIMITED = 10**9


@given(st.integers(0, 40), weights_of_datasets, st.floats(0, 1, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_every_share_is_the_exact_one_rounded_down_or_up(
    count: int, weights: list[float], offset: float
) -> None:
    shares = systematic_shares(count, np.array(weights), offset)
    exact = count * np.array(weights) / math.fsum(weights)
    assert shares.sum() == count
    assert (np.abs(shares - exact) < 1 + 1e-9).all()
    assert not shares[np.array(weights) == 0].any()


@given(st.integers(1, 12), weights_of_datasets)
@settings(max_examples=100, deadline=None)
def test_the_expectation_over_all_offsets_is_the_exact_share(
    count: int, weights: list[float]
) -> None:
    """The shares are constant between the offsets at which a tooth of the comb crosses an edge, so
    the integral over all offsets is a finite sum."""
    exact = count * np.array(weights) / math.fsum(weights)
    crossings = np.unique(np.concatenate([[0.0, 1.0], np.cumsum(exact) % 1.0]))
    total = np.zeros(len(weights))
    for low, high in pairwise(crossings):
        total += (high - low) * systematic_shares(count, np.array(weights), (low + high) / 2)
    assert total == pytest.approx(exact, abs=1e-6)


def test_one_place_for_three_datasets_goes_to_each_in_proportion() -> None:
    offsets = (np.arange(600) + 0.5) / 600
    chosen = Counter(
        int(systematic_shares(1, np.array([3.0, 2.0, 1.0]), offset).argmax()) for offset in offsets
    )
    assert chosen == {0: 300, 1: 200, 2: 100}


def test_what_one_cannot_take_goes_to_the_others_by_their_weights() -> None:
    rng = np.random.default_rng(0)
    weights, capacity = np.array([2.0, 1.0, 1.0, 0.0]), np.array([2, 100, 100, 100])
    assert share_places(8, weights, np.full(4, UNLIMITED), rng).tolist() == [4, 2, 2, 0]
    assert share_places(8, weights, capacity, rng).tolist() == [2, 3, 3, 0]
    assert share_places(8, weights, np.array([0, 0, 3, 9]), rng).tolist() == [0, 0, 3, 0]
    assert share_places(0, weights, capacity, rng).tolist() == [0, 0, 0, 0]
    assert share_places(3, np.zeros(2), np.full(2, UNLIMITED), rng).tolist() == [0, 0]


@given(
    st.integers(0, 30),
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 12)), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_no_share_is_above_its_capacity_and_no_place_is_lost(
    count: int, datasets: list[tuple[float, int]], rng_seed: int
) -> None:
    weights, capacity = np.array([w for w, _ in datasets]), np.array([c for _, c in datasets])
    shares = share_places(count, weights, capacity, np.random.default_rng(rng_seed))
    assert (shares <= capacity).all() and not shares[weights == 0].any()
    assert shares.sum() == min(count, capacity[weights > 0].sum())


# Draws


NAMES = {1: "rec", 2: "ovd", 3: "isr"}


def rows_of(seeds: dict[int, int], children: dict[int, int] | None = None) -> list[Change]:
    """Measured seeds, and children of them, per dataset."""
    rows: list[Change] = []
    first = {}
    for dataset, count in seeds.items():
        first[dataset] = len(rows) + 1
        for _ in range(count):
            n = len(rows) + 1
            rows.append((n, dataset, n, 0, 1, 1, 0.5, 0.5, 0, n))
    for dataset, count in (children or {}).items():
        for k in range(count):
            n = len(rows) + 1
            rows.append((n, dataset, first[dataset] + k, 1, 1, 1, 0.5, 0.5, 0, n))
    return rows


def index_of(rows: list[Change], policy: SamplingPolicy | None = None) -> DrawIndex:
    index = DrawIndex(policy or SamplingPolicy())
    index.set_names(NAMES)
    index.update(rows)
    return index


ONLY_SEEDS = SamplingPolicy(synthetic_ratio=0.0)


def drawn(
    index: DrawIndex,
    rows: list[Change],
    count: int,
    rng_seed: int,
    weights: dict[str, float] | None = None,
) -> tuple[Counter[int], Counter[int]]:
    """How many seeds and how many synthetic samples of each dataset a draw holds."""
    numbers = index.draw(count, np.random.default_rng(rng_seed), frozenset(), weights)
    assert len(set(numbers)) == len(numbers) == count
    chosen = [rows[number - 1] for number in numbers]
    return Counter(r[1] for r in chosen if r[3] == 0), Counter(r[1] for r in chosen if r[3] > 0)


def test_seeds_and_synthetic_samples_are_both_drawn_by_weight() -> None:
    rows = rows_of({1: 40, 2: 200, 3: 60}, {1: 40, 2: 40, 3: 40})
    weights = {"rec": 2.0, "ovd": 1.0, "isr": 1.0}
    index = index_of(rows)
    for rng_seed in range(20):
        seeds, synthetic = drawn(index, rows, 16, rng_seed, weights)
        assert seeds == synthetic == {1: 4, 2: 2, 3: 2}


def test_a_batch_smaller_than_the_mixture_keeps_the_weights_on_average() -> None:
    rows = rows_of({1: 50, 2: 50, 3: 50}, {1: 50, 2: 50, 3: 50})
    weights = {"rec": 5.0, "ovd": 2.0, "isr": 1.0}
    index = index_of(rows)
    draws = 1200
    both = [drawn(index, rows, 2, rng_seed, weights) for rng_seed in range(draws)]
    for part in zip(*both, strict=True):
        mean = [sum(counts[dataset] for counts in part) / draws for dataset in NAMES]
        assert mean == pytest.approx([5 / 8, 2 / 8, 1 / 8], abs=0.04)
    totals = [a[1] + b[1] for a, b in both]
    assert set(totals) == {1, 2}, "5/8 of two places is 1.25: never none"


def test_without_weights_datasets_come_by_their_numbers_of_seeds() -> None:
    rows = rows_of({1: 100, 2: 50, 3: 50}, {2: 50})
    index = index_of(rows, ONLY_SEEDS)
    for rng_seed in range(10):
        seeds, synthetic = drawn(index, rows, 8, rng_seed)
        assert seeds == {1: 4, 2: 2, 3: 2} and not synthetic


def test_a_dataset_with_too_few_samples_leaves_its_places_to_the_others() -> None:
    rows = rows_of({1: 2, 2: 50, 3: 50})
    weights = {"rec": 10.0, "ovd": 1.0, "isr": 1.0}
    index = index_of(rows)
    seeds, _ = drawn(index, rows, 12, 0, weights)
    assert seeds == {1: 2, 2: 5, 3: 5}
    retired = [(*row[:4], 0, *row[5:]) if row[1] == 2 else row for row in rows]
    index.update(retired)
    seeds, _ = drawn(index, rows, 12, 0, weights)
    assert seeds == {1: 2, 3: 10}


def test_a_dataset_without_children_fills_its_share_with_seeds() -> None:
    rows = rows_of({1: 50, 2: 50}, {1: 50})
    weights = {"rec": 1.0, "ovd": 1.0}
    index = index_of(rows)
    seeds, synthetic = drawn(index, rows, 8, 0, weights)
    assert (seeds, synthetic) == ({1: 2, 2: 4}, {1: 2})


def test_a_dataset_that_the_weights_do_not_name_is_not_drawn() -> None:
    rows = rows_of({1: 9, 2: 50})
    weights = {"rec": 1.0, "gone": 7.0}
    index = index_of(rows)
    assert len(index.draw(12, np.random.default_rng(0), frozenset(), weights)) == 9


def test_a_small_dataset_of_great_weight_repeats_what_is_in_flight() -> None:
    rows = rows_of({1: 4, 2: 50})
    weights = {"rec": 1.0, "ovd": 1.0}
    index = index_of(rows, ONLY_SEEDS)
    first = index.draw(8, np.random.default_rng(0), frozenset(), weights)
    second = index.draw(8, np.random.default_rng(1), frozenset(first), weights)
    assert sum(number <= 4 for number in second) == 4
    assert not {n for n in first if n > 4} & set(second)


def test_weights_that_cannot_be_are_refused() -> None:
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="dataset 'a' has weight"):
            dataset_weights({"a": weight})


def test_weights_are_by_number_of_samples_unless_one_is_given() -> None:
    assert dataset_weights({"a": None, "b": None}) == {}
    assert dataset_weights({"a": 3.0, "b": None}) == {"a": 3.0, "b": 1.0}


# The pool


def of(dataset: str, numbers: range) -> list[Sample]:
    return [replace(seed(n), dataset=dataset) for n in numbers]


def test_the_pool_draws_by_weight_and_children_belong_to_their_seeds_dataset(
    tmp_path: Path,
) -> None:
    pool = Pool.open(tmp_path)
    pool.add_seeds(of("few", range(10)) + of("many", range(10, 60)))
    queue = JobQueue(pool, limit=99, lease_s=60, max_attempts=1)
    queue.submit([JobRequest(f"seed-{n}", "a green floor", 1, "noop") for n in (1, 2, 11, 12)])
    for job in queue.lease("worker", 9):
        assert queue.complete(job.id, "worker", child(job))
    children = {one.sample.parent: one.sample.dataset for one in pool.samples("synthetic")}
    assert children == {"seed-1": "few", "seed-2": "few", "seed-11": "many", "seed-12": "many"}
    policy, weights = SamplingPolicy(), {"few": 3.0, "many": 1.0}
    for rng_seed in range(5):
        got = pool.draw(8, policy, np.random.default_rng(rng_seed), weights=weights)
        assert Counter(one.sample.dataset for one in got) == {"few": 6, "many": 2}
        pool.observe([Observation(one.sample.id, rng_seed, 1, 0.5, 0.5) for one in got], policy)
    assert pool.get("seed-3").dataset == "few"
    assert [one.dataset for one in pool.ancestry(next(pool.samples("synthetic")).sample.id)] == [
        "few",
        "few",
    ]


def test_a_backup_keeps_the_datasets(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path / "pool")
    pool.add_seeds(of("a", range(4)) + of("b", range(4, 8)))
    policy, weights = SamplingPolicy(), {"b": 1.0}
    expected = pool.draw(3, policy, np.random.default_rng(0), weights=weights)
    pool.backup(tmp_path / "backup.db")
    pool.add_seeds(of("b", range(8, 30)))
    pool.close()
    restored = Pool.restore(tmp_path / "pool", tmp_path / "backup.db")
    assert restored.draw(3, policy, np.random.default_rng(0), weights=weights) == expected
    assert {one.sample.dataset for one in expected} == {"b"}


def test_a_source_that_has_changed_its_name_is_told_so(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path)
    assert pool.add_seeds(of("old", range(3))) == 3
    assert pool.add_seeds(of("old", range(4))) == 1
    with pytest.raises(
        InputError, match=r"seed-0 is in the pool as one of dataset 'old', not 'new'"
    ):
        pool.add_seeds(of("new", range(3)))
