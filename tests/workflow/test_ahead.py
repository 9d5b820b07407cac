"""Batches that a server samples while a step updates the policy are those of the weights of
then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow.dataset import dataset
from quick_runs import metrics, quick_config
from rich.console import Console
from rollout_server import Server, rollout_server

from syngrpo.cli.train import run_training
from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

STEPS = 4
SAME = ("reward/accuracy", "diversity/response", "entropy/token", "loss", "grad_norm", "kl")


@pytest.fixture
def server() -> Iterator[Server]:
    with rollout_server() as server:
        yield server


def run(folder: Path, server: Server, resume: bool = False, **changed: Any) -> list[dict[str, Any]]:
    usual = {"method__name": "grpo", "pool__seed_coverage": 1, "trainer__steps": STEPS}
    config = quick_config(
        rollout__server=server.url, logging__responses__keep="all", **{**usual, **changed}
    )
    run_training(config, folder, resume=resume, console=Console(quiet=True))
    return metrics(folder)


def answered(folder: Path, step: int) -> tuple[list[str], list[list[str]]]:
    """Return the samples of a step, in the order of the batch, and the texts of their responses."""
    columns = ["step", "sample_id", "group_index", "response_index", "text"]
    rows = dataset(folder / "responses", format="parquet").to_table(columns).to_pylist()
    groups: dict[int, list[str]] = {}
    names: dict[int, str] = {}
    for row in sorted(rows, key=lambda row: (row["group_index"], row["response_index"])):
        if row["step"] == step:
            names[row["group_index"]] = row["sample_id"]
            groups.setdefault(row["group_index"], []).append(row["text"])
    return list(names.values()), list(groups.values())


def versions(folder: Path) -> list[int]:
    """Return the version of the policy that each step's measurements in the pool are of."""
    query = "SELECT DISTINCT step, policy_version FROM observations ORDER BY step"
    with closing(sqlite3.connect(folder / "pool.db")) as database:
        return [version for _, version in database.execute(query)]


def answers_of_the_starter(names: list[str], step: int) -> list[list[str]]:
    """Return what the model says before training to the samples of this step."""
    policy = load_policy(STARTER_DIR)
    known = {sample.id: sample for sample in rooms_samples("train", 24)}
    samples = [known[name] for name in names]
    prompts = [encode(policy, one, get_task("rec").prompt(one, "brief")) for one in samples]
    seeds = [
        int(np.random.default_rng([0, step - 1, place, *b"rollout"]).integers(2**62))
        for place in range(len(names))
    ]
    sampling = Sampling(max_new_tokens=64, stop_at="</answer>")
    return [[one.text for one in group] for group in rollout(policy, prompts, 4, sampling, seeds)]


def test_batches_are_of_the_weights_of_the_step_before(tmp_path: Path, server: Server) -> None:
    now = run(tmp_path / "now", server)
    ahead = run(tmp_path / "ahead", server, rollout__async_steps=1)
    assert [row["rollout/staleness"] for row in now] == [0] * STEPS
    assert [row["rollout/staleness"] for row in ahead] == [0, 1, 1, 1]
    assert versions(tmp_path / "now") == [0, 1, 2, 3]
    assert versions(tmp_path / "ahead") == [0, 0, 1, 2]
    assert {name: ahead[0][name] for name in SAME} == {name: now[0][name] for name in SAME}
    of_starter = {
        name: [
            answers_of_the_starter(samples, step) == texts
            for step in (1, 2, 3)
            for samples, texts in [answered(tmp_path / name, step)]
        ]
        for name in ("now", "ahead")
    }
    assert of_starter == {"now": [True, False, False], "ahead": [True, True, False]}
    for row in ahead[1:]:
        assert row["rollout/logp_diff"] > 10 * now[1]["rollout/logp_diff"]
    batches = [answered(tmp_path / "ahead", step)[0] for step in (1, 2, 3)]
    assert len({name for names in batches for name in names}) == 9


def test_a_resumed_run_begins_its_batches_anew(tmp_path: Path, server: Server) -> None:
    run(tmp_path, server, rollout__async_steps=2, trainer__steps=3, trainer__checkpoint_every=3)
    rows = run(tmp_path, server, resume=True, rollout__async_steps=2, trainer__steps=6)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["rollout/staleness"] for row in rows] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"method__refill_zero_variance": "true"}, "draws again within a step"),
        ({"method__name": "noisy-rollout"}, "distorts images by the step"),
        (
            {"method__name": "syn-grpo", "synthesis__mode": "inline"},
            "synthesis.mode inline paints within a step",
        ),
    ],
)
def test_what_cannot_go_on_while_batches_are_ahead(changed: dict[str, Any], told: str) -> None:
    settings = {"method__name": "grpo", "rollout__server": "http://127.0.0.1:1", **changed}
    with pytest.raises(InputError, match=rf"rollout.async_steps 1 samples .*{told}"):
        quick_config(rollout__async_steps=1, **settings)


@pytest.mark.parametrize(
    ("changed", "least"),
    [
        ({"method__max_staleness": 2, "trainer__updates_per_rollout": 3}, 3),
        ({"method__max_staleness": 9, "trainer__updates_per_rollout": 2}, 10),
    ],
)
def test_a_staleness_that_no_description_can_meet_is_refused(
    changed: dict[str, Any], least: int
) -> None:
    ahead = (
        {"rollout__async_steps": 2, "rollout__server": "http://127.0.0.1:1"} if least == 10 else {}
    )
    usual = {"method__name": "syn-grpo", "synthesis__mode": "async"}
    with pytest.raises(InputError, match=f"after {least} policy versions or more .* all would be"):
        quick_config(**usual, **changed, **ahead)
    enough = {**changed, "method__max_staleness": least}
    assert quick_config(**usual, **enough, **ahead).method.max_staleness == least
    quick_config(**{**usual, "method__name": "random-scene"}, **changed, **ahead)


@pytest.mark.slow
def test_images_are_painted_while_batches_are_ahead(tmp_path: Path, server: Server) -> None:
    rows = run(
        tmp_path,
        server,
        method__name="syn-grpo",
        synthesis__mode="async",
        synthesis__workers=1,
        rollout__async_steps=1,
        trainer__steps=40,
        pool__seed_coverage=0,
    )
    assert [row["rollout/staleness"] for row in rows] == [0] + [1] * 39
    assert rows[-1]["pool/synthetic"] > 0
    assert sum(row["synthesis/settled"] for row in rows) > 0
    assert all(row["reward/format"] > 0.5 for row in rows)
