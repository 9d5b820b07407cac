"""A run directory with made-up numbers and real pictures: a pool that the real parts filled."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import DescriptionReward, Observation
from syngrpo.workflow.step_metrics import PER_TASK
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import random_description

METRICS = {
    "loss": (0.4, 0.1),
    "reward/accuracy": (0.3, 0.6),
    "reward/format": (0.93, 0.99),
    "diversity/response": (0.34, 0.2),
    "diversity/response_seed": (0.34, 0.16),
    "diversity/response_synthetic": (0.38, 0.27),
    "diversity/baseline": (0.33, 0.21),
    "diversity/reward": (-0.1, 0.4),
    "diversity/zero_variance_groups": (0.02, 0.15),
    "entropy/token": (1.6, 0.9),
    "kl": (0.0, 0.03),
    "clip_fraction": (0.0, 0.02),
    "grad_norm": (0.9, 0.5),
    "time/step_s": (0.62, 0.58),
    "time/rollout_s": (0.35, 0.33),
    "time/update_s": (0.22, 0.2),
    "time/wait_data_s": (0.0002, 0.0003),
    "tokens_per_s": (4000, 4200),
}
"""Metric → (value at the start, value at the end)."""


PLAIN = "plain red wall, blue concrete floor, soft daylight, nothing else stands around"
"""Looks the same whatever the seed."""


def write_run(
    directory: Path,
    steps: int,
    planned: int,
    synthesis: bool = True,
    tasks: Sequence[str] = ("rec",),
) -> Path:
    """A run of ``planned`` steps that got as far as ``steps``; evaluated before and, if complete,
    after. With several tasks the held-out sets hold all of them."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    config = (
        "model: {path: starter}\n"
        f"method: {{name: {'syn-grpo' if synthesis else 'grpo'}}}\n"
        f"trainer: {{steps: {planned}, seed: 0}}\nsynthesis: {{generator: rooms}}\n"
    )
    (directory / "config.yaml").write_text(config)
    if synthesis:
        fill_pool(directory, families=4 if steps < 50 else 12, tasks=tasks)
    rows = [_row(step, steps, synthesis, tasks, rng) for step in range(1, steps + 1)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    accuracies = [(0, "test", 0.41), (0, "ood", 0.33)]
    if steps == planned:
        accuracies += [(steps, "test", 0.55), (steps, "ood", 0.5)]
    measure = _evaluation if len(tasks) == 1 else _mixed_evaluation
    evaluations = [measure(*accuracy) for accuracy in accuracies]
    lines = "".join(json.dumps(row) + "\n" for row in evaluations)
    (directory / "evaluation.jsonl").write_text(lines)
    return directory


def fill_pool(
    directory: Path, families: int, children: int = 3, tasks: Sequence[str] = ("rec",)
) -> None:
    """Rooms seeds of every task, children painted from random descriptions, diversities observed
    on both, and rewards of the descriptions."""
    rng = np.random.default_rng(1)
    seeds = [
        replace(seed, dataset=task)
        for task in tasks
        for seed in rooms_samples("train", families, task=task)
    ]
    pool = Pool.open(directory)
    pool.add_seeds(seeds)
    client = InlineClient(SynthesisSettings(directory, generator="rooms"), SamplingPolicy())
    for seed in seeds:
        texts = [PLAIN, *(random_description(rng) for _ in range(children - 1))]
        client.submit([JobRequest(seed.id, t, 7, client.fingerprint) for t in [*texts, PLAIN]])
        client.submit([JobRequest(seed.id, PLAIN, 8, client.fingerprint)])
    drawn = [s.sample.id for s in pool.samples("synthetic")] + [seed.id for seed in seeds]
    pool.observe(Observation(name, 1, 1, rng.uniform(0, 0.8), rng.uniform()) for name in drawn)
    earned = np.random.default_rng(2)
    pool.record_rewards(
        [
            DescriptionReward(outcome.job_id, 1 + number % 3, earned.uniform(-2, 2))
            for number, outcome in enumerate(client.outcomes())
        ]
    )
    client.close()
    pool.close()


def _row(
    step: int, steps: int, synthesis: bool, tasks: Sequence[str], rng: np.random.Generator
) -> dict[str, float | None]:
    row: dict[str, float | None] = {"step": step}
    for name, (start, end) in METRICS.items():
        value = start + (end - start) * (1 - math.exp(-3 * step / steps))
        row[name] = value * (1 + 0.15 * rng.standard_normal())
        if not synthesis and name in ("diversity/response_synthetic", "diversity/reward"):
            row[name] = None
    counts = {"submitted": 16, "dropped": 1, "admitted": 13, "rejected": 2, "settled": 4}
    for name, count in counts.items():
        row[f"synthesis/{name}"] = int(rng.poisson(count)) if synthesis else 0
    for name in PER_TASK:
        for number, task in enumerate(tasks):
            whole = row.get(name)
            row[f"{name}/{task}"] = whole if whole is None else whole * (1 - 0.2 * number)
    row["synthesis/stale"], row["synthesis/skipped"] = 0, len(tasks) - 1
    row["pool/seed"], row["pool/synthetic"] = 200, 13 * step if synthesis else 0
    return row


def _evaluation(step: int, name: str, accuracy: float) -> dict[str, object]:
    metrics = {
        "greedy/acc@0.5": accuracy,
        "greedy/acc@0.75": accuracy * 0.6,
        "greedy/accuracy": accuracy * 0.9,
        "greedy/format": 0.98,
        "sampled/acc@0.5": accuracy * 0.7,
        "sampled/accuracy": accuracy * 0.65,
        "diversity/response": 0.3,
    }
    intervals = {metric: [value - 0.04, value + 0.05] for metric, value in metrics.items()}
    kinds = {kind: metrics | {"samples": 50} for kind in ("attribute", "ordinal", "relation")}
    counts = {"greedy/unreadable": 3, "samples": 100}
    return {
        "step": step,
        "set": name,
        "metrics": metrics | counts,
        "intervals": intervals,
        "kinds": kinds,
    }


def _mixed_evaluation(step: int, name: str, accuracy: float) -> dict[str, object]:
    """REC, OVD and ISR in one set, each with its own metrics."""
    metrics = {
        "greedy/accuracy": accuracy * 0.9,
        "rec/greedy/acc@0.5": accuracy,
        "rec/sampled/acc@0.5": accuracy * 0.7,
        "ovd/greedy/map": accuracy * 0.5,
        "ovd/greedy/ap50": accuracy * 0.8,
        "ovd/sampled/accuracy": accuracy * 0.4,
        "isr/greedy/accuracy": accuracy * 1.2,
        "isr/sampled/accuracy": accuracy * 1.1,
    }
    return {
        "step": step,
        "set": name,
        "metrics": metrics | {"samples": 300, "rec/samples": 100},
        "intervals": {metric: [value - 0.04, value + 0.05] for metric, value in metrics.items()},
        "kinds": {"isr/count": {"greedy/accuracy": accuracy, "samples": 20}},
    }
