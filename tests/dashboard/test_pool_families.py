"""What the tab Evolution reads from a pool, compared with reading all of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pool_samples import child, seed

from syngrpo.dashboard.evolution.pool_families import family_of, last_earned, seed_page
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Rejected
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import DescriptionReward, Observation
from syngrpo.sample import InputError

DEEP = SamplingPolicy(max_depth=3, max_children=50)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Five seeds. Seed 1 has two children, the first of which has two children itself; seed 3 has
    one; a job of seed 1 was refused."""
    pool = Pool.open(tmp_path)
    seeds = [replace(seed(n), question=f"the lamp of room {n}, 100%") for n in range(5)]
    pool.add_seeds(seeds)
    (first, second) = paint(pool, ["seed-1", "seed-1"], 1)
    paint(pool, ["seed-3"], 1)
    paint(pool, [first, first], 2)
    queue = JobQueue(pool, limit=50, lease_s=9, max_attempts=1, sampling=DEEP)
    queue.submit([JobRequest("seed-1", "refused", 7, "noop")])
    (job,) = queue.lease("w", 1)
    queue.complete(job.id, "w", Rejected("unseen", {"visibility": 2.0}))
    pool.record_rewards([DescriptionReward(job.id, 4, -1.5)])
    visits = [(first, 3, 0.5, 0.25), (first, 1, 0.25, 0.5), (second, 2, 0.0, 1.0)]
    pool.observe(Observation(name, step, step, d, a) for name, step, d, a in visits)
    yield pool
    pool.close()


def paint(pool: Pool, parents: list[str], depth: int) -> list[str]:
    """A child of each parent; their ids. The reward of the nth job is n / 8 in step n."""
    queue = JobQueue(pool, limit=50, lease_s=9, max_attempts=1, sampling=DEEP)
    made = []
    for number, parent in enumerate(parents):
        queue.submit([JobRequest(parent, f"wall {number}", number, "noop", policy_version=depth)])
        (job,) = queue.lease("w", 1)
        result = child(job, depth)
        assert queue.complete(job.id, "w", result)
        pool.record_rewards([DescriptionReward(job.id, number, number / 8)])
        made.append(result.sample.id)
    return made


def lines(pool: Pool, search: str = "", order: str = "data", first: int = 0) -> list[str]:
    return [one.sample_id for one in seed_page(pool, search, order, first, 9).lines]  # type: ignore[arg-type]


def test_seeds_are_listed_page_by_page_in_three_orders(pool: Pool) -> None:
    ids = [f"seed-{number}" for number in range(5)]
    assert lines(pool) == ids and lines(pool, first=3) == ids[3:]
    assert lines(pool, order="children") == ["seed-1", "seed-3", "seed-0", "seed-2", "seed-4"]
    assert lines(pool, order="painted")[:2] == ["seed-1", "seed-3"]
    page = seed_page(pool, "", "data", 0, 3)
    assert len(page.lines) == 3 and page.more
    assert not seed_page(pool, "", "data", 3, 2).more
    first = seed_page(pool, "", "children", 0, 1).lines[0]
    assert (first.question, first.children, first.visits) == ("the lamp of room 1, 100%", 4, 0)


def test_seeds_are_found_by_what_they_ask_and_by_the_id_of_a_descendant(pool: Pool) -> None:
    assert lines(pool, "ROOM 3") == ["seed-3"]
    assert lines(pool, "seed-2") == ["seed-2"]
    assert lines(pool, "100%") == [f"seed-{number}" for number in range(5)]
    assert lines(pool, "room%3") == lines(pool, "seed_2") == lines(pool, "\\") == []
    grandchild = next(one for one in pool.samples("synthetic") if one.sample.depth == 2)
    assert lines(pool, grandchild.sample.id) == ["seed-1"]
    assert lines(pool, "'; DROP TABLE samples; --") == []


def test_a_family_is_all_descendants_each_below_its_parent(pool: Pool) -> None:
    def below(name: str) -> list[str]:
        return [name, *(x for one in pool.children(name) for x in below(one.sample.id))]

    expected = below("seed-1")
    assert len(expected) == 5
    for name in expected:
        family = family_of(pool, name)
        assert [one.sample.id for one in family.members] == expected
        assert family.total == 5
    for one in family.members:
        assert list(one.visits) == sorted(pool.observations(one.sample.id), key=lambda v: v.step)
        lineage = pool.lineage(one.sample.id)
        assert (one.state, one.scores, one.written_at) == (
            lineage.state,
            lineage.scores,
            lineage.written_by,
        )
    rewards = {one.sample.description: (one.reward, one.settled) for one in family.members}
    assert rewards == {None: (None, None), "wall 0": (0.0, 0), "wall 1": (0.125, 1)}


def test_of_a_very_large_family_the_chosen_member_is_read_with_its_ancestors(pool: Pool) -> None:
    grandchildren = [one.sample.id for one in pool.samples("synthetic") if one.sample.depth == 2]
    family = family_of(pool, grandchildren[-1], most=1)
    assert [one.sample.id for one in family.members] == [
        one.id for one in reversed(pool.ancestry(grandchildren[-1]))
    ]
    assert family.total == 5


def test_an_unknown_sample_is_told(pool: Pool) -> None:
    with pytest.raises(InputError, match="no sample nobody"):
        family_of(pool, "nobody")


def test_what_the_last_descriptions_earned(pool: Pool) -> None:
    means = {}
    for one in pool.samples("synthetic"):
        visits = [visit.diversity for visit in pool.observations(one.sample.id)]
        means[one.job_id] = sum(visits) / len(visits) if visits else None
    queue = JobQueue(pool, limit=9, lease_s=9, max_attempts=1)
    ended = [(job.request.description, means.get(job.request.id)) for job in queue.ended(0, 99)]
    earned = last_earned(pool, 99)
    assert [(one.text, one.diversity) for one in reversed(earned)] == ended
    assert [one.reward for one in reversed(earned)] == [0.0, 0.125, 0.0, 0.0, 0.125, -1.5]
    assert last_earned(pool, 2) == earned[:2]


def test_columns_of_another_form_say_nothing_about_the_view(pool: Pool, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "pool.db") as database:
        database.execute(
            "UPDATE samples SET body = json_set(body, '$.columns', json(?)) WHERE parent NOT NULL",
            (json.dumps({"synthesis": {"frame": [], "light": None}}),),
        )
    assert {one.view for one in family_of(pool, "seed-1").members} == {""}
