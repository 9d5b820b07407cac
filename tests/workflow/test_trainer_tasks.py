"""Runs of several tasks: every task has its own baseline and metrics, and learns by itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mixed_samples import TASKS, counted, found, nothing_found
from quick_runs import CONTRACT, metrics, quick_config
from watched_trainer import Step, watched_trainer

from syngrpo.cli.train import run_training
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo.workflow.groups import Group
from syngrpo.workflow.step_metrics import PER_TASK, StepMetrics
from syngrpo_rooms.dataset import rooms_samples


def mean(groups: Sequence[Group], value: Callable[[Group], Any]) -> float | None:
    numbers = [number for group in groups for number in np.ravel(value(group))]
    return float(np.mean(numbers)) if numbers else None


def assert_metrics_of_a_task(step: Step, task: str) -> None:
    groups = [group for group in step.scored if group.task == task]
    rewards = [item.reward for item in step.settled if item.pending.task == task]
    variances = {id(group): group.accuracy.double().var(correction=0) for group in groups}
    wanted = {
        "reward/accuracy": mean(groups, lambda g: g.accuracy),
        "reward/format": mean(groups, lambda g: g.format),
        "diversity/response": mean(groups, lambda g: 4 * variances[id(g)]),
        "diversity/zero_variance_groups": mean(groups, lambda g: float(variances[id(g)] < 1e-9)),
        "diversity/reward": float(np.mean(rewards)) if rewards else None,
        "entropy/token": mean(groups, lambda g: g.entropy),
    }
    for name, value in wanted.items():
        found = step.record[f"{name}/{task}"]
        assert found == (None if value is None else pytest.approx(value, abs=1e-6)), name


def hand_made() -> list[Sample]:
    """Questions that the starter has never seen: it answers most of them badly."""
    pictures = rooms_samples("train", 6)
    return [*pictures, *map(found, pictures[:3]), *map(counted, pictures[3:])]


def test_a_mixed_run_measures_every_task_apart(tmp_path: Path) -> None:
    quick = {"rollout__max_new_tokens": 40, "rollout__group_size": 3}
    with watched_trainer(tmp_path, seeds=hand_made(), **quick) as trainer:
        steps = [trainer.watched_step() for _ in range(4)]
        baselines = trainer.method.baselines()
    diversities: dict[str, list[float]] = {task: [] for task in TASKS}
    for step in steps:
        assert step.record.keys() >= {*CONTRACT, *(f"{n}/{t}" for n in PER_TASK for t in TASKS)}
        for task in TASKS:
            assert_metrics_of_a_task(step, task)
        measured = {report.job_id: report.diversity for report in step.reports}
        for item in step.settled:  # the gate refused those that no group has measured
            diversities[item.pending.task].append(measured.get(item.pending.job_id, 0.0))
    assert baselines.keys() == {task for task, values in diversities.items() if values}
    assert len(baselines) > 1
    for task in baselines:
        values = diversities[task]
        weights = 0.95 ** np.arange(len(values))[::-1]
        assert baselines[task] == pytest.approx(np.average(values, weights=weights))
        assert steps[-1].record[f"diversity/baseline/{task}"] == pytest.approx(baselines[task])
    assert steps[-1].record["diversity/baseline"] == pytest.approx(np.mean([*baselines.values()]))


def test_random_scenes_are_painted_for_every_task(tmp_path: Path) -> None:
    quick = {"rollout__max_new_tokens": 8, "rollout__group_size": 2, "trainer__groups_per_step": 12}
    seeds = {seed.id: seed for seed in hand_made()}
    with watched_trainer(
        tmp_path, seeds=[*seeds.values()], method__name="random-scene", **quick
    ) as trainer:
        step = trainer.watched_step()
        pool = Pool.open(tmp_path)
        children = [one.sample for one in pool.samples("synthetic")]
        pool.close()
    assert step.record["synthesis/submitted"] == 24
    assert step.record["synthesis/admitted"] == len(children) > 12
    assert {child.task for child in children} == set(TASKS)
    for child in children:
        parent = seeds[str(child.parent)]
        assert (child.answer, child.dataset) == (parent.answer, parent.dataset)


def test_pictures_without_labels_are_trained_on_and_never_painted(tmp_path: Path) -> None:
    seeds = [nothing_found(picture) for picture in rooms_samples("train", 6)]
    with watched_trainer(tmp_path, seeds=seeds, method__name="random-scene") as trainer:
        step = trainer.watched_step()
    assert len(step.groups) == 4
    assert step.record["synthesis/skipped"] == 4 * 2
    assert step.record["synthesis/submitted"] == step.record["pool/synthetic"] == 0


def test_descriptions_written_for_them_are_counted(tmp_path: Path) -> None:
    with watched_trainer(tmp_path) as trainer:
        reports = trainer.watched_step().reports
        before, waiting = trainer.client.pool_stats(), len(trainer.client.ledger)
        trainer.metrics = StepMetrics()
        trainer.submit([replace(report, parenthood="nothing to keep") for report in reports])
        record = trainer.metrics.record(2)
        assert record["synthesis/skipped"] == sum(len(r.descriptions) for r in reports) > 0
        assert record["synthesis/submitted"] == 0
        assert trainer.client.pool_stats() == before and len(trainer.client.ledger) == waiting


MIXED = (
    "[{format: rooms, split: train, task: rec, count: 8, weight: 2}, "
    "{format: rooms, split: train, task: ovd, count: 8, weight: 1}, "
    "{format: rooms, split: train, task: isr, count: 8, weight: 1}]"
)


def test_one_config_mixes_datasets_by_weight(tmp_path: Path) -> None:
    config = quick_config(data__train=MIXED, trainer__groups_per_step=4, trainer__steps=3)
    run_training(config, tmp_path, resume=False)
    records = metrics(tmp_path)
    assert [record["step"] for record in records] == [1, 2, 3]
    pool = Pool.open(tmp_path)
    seen = [one for kind in ("seed", "synthetic") for one in pool.samples(kind)]
    visits = {task: sum(one.visits for one in seen if one.sample.task == task) for task in TASKS}
    assert visits == {"rec": 6, "ovd": 3, "isr": 3}
    names = {one.sample.task: one.sample.dataset for one in seen}
    assert names == {task: f"rooms-{task}-train" for task in TASKS}
    assert all(
        record[f"reward/accuracy/{task}"] is not None for record in records for task in TASKS
    )
    assert "by task" in (tmp_path / "report.html").read_text()
    pool.close()
