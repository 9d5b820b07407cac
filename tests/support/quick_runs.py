"""Options that shorten a run with the demo's configuration to seconds, for the tests of
training."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from syngrpo.config import load_config
from syngrpo.workflow.run_options import RunOptions

CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"

CONTRACT = [
    "step",
    "loss",
    "reward/accuracy",
    "reward/format",
    "diversity/response",
    "diversity/response_seed",
    "diversity/response_synthetic",
    "diversity/baseline",
    "diversity/reward",
    "diversity/zero_variance_groups",
    "entropy/token",
    "synthesis/submitted",
    "synthesis/dropped",
    "synthesis/admitted",
    "synthesis/rejected",
    "synthesis/settled",
    "synthesis/stale",
    "pool/seed",
    "pool/synthetic",
    "pool/depth_mean",
    "time/step_s",
    "time/rollout_s",
    "time/update_s",
    "time/wait_data_s",
    "kl",
    "clip_fraction",
    "grad_norm",
    "tokens_per_s",
]
"""The metrics that every run writes."""

QUICK = {
    "data.train": "[{format: rooms, split: train, count: 24}]",
    "method.scene_beta": 0,  # no KL, so that gradients are those of the rewards alone
    "rollout.group_size": 4,
    "rollout.max_new_tokens": 64,
    "trainer.groups_per_step": 3,
    "trainer.steps": 3,
    "trainer.checkpoint_every": 2,
    "synthesis.mode": "inline",
    "evaluation.sets": "{}",
    "logging.trackers": "[]",
}


def overrides(**changed: Any) -> list[str]:
    """Return QUICK as ``key=value``, with changes. ``__`` in a name stands for the dot of the
    key."""
    named = {name.replace("__", "."): value for name, value in changed.items()}
    return [f"{key}={value}" for key, value in (QUICK | named).items()]


def quick_config(**changed: Any) -> RunOptions:
    return load_config(CONFIG, overrides(**changed))


def train_arguments(run_dir: Path, *flags: str, **changed: Any) -> list[str]:
    """Return the command line of a quick run."""
    options = [word for override in overrides(**changed) for word in ("--set", override)]
    return ["train", str(CONFIG), "--run-dir", str(run_dir), *flags, *options]


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl. A line that is just being written is left out."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what does not depend on the speed of the machine."""
    return [
        {k: v for k, v in record.items() if not k.startswith("time/") and k != "tokens_per_s"}
        for record in records
    ]


def pool_contents(run_dir: Path) -> list[tuple[Any, ...]]:
    """Check the file of a run's pool; return every sample, standing, job and observation in it."""
    database = sqlite3.connect(run_dir / "pool.db")
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        queries = (
            "SELECT id, parent, job, image FROM samples ORDER BY number",
            "SELECT state, visits, diversity_mean FROM standing ORDER BY number",
            "SELECT id, state, attempts, reason, scores, cursor, reward, settled FROM jobs "
            "ORDER BY number",
            "SELECT sample, step, policy_version, diversity FROM observations ORDER BY number",
        )
        return [row for query in queries for row in database.execute(query)]
    finally:
        database.close()
