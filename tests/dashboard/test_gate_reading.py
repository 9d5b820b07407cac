"""What the tab Gate reads from a run, compared with counting all of it."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import write_run
from pool_samples import child, seed

from syngrpo.dashboard.gate.gate_decisions import (
    decided_parts,
    last_decisions,
    refused_jobs,
    score_histograms,
    steps_of,
)
from syngrpo.dashboard.reading.gate_limits import CHECKS, REASONS, score_limits
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.pages.run_data import RunData, read_run
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.judges.panel import JudgeOptions
from syngrpo.painting.refused_pictures import REFUSED
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Rejected
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import random_description

DECIDED = ["", "unseen", "", "", "too_small", "dead", "unseen", ""] * 9
"""How the jobs of the pool ended, in order."""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool.open(tmp_path)
    pool.add_seeds(seed(number) for number in range(20))
    policy = SamplingPolicy(max_children=9999)
    queue = JobQueue(pool, limit=999, lease_s=9, max_attempts=1, sampling=policy)
    asked = [JobRequest(f"seed-{n % 20}", "a wall", n, "noop") for n in range(len(DECIDED))]
    queue.submit(asked)
    rng = np.random.default_rng(0)
    for how, job in zip(DECIDED, queue.lease("w", 999), strict=True):
        scores = {"visibility": 3.0 if how == "unseen" else 6.0 + rng.gamma(2, 20)}
        scores |= {} if how == "unseen" else {"own_judge": rng.random()}
        if how == "dead":
            queue.fail(job.id, "w", "CUDA error")
        else:
            result = child(job)
            result.scores.update(scores)
            queue.complete(job.id, "w", Rejected(how, scores) if how else result)
    yield pool
    pool.close()


def test_all_decisions_of_a_short_run_are_in_its_parts(pool: Pool) -> None:
    parts = decided_parts(pool)
    assert (parts[0].first, parts[-1].last) == (1, len(DECIDED))
    for part in parts:
        ends = DECIDED[part.first - 1 : part.last]
        counts = Counter(end for end in ends if end != "dead")
        assert part.counts == counts
        assert part.share("unseen") == counts["unseen"] / sum(counts.values())
    whole = decided_parts(pool, parts=1)
    assert len(whole) == 1 and whole[0].counts == Counter(DECIDED) - Counter({"dead": 99})


def test_of_a_long_part_the_first_jobs_are_looked_at(pool: Pool) -> None:
    (part,) = decided_parts(pool, parts=1, of_part=5)
    assert part.counts == {"": 3, "unseen": 1, "too_small": 1} and part.last == len(DECIDED)


def test_steps_are_those_in_which_the_trainer_learned_of_the_jobs() -> None:
    rows = [{"step": 3, "synthesis/admitted": 2, "synthesis/rejected": 1, "synthesis/dead": None}]
    rows += [{"step": 4}, {"step": 5, "synthesis/admitted": 4}]
    run = RunData(Path(), rows, [], {})
    assert steps_of([1, 3, 4, 7, 8, 100], run) == [3, 3, 5, 5, 5, 5]
    assert steps_of([1], RunData(Path(), [{"step": 1}], [], {})) == []


def test_histograms_count_every_picture_and_tell_who_refused_it(pool: Pool) -> None:
    limits = score_limits(RunData(Path(), [], [], {}))
    decisions = last_decisions(pool)
    visible, own = score_histograms(decisions, limits)
    assert visible.limit.score == "visibility" and visible.limit.limit == 6.0
    counts = Counter(DECIDED)
    assert sum(visible.refused) == counts["unseen"] == 18
    assert sum(visible.admitted) == counts[""] and sum(visible.elsewhere) == counts["too_small"]
    assert visible.seen == len(DECIDED) - counts["dead"]
    edges, values = np.array(visible.edges), [one.scores["visibility"] for one in decisions]
    clipped = np.clip(values, edges[0], edges[-1])
    all_of_them = np.histogram(clipped, edges)[0]
    stacked = np.array([visible.admitted, visible.refused, visible.elsewhere]).sum(axis=0)
    assert (stacked == all_of_them).all()
    assert edges[0] <= 3.0 < 6.0 <= edges[-1]
    assert own.limit.title == "own judge" and own.limit.limit is None and not sum(own.refused)
    assert len(last_decisions(pool, 7)) == 7


def test_a_score_that_is_always_the_same_has_no_histogram(pool: Pool) -> None:
    decisions = [one for one in last_decisions(pool) if one.reason == "unseen"]
    assert {one.scores["visibility"] for one in decisions} == {3.0}
    assert score_histograms(decisions, score_limits(RunData(Path(), [], [], {}))) == []


def test_every_threshold_has_a_check_and_every_reason_words() -> None:
    names = {check.key.rpartition(".")[2] for check in CHECKS if check.key}
    thresholds = {one.name for one in fields(GateThresholds)} | {
        one.name for one in fields(JudgeOptions)
    }
    limits = {name for name in thresholds if name.startswith(("min_", "max_"))}
    assert names == limits
    documented = (Path(__file__).parents[2] / "docs" / "gate.md").read_text()
    for reason in REASONS:
        assert f"`{reason}`" in documented
    assert {check.reason for check in CHECKS} - {""} <= set(REASONS)


@pytest.mark.parametrize(
    ("section", "visibility", "expansion"),
    [
        ({"gate": {"min_visibility": 18}, "judges": {"max_expansion": 0.5}}, 18.0, 0.5),
        ({}, 6.0, 0.2),
        ({"gate": None, "judges": [1]}, 6.0, 0.2),
        ({"gate": {"min_visibility": "many"}, "judges": {"max_expansion": None}}, None, None),
    ],
)
def test_limits_are_those_of_the_configuration(
    section: dict[str, Any], visibility: float | None, expansion: float | None
) -> None:
    limits = score_limits(RunData(Path("nowhere"), [], [], {"synthesis": section}))
    assert limits["visibility"].limit == visibility and limits["expansion"].limit == expansion
    assert not limits["visibility"].refuses(visibility or 0)
    if visibility is not None:
        assert limits["visibility"].refuses(visibility - 0.01)
        assert limits["expansion"].refuses(0.51) and not limits["expansion"].refuses(0.1)


def test_limits_of_a_run_on_a_data_server_are_those_that_it_keeps(tmp_path: Path) -> None:
    options = {"identity": "x", "options": {"thresholds": {"min_change": 9.0}}}
    (tmp_path / "run.json").write_text(json.dumps(options))
    limits = score_limits(RunData(tmp_path, [], [], {}))
    assert (limits["change"].limit, limits["visibility"].limit) == (9.0, 6.0)
    (tmp_path / "run.json").write_text("[")
    assert score_limits(RunData(tmp_path, [], [], {}))["change"].limit == 4.0


def test_refused_pictures_come_with_their_labels_and_the_newest_first(tmp_path: Path) -> None:
    """The gate refuses all of them: 255 grey levels are more than any background changes by."""
    seeds = rooms_samples("train", 3)
    pool = Pool.open(tmp_path)
    pool.add_seeds(seeds)
    settings = SynthesisSettings(
        tmp_path, gate=GateThresholds(min_change=255, keep_refused=2), generator="rooms"
    )
    client = InlineClient(settings, SamplingPolicy())
    rng = np.random.default_rng(0)
    asked = [
        JobRequest(one.id, random_description(rng), number, client.fingerprint)
        for number, one in enumerate(seeds)
    ]
    for request in asked:
        client.submit([request])
    client.close()
    jobs, numbers = refused_jobs(pool, "", 9)
    assert numbers == {"background_unchanged": 2}
    found = [job.job_id for job in jobs]
    assert found == [asked[2].id, asked[1].id]
    for job in jobs:
        request = next(one for one in asked if one.id == job.job_id)
        assert (job.description, job.parent, job.seed.id) == (
            request.description,
            request.parent_id,
            request.parent_id,
        )
        assert job.labelled is not None and len(job.labelled.objects) == len(job.seed.objects)
        size = job.labelled.image.width, job.labelled.image.height
        assert size == (job.seed.image.width, job.seed.image.height)
    assert refused_jobs(pool, "near_duplicate", 9)[0] == []
    assert refused_jobs(pool, "", 1)[0] == jobs[:1]
    (tmp_path / REFUSED / "background_unchanged" / f"{found[0]}.jpg").write_bytes(b"no picture")
    again, _ = refused_jobs(pool, "", 9)
    broken = next(job for job in again if job.job_id == found[0])
    assert broken.labelled is None and broken.view == ""
    with sqlite3.connect(tmp_path / "pool.db") as database:  # as after going back to a checkpoint
        database.execute("DELETE FROM jobs")
    assert refused_jobs(pool, "", 9) == ([], {})
    pool.close()


def test_the_limits_of_a_whole_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 4, 8)
    assert score_limits(read_run(run))["distance_parent"].words == "at least 5 grey levels"
