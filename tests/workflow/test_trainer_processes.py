"""Two processes with the same global batch train like one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import warm_processes
from kept_responses import rows_of
from ports import reserved_port
from quick_runs import metrics, pool_contents, train_arguments, without_time
from transformers import AutoModelForImageTextToText

MIXED = (
    "[{format: rooms, split: train, count: 8, weight: 2}, "
    "{format: rooms, split: train, task: ovd, count: 8}, "
    "{format: rooms, split: train, task: isr, count: 8}]"
)
SHARDED = {
    "trainer__sharding": "full",
    "method__beta": 0.1,
    "evaluation__sets": "{test: {format: rooms, split: test, count: 2}}",
}
TRACKED = {"logging__trackers": "[tensorboard]"}


def start_two(run: Path, *flags: str, **changed: Any) -> list[warm_processes.Command]:
    """Two processes that find each other as under ``accelerate launch``."""
    port = str(reserved_port())
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    return [
        warm_processes.start(
            run.parent / f"rank-{rank}",
            *train_arguments(run, *flags, **changed),
            **common,
            MASTER_PORT=port,
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            ACCELERATE_USE_CPU="true",
            OMP_NUM_THREADS="1",
        )
        for rank in (0, 1)
    ]


def train_with_two(run: Path, *flags: str, **changed: Any) -> None:
    for command in start_two(run, *flags, **changed):
        assert command.wait() == 0, command.stderr


def train_with_one(run: Path, *flags: str, **changed: Any) -> None:
    command = warm_processes.start(run.parent, *train_arguments(run, *flags, **changed))
    assert command.wait() == 0, command.stderr


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Metrics, samples and jobs; floating-point sums may be added in another order. Each process
    decides by itself whether it keeps its prompts."""
    records, expected = without_time(metrics(ours)), without_time(metrics(theirs))
    assert [record.keys() for record in records] == [record.keys() for record in expected]
    for record, wanted in zip(records, expected, strict=True):
        unequal = {
            name: (record[name], value)
            for name, value in wanted.items()
            if name != "rollout/kept_prompts"
            if (value is None) != (record[name] is None)
            or (value is not None and record[name] != pytest.approx(value, rel=5e-4, abs=2e-6))
        }
        assert not unequal, f"step {record['step']}"
    assert [row[:2] for row in pool_contents(ours)] == [row[:2] for row in pool_contents(theirs)]


FEW_GROUPS = {"trainer__groups_per_step": 1, "pool__synthetic_ratio": 1}
REFILL = {"trainer__groups_per_step": 3, "method__refill_zero_variance": "true"}
THREE_TASKS = {"trainer__groups_per_step": 5, "data__train": MIXED}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(FEW_GROUPS | {"method__beta": 0.1}, id="fewer groups than processes"),
        pytest.param(REFILL, id="refill", marks=pytest.mark.slow),
        pytest.param(THREE_TASKS, id="three tasks", marks=pytest.mark.slow),
        pytest.param(FEW_GROUPS | SHARDED, id="sharded", marks=pytest.mark.slow),
        pytest.param({"model__lora": "{rank: 4}"}, id="adapters", marks=pytest.mark.slow),
    ],
)
def test_two_processes_are_one(tmp_path: Path, changed: dict[str, Any]) -> None:
    train_with_one(tmp_path / "one", trainer__steps=2, **changed)
    train_with_two(tmp_path / "two", trainer__steps=2, **changed)
    assert sum(record["synthesis/settled"] for record in metrics(tmp_path / "one")) > 0
    assert_same_run(tmp_path / "two", tmp_path / "one")
    exact = ("step", "group_index", "response_index", "sample_id", "text", "accuracy", "in_loss")
    ours, theirs = (
        [[row[name] for name in exact] + [row["token_ids"]] for row in rows_of(tmp_path / run)]
        for run in ("two", "one")
    )
    assert ours == theirs


@pytest.mark.slow
def test_a_run_of_two_processes_is_resumed_by_any_number(tmp_path: Path) -> None:
    changed = {"trainer__groups_per_step": 4, "trainer__token_budget": 512, "method__loss": "dapo"}
    run, alone, whole = tmp_path / "run", tmp_path / "alone", tmp_path / "whole"
    train_with_two(run, trainer__steps=2, trainer__sharding="full", **changed)
    shutil.copytree(run, alone)
    train_with_two(run, "--resume", trainer__sharding="full", **changed)
    train_with_one(alone, "--resume", **changed)
    train_with_one(whole, **changed)
    assert_same_run(run, whole)
    assert_same_run(alone, whole)
    assert_same_weights(run, whole)


def assert_same_weights(ours: Path, theirs: Path) -> None:
    """As plain transformers load them; nearly all, see test_sharding.py."""
    model, other = (
        AutoModelForImageTextToText.from_pretrained(r / "final") for r in (ours, theirs)
    )
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    gaps = torch.cat([(a - b).abs().flatten() for a, b in pairs])
    assert (gaps > 2e-6).float().mean() < 1e-3


def test_what_stops_the_main_process_stops_all(tmp_path: Path) -> None:
    train_with_one(tmp_path / "run", trainer__steps=1)
    commands = start_two(tmp_path / "run", trainer__steps=1)
    assert [command.wait() for command in commands] == [2, 2]
    (first,), (second,) = (command.stderr.splitlines() for command in commands)
    assert first == second and "--resume" in first


@pytest.mark.slow
def test_accelerate_launch_with_groups_that_cannot_be_shared_evenly(tmp_path: Path) -> None:
    changed = {"trainer__groups_per_step": 3, "trainer__sharding": "full"} | TRACKED
    train_with_one(tmp_path / "one", **changed)
    launch = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--cpu"]
    launch += ["--main_process_port", str(reserved_port()), "-m", "syngrpo"]
    done = subprocess.run(
        [sys.executable, *launch, *train_arguments(tmp_path / "two", **changed)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "two", tmp_path / "one")
    assert sum(record["synthesis/settled"] for record in metrics(tmp_path / "two")) > 0
    assert list((tmp_path / "two" / "curves").glob("events.*"))
    assert "diversity" in done.stdout  # the summary, once
    assert done.stdout.count("report.html") == 1
