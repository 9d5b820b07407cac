"""Credit between siblings in training: bundles are written, drawn and rewarded together."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm_processes
from quick_runs import metrics, pool_contents, train_arguments, without_time
from rich.console import Console
from service_process import serve
from test_trainer_processes import assert_same_run, train_with_one, train_with_two
from test_trainer_reward import SOME_CHANGE
from watched_trainer import Step, watched_trainer

from syngrpo.cli.train import run_training
from syngrpo.config import load_config
from syngrpo.pool.store import Pool

ROOMS = Path(__file__).parents[2] / "configs" / "rooms-rec.yaml"
SIBLINGS = {
    "method__credit": "siblings",
    "method__descriptions_per_group": 3,
    "trainer__groups_per_step": 6,
}


def rolled_out(step: Step) -> Counter[str]:
    """The bundles whose images were first rolled out in this step, and how many of each."""
    return Counter(
        item.pending.bundle
        for item in step.settled
        if item.pending.job_id in {group.drawn.job_id for group in step.scored}
    )


@pytest.mark.parametrize("name", ["syn-grpo", "syn-grpo-no-smoothing"])
def test_siblings_are_compared_in_the_step_that_rolls_them_out(tmp_path: Path, name: str) -> None:
    with watched_trainer(tmp_path, method__name=name, **SIBLINGS) as trainer:
        steps = [trainer.watched_step() for _ in range(4)]
    differences: list[float] = []
    for step in steps:
        bundles: dict[str, list[Any]] = {}
        for item in step.settled:
            bundles.setdefault(str(item.pending.bundle), []).append(item)
        of_step = []
        for members in bundles.values():
            assert len({item.pending.parent_id for item in members}) == 1
            values = np.array([item.pending.diversity for item in members])
            of_step += (values - values.mean()).tolist()
        differences += of_step
        if not of_step:
            continue
        weights = trainer.options.method.smoothing_decay ** np.arange(len(differences))[::-1]
        spread = float(np.average(np.abs(differences), weights=weights))
        scale = 1.0 if name == "syn-grpo-no-smoothing" else spread + 0.05
        rewards = [item.reward for members in bundles.values() for item in members]
        assert rewards == pytest.approx(np.clip(np.array(of_step) / scale, -2, 2).tolist())
    assert sum(step.record["synthesis/settled"] for step in steps) >= 4
    measured = [bundle for step in steps for bundle in rolled_out(step)]
    assert len(measured) == len(set(measured)) > 1, "each bundle in one step only"
    with closing(sqlite3.connect(tmp_path / "pool.db")) as pool:
        rewards = "SELECT settled, id, reward FROM jobs WHERE reward IS NOT NULL ORDER BY settled"
        kept = pool.execute(rewards).fetchall()
    settled = enumerate((step.settled for step in steps), start=1)
    earned = [(n, item.pending.job_id, item.reward) for n, items in settled for item in items]
    assert sorted(kept) == sorted(earned)
    submitted = [step.record["synthesis/submitted"] for step in steps]
    assert max(submitted) <= 3, "one group a step: three places for synthetic samples"
    assert steps[1].record["diversity/baseline"] is None


def test_a_rejected_sibling_counts_as_no_diversity_within_its_bundle(tmp_path: Path) -> None:
    with watched_trainer(tmp_path, min_change=SOME_CHANGE, **SIBLINGS) as trainer:
        steps = [trainer.watched_step() for _ in range(6)]
    mixed = 0
    for step in steps:
        drawn = {group.drawn.job_id: group for group in step.scored}
        bundles = {item.pending.bundle for item in step.settled}
        for bundle in bundles:
            members = [item for item in step.settled if item.pending.bundle == bundle]
            rejected = [item for item in members if item.pending.job_id not in drawn]
            assert all(item.pending.diversity == 0.0 for item in rejected)
            mixed += 0 < len(rejected) < len(members)
    rejects = sum(step.record["synthesis/rejected"] for step in steps)
    assert rejects > 0 and mixed > 0
    assert trainer.client.ledger.counts.unpaired == sum(
        step.record["synthesis/unpaired"] for step in steps
    )


def test_random_scenes_are_drawn_in_the_same_bundles_without_rewards(tmp_path: Path) -> None:
    seen: dict[str, list[Step]] = {}
    for name in ("syn-grpo", "random-scene"):
        with watched_trainer(tmp_path / name, method__name=name, **SIBLINGS) as trainer:
            seen[name] = [trainer.watched_step() for _ in range(4)]
    for ours, theirs in zip(*seen.values(), strict=True):
        assert theirs.record["synthesis/settled"] == 0
        assert theirs.record["diversity/reward"] is None
        assert ours.record["synthesis/submitted"] <= theirs.record["synthesis/submitted"] <= 3
    parents = Counter(group.drawn.sample.parent for group in seen["random-scene"][1].scored)
    assert sorted(parents.values()) == [3, 3] and None in parents


def train(folder: Path, *flags: str, **changed: Any) -> None:
    command = warm_processes.start(folder.parent, *train_arguments(folder, *flags, **changed))
    assert command.wait() == 0, command.stderr


def test_a_run_killed_in_the_middle_of_a_bundle_ends_with_the_same_numbers(tmp_path: Path) -> None:
    """Checkpoints come after every second step: descriptions wait for their rewards in all."""
    changed = SIBLINGS | {"trainer__steps": 5}
    train(tmp_path / "whole", **changed)
    killed = warm_processes.start(tmp_path, *train_arguments(tmp_path / "cut", **changed))
    killed.kill_when(lambda: len(metrics(tmp_path / "cut")) >= 3)
    train(tmp_path / "cut", "--resume", **changed)
    expected = metrics(tmp_path / "whole")
    assert sum(record["synthesis/settled"] for record in expected[2:]) > 0
    assert without_time(metrics(tmp_path / "cut")) == without_time(expected)
    assert pool_contents(tmp_path / "cut") == pool_contents(tmp_path / "whole")


def test_two_processes_are_one(tmp_path: Path) -> None:
    train_with_one(tmp_path / "one", trainer__steps=3, **SIBLINGS)
    train_with_two(tmp_path / "two", trainer__steps=3, **SIBLINGS)
    assert_same_run(tmp_path / "two", tmp_path / "one")
    assert sum(record["synthesis/settled"] for record in metrics(tmp_path / "two")) > 0


@pytest.mark.slow
def test_the_rooms_configuration_with_one_word_changed(tmp_path: Path) -> None:
    changed = ["method.credit=siblings", "synthesis.mode=inline", "trainer.steps=6"]
    changed += ["evaluation.sets={}", "logging.trackers=[]", "data.train.0.count=24"]
    run_training(load_config(ROOMS, changed), tmp_path, False, console=Console(quiet=True))
    records = metrics(tmp_path)
    assert len(records) == 6 and sum(record["synthesis/settled"] for record in records) >= 6
    for record in records:
        assert record["synthesis/submitted"] <= 4, "two groups of two: four synthetic places"


def batches(folder: Path) -> dict[str, set[int]]:
    """The steps in which the images of each bundle were first rolled out."""
    query = (
        "SELECT j.bundle, (SELECT MIN(step) FROM observations WHERE sample = s.number) "
        "FROM jobs j JOIN samples s ON s.job = j.id"
    )
    with Pool.open(folder).database.read() as connection:
        rows = connection.execute(query).fetchall()
    steps: dict[str, set[int]] = {}
    for bundle, step in rows:
        assert bundle is not None
        if step is not None:
            steps.setdefault(bundle, set()).add(step)
    return steps


def assert_drawn_together(folder: Path) -> None:
    steps = batches(folder)
    assert len(steps) >= 2
    assert all(len(of_bundle) == 1 for of_bundle in steps.values()), steps
    records = metrics(folder)
    assert sum(record["synthesis/settled"] for record in records) >= 2
    unpaired = sum(record["synthesis/unpaired"] for record in records)
    rejected = sum(record["synthesis/rejected"] for record in records)
    assert unpaired <= rejected


ASYNC = SIBLINGS | {"synthesis__mode": "async", "trainer__steps": 20}


@pytest.mark.slow
def test_siblings_painted_by_workers_beside_are_drawn_together(tmp_path: Path) -> None:
    changed = {"synthesis__workers": 2, "method__refill_zero_variance": "true"}
    train(tmp_path / "run", **ASYNC, **changed)
    assert_drawn_together(tmp_path / "run")


def test_siblings_painted_on_a_server_are_drawn_together(tmp_path: Path) -> None:
    server = serve(tmp_path, "--generator", "rooms", "--workers", "1")
    try:
        train(tmp_path / "run", **ASYNC, server__url=server.url)
    finally:
        server.command.kill()
    assert_drawn_together(tmp_path / "run")
