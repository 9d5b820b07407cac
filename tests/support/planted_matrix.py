"""Writes the results of a whole matrix with known effects, as finished runs would have left
them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from experiments.rooms.axes import AXES, PARTS
from experiments.rooms.collect import SERIES
from experiments.rooms.matrix import Cell, Folders, Matrix, plain
from experiments.rooms.result import Accuracies, HeldOut, Result, world, write_result
from experiments.rooms.settings import STARTER

from syngrpo.method import METHODS

GAINS = {
    "starter": -0.25,
    "grpo": 0.0,
    "grpo-clip-higher": 0.01,
    "noisy-rollout": 0.02,
    "executable-transforms": 0.02,
    "random-scene": 0.03,
    "random-scene-neutral": 0.02,
    "random-scene-tuned": 0.06,
    "syn-grpo-no-smoothing": 0.05,
    "syn-grpo-parent": 0.06,
    "syn-grpo-siblings": 0.07,
    "syn-grpo": 0.08,
}
"""Sampled accuracy over plain GRPO at the end; on ``ood`` half as much again."""

METRICS = {"greedy/acc@0.5": 0.5, "greedy/map": 0.4, "sampled/format": 0.97}
DIVERSITY = 0.2
MORE_DIVERSITY = 0.3
"""Diversity of syn-grpo relative to grpo, minus 1."""


def plant(
    matrix: Matrix, folders: Folders, left_out: Callable[[Cell], bool] = lambda cell: False
) -> None:
    """Write a result for every cell but those left out."""
    for cell in matrix.cells():
        if not left_out(cell):
            write_result(planted(matrix, cell), folders.result(cell))


def planted(matrix: Matrix, cell: Cell) -> Result:
    options = matrix.options(cell)
    trained = cell.method != STARTER
    steps = options.trainer.steps
    at = list(range(0, steps + 1, options.evaluation.every))[1:] if trained else [0]
    sets = {
        name: HeldOut(f"{cell.task}/{name}", [_evaluation(matrix, cell, name, s) for s in at])
        for name in options.evaluation.sets
    }
    level = DIVERSITY * (1 + MORE_DIVERSITY * (cell.method == "syn-grpo"))
    paints = trained and METHODS.get(options.method.name).paints
    return Result(
        cell=cell,
        config=plain(options.as_values()),
        world=world(options.model.path),
        command=f"syngrpo train {cell.name}",
        circumstances={
            "commit": "0123456789ab",
            "machine": "a machine",
            "versions": "Python",
            "seconds": 100.0 + cell.seed,
            "attempts": 1 + cell.seed % 2,
        },
        held_out=sets,
        series=_series(cell, steps, level) if trained else {},
        means=dict.fromkeys(SERIES, level) if trained else {},
        synthesis=_synthesis(cell) if paints else {},
    )


def _evaluation(matrix: Matrix, cell: Cell, set_name: str, step: int) -> Accuracies:
    """Each sample has its difficulty and each seed its luck, the same for all methods."""
    count, steps = matrix.settings.held_out, matrix.settings.steps
    rng = np.random.default_rng([*cell.task.encode(), *set_name.encode()])
    difficulty = rng.uniform(0.2, 0.8, count)
    luck = np.random.default_rng([cell.seed, *cell.task.encode()]).normal(0, 0.02)
    share = step / steps if cell.method != STARTER else 1.0
    gain = GAINS[cell.method] * (1.5 if set_name == "ood" else 1.0)
    chance = np.clip(difficulty + luck + share * gain - 0.25 * (1 - share), 0, 1)
    noise = np.random.default_rng([cell.seed, step, *cell.name.encode(), *set_name.encode()])
    sampled = noise.binomial(4, chance) / 4
    greedy = noise.random(count) < chance
    values = [[round(1000 * v) for v in one.tolist()] for one in (greedy.astype(float), sampled)]
    return Accuracies(step, *values, metrics=METRICS)


def _series(cell: Cell, steps: int, level: float) -> dict[str, list[float | None]]:
    points = np.arange(1, min(steps, 100) + 1)
    noise = np.random.default_rng([*cell.name.encode()])
    rows = {
        name: (level * (1 + 0.05 * noise.standard_normal(len(points)))).tolist() for name in SERIES
    }
    fall = np.linspace(0.3, 0, len(points)) if cell.method == "syn-grpo-no-smoothing" else 0
    rho = 0.1 * noise.standard_normal(len(points)) + fall
    paints = cell.method.startswith(("syn", "random"))
    rows["diversity/reward"] = rho.tolist() if paints else [None] * len(points)
    return {"step": (points * steps // len(points)).tolist(), **rows}


def _synthesis(cell: Cell) -> dict[str, object]:
    names = ("submitted", "dropped", "admitted", "rejected", "settled", "stale", "dead")
    return {
        "counts": {name: 10 + i for i, name in enumerate(names)},
        "rejected": {"near_duplicate": 3, "background_unchanged": 10},
        "words": [["dark", 0.1, 0.5], ["red", 0.3, 0.2]],
        "axes": {axis: _parts(cell, axis) for axis in AXES},
        "distinct": {"early": 0.9, "late": 0.6},
        "length": {"early": 20.0, "late": 18.0},
        "examples": {"early": ["a red room"], "late": ["a dark room"]},
    }


def _parts(cell: Cell, axis: str) -> list[list[list[float]]]:
    """With Syn-GRPO pictures move from the lowest to the highest bin of the distance; far away the
    answers are less accurate and more diverse."""
    moving = cell.method == "syn-grpo" and axis == "distance"
    shift = [2 * part if moving else 0 for part in range(PARTS)]
    return [[[20 - away, 0.8, 0.1], [20, 0.6, 0.2], [20 + away, 0.4, 0.3]] for away in shift]
