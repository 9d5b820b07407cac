"""Turns the directory of a finished run into the result of its cell.

``runner`` calls ``collect`` when the process of a cell has ended. The result holds everything that
the report needs, so that the directory can be deleted afterwards.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rooms.attempt import Spent
from experiments.rooms.axes import axes_of
from experiments.rooms.machine import circumstances
from experiments.rooms.matrix import ROOT, Cell, Matrix, plain
from experiments.rooms.persistence import PERSISTENCE, persistence
from experiments.rooms.result import (
    ACCURACY,
    HOW,
    PER_MILLE,
    Accuracies,
    HeldOut,
    Result,
    world,
)
from experiments.rooms.settings import STARTER
from syngrpo.method import METHODS
from syngrpo.pages.description_words import word_shares
from syngrpo.pages.pool_gallery import early_and_late_descriptions, open_pool
from syngrpo.pages.run_data import RunData, read_run
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.serving.json_lines import read_lines
from syngrpo.workflow.run_options import RunOptions

SERIES = (
    "diversity/response",
    "diversity/response_seed",
    "diversity/response_synthetic",
    "diversity/zero_variance_groups",
    "diversity/zero_variance_groups_seed",
    "diversity/zero_variance_groups_synthetic",
    "diversity/baseline",
    "diversity/reward",
    "entropy/token",
    "reward/accuracy",
    "reward/accuracy_seed",
    "reward/accuracy_synthetic",
    "time/step_s",
)
COUNTS = ("submitted", "dropped", "admitted", "rejected", "settled", "stale", "dead")
POINTS = 100
"""Largest number of points in the series of a metric."""
WORDS = 20
"""Number of words whose shares of the descriptions are stored."""


def collect(matrix: Matrix, cell: Cell, run: Path, cost: Spent) -> Result:
    """Return the result of a cell from its run directory.

    Raises InputError if an evaluation or the pool is missing, or if the samples of a held-out set
    changed during the run.
    """
    options = matrix.options(cell)
    trained = cell.method != STARTER
    data = read_run(run)
    held_out = _held_out(run, cell)
    steps = options.trainer.steps if trained else 0
    for name in options.evaluation.sets:
        if name not in held_out or held_out[name].at(steps) is None:
            raise InputError(f"{run} has no evaluation of {name} at step {steps}; run it again")
    command = ["syngrpo", *matrix.command(cell, Path("RUN"), resume=False)]
    return Result(
        cell=cell,
        config=plain(options.as_values()),
        world=world(options.model.path),
        command=shlex.join(word.replace(f"{ROOT}/", "") for word in command),
        circumstances={
            "commit": " → ".join(cost.commits),
            **circumstances(),
            "seconds": round(cost.seconds, 1),
            "attempts": cost.attempts,
        },
        held_out=held_out,
        series=_series(data) if trained else {},
        means=_means(data) | _persistence(data) if trained else {},
        synthesis=_synthesis(data, options)
        if METHODS.get(options.method.name).paints and trained
        else {},
    )


def _held_out(run: Path, cell: Cell) -> dict[str, HeldOut]:
    """Return set → its evaluations.

    ``syngrpo evaluate``, which measures the starter, writes the task in front of the name of the
    set, as in rec-test; here it is removed.
    """
    metric = ACCURACY[cell.task]
    # After an interruption a run may write a line again. The last one counts.
    lines = {(row["step"], row["set"]): row for row in read_lines(run / "evaluation.jsonl")}
    found: dict[str, HeldOut] = {}
    for (step, set_name), row in sorted(lines.items()):
        samples, columns = row["samples"], row["per_sample"]
        one = found.setdefault(set_name.removeprefix(f"{cell.task}-"), HeldOut(samples, []))
        if one.samples != samples:
            raise InputError(f"{run}: set {set_name} changed on the way; delete the directory")
        values = {h: [round(v * PER_MILLE) for v in columns[f"{h}/{metric}"]] for h in HOW}
        metrics = {name: _rounded(value) for name, value in row["metrics"].items()}
        one.evaluations.append(Accuracies(step, **values, metrics=metrics))
    return found


def _series(data: RunData) -> dict[str, list[float | None]]:
    """Return metric → its means over at most ``POINTS`` parts of the run, and the last step of each
    part. A mean is None if no step of the part has the metric."""
    parts = np.array_split(np.arange(len(data.metrics)), min(POINTS, len(data.metrics)))
    series: dict[str, list[float | None]] = {
        "step": [data.metrics[part[-1]]["step"] for part in parts]
    }
    for name in SERIES:
        rows = [data.metrics[i].get(name) for i in range(len(data.metrics))]
        series[name] = [_mean([rows[i] for i in part]) for part in parts]
    return series


def _means(data: RunData) -> dict[str, float]:
    """Return metric → its mean over all steps that have it. For the time of a step it is the
    median."""
    curves = {name: data.curve(name).values for name in SERIES}
    means = {name: _rounded(float(np.mean(values))) for name, values in curves.items() if values}
    return means | {"time/step_s": _rounded(float(np.median(curves["time/step_s"])))}


def _persistence(data: RunData) -> dict[str, float]:
    pool = _pool(data)
    found = persistence(pool)
    pool.close()
    return {} if found is None else {PERSISTENCE: _rounded(found)}


def _pool(data: RunData) -> Pool:
    pool = open_pool(data.directory)
    if pool is None:
        raise InputError(f"{data.directory} has no pool; delete the directory and run again")
    return pool


def _synthesis(data: RunData, options: RunOptions) -> dict[str, Any]:
    """Return what became of the descriptions of a run: counts, rejections by reason, words and
    examples from the first and the last third of the run, and where the pictures lie on the axes
    of the view and the light (``axes``)."""
    pool = _pool(data)
    early, late = early_and_late_descriptions(pool)
    rejected = pool.stats().rejected
    axes = axes_of(pool, options)
    pool.close()
    words = [[s.word, _rounded(s.early), _rounded(s.late)] for s in word_shares(early, late, WORDS)]
    return {
        "counts": {name: int(data.total(f"synthesis/{name}")) for name in COUNTS},
        "rejected": rejected,
        "axes": axes,
        "words": words if early and late else [],
        "distinct": {"early": _distinct(early), "late": _distinct(late)},
        "length": {"early": _length(early), "late": _length(late)},
        "examples": {"early": early[:: max(len(early) // 4, 1)][:4], "late": late[-4:]},
    }


def _distinct(texts: Sequence[str]) -> float | None:
    """Return the number of different texts as a share of all texts, None without texts."""
    return _rounded(len(set(texts)) / len(texts)) if texts else None


def _length(texts: Sequence[str]) -> float | None:
    """Return the mean number of words of the texts, None without texts."""
    return _mean([len(text.split()) for text in texts])


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None, None if there are none."""
    known = [value for value in values if value is not None]
    return _rounded(float(np.mean(known))) if known else None


def _rounded(value: float) -> float:
    """Round to four significant digits. The noise in the numbers is ten times larger."""
    return float(f"{value:.4g}")
