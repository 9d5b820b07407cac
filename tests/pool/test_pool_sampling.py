"""Which samples a draw holds."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_samples import child, seed
from pydantic import TypeAdapter, ValidationError

from syngrpo.pool.draw_index import Change, DrawIndex, WeightedIndex
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation


def seed_row(
    number: int, visits: int = 0, mean: float = 0.0, active: bool = True, dataset: int = 0
) -> Change:
    return (number, dataset, number, 0, int(active), visits, mean, mean, 0, number)


def child_row(
    number: int, root: int, visits: int = 0, mean: float = 0.5, depth: int = 1, dataset: int = 0
) -> Change:
    return (number, dataset, root, depth, 1, visits, mean, mean, 0, number)


def index_of(rows: list[Change], policy: SamplingPolicy | None = None) -> DrawIndex:
    index = DrawIndex(policy or SamplingPolicy())
    index.update(rows)
    return index


def draw(index: DrawIndex, count: int, rng_seed: int = 0, avoid=frozenset()) -> list[int]:
    return index.draw(count, np.random.default_rng(rng_seed), avoid)


# Weighted index


changes = st.lists(
    st.tuples(
        st.lists(st.integers(0, 3000), min_size=1, max_size=20, unique=True),
        st.floats(0, 1e3),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(changes)
@settings(max_examples=50, deadline=None)
def test_a_changed_index_draws_what_a_fresh_one_draws(history) -> None:
    index, weights = WeightedIndex(), np.zeros(4000)
    for positions, weight, hide in history:
        values = np.linspace(0, weight, len(positions))
        index.set(np.array(positions), values)
        weights[positions] = values
        if hide:
            index.hide(positions[::2])
            index.hide(positions[1::2])
            index.show()
    fresh = WeightedIndex()
    fresh.replace(weights)
    for rng_seed in range(20):
        drawn = index.draw(5, np.random.default_rng(rng_seed))
        assert drawn == fresh.draw(5, np.random.default_rng(rng_seed))
        assert len(drawn) == (5 if weights.sum() > 0 else 0)
        assert all(weights[position] > 0 for position in drawn)


def test_draws_are_in_proportion_to_weights_and_hidden_ones_never_come() -> None:
    weights = np.zeros(5000)
    weights[[3, 1500, 1501, 4999]] = [1.0, 2.0, 3.0, 4.0]
    index, rng = WeightedIndex(), np.random.default_rng(0)
    index.replace(weights)
    counts = Counter(index.draw(20_000, rng))
    assert counts.keys() == {3, 1500, 1501, 4999}
    for position, count in counts.items():
        assert count / 20_000 == pytest.approx(weights[position] / 10, abs=0.015)
    index.hide([4999, 1501])
    assert set(index.draw(200, rng)) == {3, 1500}
    index.hide([3, 1500])
    assert index.draw(200, rng) == []
    index.show()
    assert set(index.draw(200, rng)) == {3, 1500, 1501, 4999}


# What a batch is made of


def mixed(policy: SamplingPolicy | None = None) -> DrawIndex:
    """100 seeds, each with one measured child."""
    seeds = [seed_row(n, visits=1, mean=0.5) for n in range(1, 101)]
    children = [child_row(100 + n, n, visits=1) for n in range(1, 101)]
    return index_of(seeds + children, policy)


@pytest.mark.parametrize(("ratio", "count"), [(0.5, 8), (0.0, 8), (1.0, 8), (0.25, 12)])
def test_the_ratio_is_kept_exactly_where_it_can_be(ratio: float, count: int) -> None:
    index = mixed(SamplingPolicy(synthetic_ratio=ratio))
    for rng_seed in range(20):
        drawn = draw(index, count, rng_seed)
        assert sum(number > 100 for number in drawn) == ratio * count
        assert len(set(drawn)) == count


def test_a_fractional_share_is_kept_on_average() -> None:
    index, rng = mixed(SamplingPolicy(synthetic_ratio=0.3)), np.random.default_rng(0)
    synthetic = [sum(n > 100 for n in index.draw(8, rng, frozenset())) for _ in range(500)]
    assert set(synthetic) == {2, 3}
    assert np.mean(synthetic) == pytest.approx(2.4, abs=0.07)


@pytest.mark.parametrize("max_children", [0, 1, 8])
def test_samples_in_use_are_drawn_only_if_no_others_are_left(max_children: int) -> None:
    policy = SamplingPolicy(synthetic_ratio=0.0, max_children=max_children, seed_coverage=0.0)
    in_use = frozenset(range(1, 25))
    index = index_of([seed_row(n, visits=0 if n in in_use else 3) for n in range(1, 101)], policy)
    for rng_seed in range(50):
        assert in_use.isdisjoint(draw(index, 8, rng_seed, in_use))


def test_either_kind_fills_up_for_the_other() -> None:
    seeds_only = index_of([seed_row(n) for n in range(1, 11)])
    assert sorted(draw(seeds_only, 10)) == list(range(1, 11))
    one_seed = index_of([seed_row(1)] + [child_row(n, n - 10) for n in range(20, 30)])
    drawn = draw(one_seed, 8)
    assert 1 in drawn and len(set(drawn)) == 8


def test_unmeasured_ones_come_first_and_the_oldest_before_others() -> None:
    rows = [seed_row(n) for n in range(1, 21)]
    rows += [child_row(20 + n, n, visits=1, mean=1.0) for n in range(1, 11)]
    rows += [child_row(30 + n, 10 + n) for n in range(1, 11)]
    index = index_of(rows)
    drawn = {number for number in draw(index, 8) if number > 20}
    assert drawn == {31, 32, 33, 34}
    index.update([child_row(n, n - 20, visits=1) for n in range(31, 38)])
    drawn = {number for number in draw(index, 8) if number > 20}
    assert drawn > {38, 39, 40} and len(drawn) == 4
    assert min(drawn) <= 37


def test_one_member_of_a_family_while_possible() -> None:
    seeds = [seed_row(n) for n in range(1, 5)]
    children = [child_row(n, 1 + n % 4) for n in range(10, 30)]
    index = index_of(seeds + children)
    for rng_seed in range(20):
        four = draw(index, 4, rng_seed)
        assert len({n if n < 10 else 1 + n % 4 for n in four}) == 4
        eight = draw(index, 8, rng_seed)
        assert sum(n >= 10 for n in eight) == 4 and len(set(eight)) == 8
        assert len({1 + n % 4 for n in eight if n >= 10}) == 4, "no siblings before they must"


def test_many_families_but_few_with_children_give_no_siblings() -> None:
    rows = [seed_row(n) for n in range(1, 30)] + [child_row(n, 1) for n in range(40, 80)]
    drawn = draw(index_of(rows), 8)
    assert sum(n >= 40 for n in drawn) == 1
    assert 1 not in drawn


def test_what_is_in_flight_comes_again_only_when_nothing_else_is_left() -> None:
    rows = [seed_row(n) for n in range(1, 11)] + [child_row(n, n - 20) for n in range(21, 31)]
    index = index_of(rows)
    first = draw(index, 8)
    second = draw(index, 8, avoid=frozenset(first))
    assert not set(first) & set(second)
    third = draw(index, 8, avoid=frozenset(first + second))
    assert len(set(third)) == 8
    assert set(range(1, 31)) - set(first + second) - set(range(11, 21)) <= set(third)
    assert len(draw(index, 20, avoid=frozenset(first + second))) == 20
    assert len(draw(index, 21)) == 20, "nothing comes twice in a draw"


def test_caps_on_depth_and_visits_and_retirement() -> None:
    policy = SamplingPolicy(max_depth=1, max_visits=4, retire_below=0.1, retire_after=2)
    rows = [seed_row(n) for n in range(1, 9)]
    rows += [
        child_row(11, 1, depth=2),
        child_row(12, 2, visits=4, mean=0.9),
        child_row(13, 3, visits=2, mean=0.05),
        child_row(14, 4, visits=1, mean=0.0),
        child_row(15, 5, visits=3, mean=0.5),
        (16, 0, 6, 1, 0, 0, 0.0, 0.0, 0, 16),
        seed_row(17, visits=90, mean=0.0),
    ]
    index = index_of(rows, policy)
    assert sorted(draw(index, 99)) == [*range(1, 9), 14, 15, 17]
    assert policy.retires(4, 0.9) == "visited 4 times"
    assert policy.retires(2, 0.05) == "mean diversity 0.050 after 2 visits"
    assert policy.retires(1, 0.0) is None
    index.update([child_row(15, 5, visits=4, mean=0.5)])
    assert 15 not in draw(index, 99)


def test_full_coverage_gives_shuffled_epochs() -> None:
    policy = SamplingPolicy(synthetic_ratio=0.0, seed_coverage=1.0)
    visits = dict.fromkeys(range(1, 41), 0)
    index, rng = index_of([seed_row(n) for n in visits], policy), np.random.default_rng(1)
    orders = []
    for epoch in range(1, 5):
        orders.append([n for _ in range(5) for n in _visit(index, 8, rng, visits)])
        assert set(visits.values()) == {epoch}
    assert len({tuple(order) for order in orders}) == 4


def _visit(index: DrawIndex, count: int, rng: np.random.Generator, visits: dict) -> list[int]:
    drawn = index.draw(count, rng, frozenset())
    for number in drawn:
        visits[number] += 1
    index.update([seed_row(number, visits[number], 0.2) for number in drawn])
    return drawn


def test_an_epoch_that_ends_within_a_batch_goes_on_with_the_next() -> None:
    policy = SamplingPolicy(synthetic_ratio=0.0, seed_coverage=1.0)
    rows = [seed_row(n, visits=7) for n in range(1, 7)] + [seed_row(n, 8) for n in range(7, 21)]
    for rng_seed in range(20):
        drawn = draw(index_of(rows, policy), 8, rng_seed)
        assert set(range(1, 7)) < set(drawn) and len(drawn) == 8


def test_diverse_seeds_come_more_often_and_solved_ones_still_come() -> None:
    policy = SamplingPolicy(synthetic_ratio=0.0, seed_coverage=0.0, diversity_floor=0.05)
    rows = [seed_row(n, visits=3, mean=0.95 if n <= 50 else 0.0) for n in range(1, 101)]
    index, rng = index_of(rows, policy), np.random.default_rng(0)
    counts = Counter(index.draw(1, rng, frozenset())[0] for _ in range(4000))
    solved = sum(count for number, count in counts.items() if number > 50)
    assert solved / 4000 == pytest.approx(0.05 / 1.05, abs=0.012)


@pytest.mark.parametrize(
    ("option", "value"),
    [("synthetic_ratio", 1.5), ("max_visits", 0), ("diversity_floor", math.nan)],
)
def test_the_bounds_of_the_options_are_checked_where_a_configuration_is_read(
    option: str, value: float
) -> None:
    with pytest.raises(ValidationError, match=option):
        TypeAdapter(SamplingPolicy).validate_python({option: value})


# A draw depends on the state alone


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
@settings(max_examples=15, deadline=None)
def test_an_index_that_followed_every_change_draws_like_a_fresh_one(
    rng_seed: int, datasets: int
) -> None:
    rng = np.random.default_rng(rng_seed)
    rows = [seed_row(n, dataset=n % datasets) for n in range(1, 31)]
    followed = index_of(rows)
    for _ in range(30):
        drawn = followed.draw(6, rng, frozenset())
        changed = dict.fromkeys(drawn)
        for number in changed:
            _, dataset, root, depth, active, visits, _, _, bundle, change = rows[number - 1]
            d = float(rng.random()) ** 3
            rows[number - 1] = (
                *(number, dataset, root, depth, active, visits + 1),
                *(d, d, bundle, change),
            )
        for parent in rng.integers(1, 31, size=rng.integers(0, 4)).tolist():
            rows.append(child_row(len(rows) + 1, parent, dataset=rows[parent - 1][1]))
            changed[len(rows)] = None
        followed.update([rows[number - 1] for number in sorted(changed)])
    fresh = index_of(rows)
    for count in (1, 6, 40):
        assert draw(followed, count, rng_seed) == draw(fresh, count, rng_seed)


def test_a_draw_sees_what_other_connections_wrote(tmp_path: Path) -> None:
    trainer, worker = Pool.open(tmp_path), Pool.open(tmp_path)
    trainer.add_seeds(seed(n) for n in range(10))
    rng = np.random.default_rng(0)
    assert all(one.job_id is None for one in trainer.draw(4, SamplingPolicy(), rng))
    queue = JobQueue(worker, limit=10, lease_s=60, max_attempts=1)
    queue.submit([JobRequest("seed-3", "a green floor", 1, "noop")])
    (job,) = queue.lease("w", 1)
    queue.complete(job.id, "w", child(job))
    drawn = trainer.draw(4, SamplingPolicy(), rng)
    assert [one.job_id for one in drawn if one.job_id] == [job.id]
    worker.observe([Observation(f"child-{job.id}", 1, 1, 0.0, 1.0)])
    worker.observe([Observation(f"child-{job.id}", 2, 2, 0.0, 1.0)])
    drawn = trainer.draw(4, SamplingPolicy(retire_after=2), rng)
    assert all(one.job_id is None for one in drawn), "retired by the rule"
    other = trainer.draw(11, SamplingPolicy(retire_below=0.0), rng)
    assert len(other) == 11, "another policy, another rule"


def test_the_same_state_and_generator_give_the_same_draw(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path)
    pool.add_seeds(seed(n) for n in range(30))
    before = pool.stats()
    draws = [Pool.open(tmp_path).draw(8, SamplingPolicy(), np.random.default_rng(7)) for _ in "ab"]
    assert draws[0] == draws[1] == pool.draw(8, SamplingPolicy(), np.random.default_rng(7))
    assert draws[0] != pool.draw(8, SamplingPolicy(), np.random.default_rng(8))
    assert pool.stats() == before
