"""The result of a finished cell: a small JSON file with everything that the report needs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rooms.matrix import Cell, Folders, Matrix, differences, plain
from experiments.rooms.settings import STARTER
from syngrpo.evaluation.evaluation_directory import model_fingerprint
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write
from syngrpo_rooms.generator import RoomsGenerator
from syngrpo_rooms.starter import STARTER_DIR

ACCURACY = {"rec": "acc@0.5", "ovd": "accuracy", "isr": "accuracy"}
"""The metric that is called the accuracy of a task. It has a value for each sample, so that
differences between methods can be paired."""

HOW = ("greedy", "sampled")
PER_MILLE = 1000


@dataclass(frozen=True)
class Accuracies:
    """One evaluation of a set. ``greedy`` and ``sampled`` are the accuracies of its samples in per
    mille, ``metrics`` are those of the whole set."""

    step: int
    greedy: list[int]
    sampled: list[int]
    metrics: dict[str, float]

    def values(self, how: str) -> np.ndarray:
        """Return the accuracies of the samples: float (N,) in [0, 1]."""
        chosen = self.greedy if how == "greedy" else self.sampled
        return np.array(chosen, dtype=np.float64) / PER_MILLE


@dataclass(frozen=True)
class HeldOut:
    """A held-out set: a digest of its samples, and its evaluations by step."""

    samples: str
    evaluations: list[Accuracies]

    def at(self, step: int) -> Accuracies | None:
        """Return the evaluation after that step, None if there is none."""
        return next((e for e in self.evaluations if e.step == step), None)


@dataclass(frozen=True)
class Result:
    """The result of one cell.

    ``config``: what decided the numbers, "section.key" → value. ``world``: fingerprints of the
    model and of the generator. ``circumstances``: information for the reader only. ``series``:
    means over at most 100 parts of the run; ``series["step"]`` is the last step of each part.
    ``means``: over all steps. ``synthesis``: empty if nothing was painted.
    """

    cell: Cell
    config: dict[str, Any]
    world: dict[str, str]
    command: str
    circumstances: dict[str, Any]
    held_out: dict[str, HeldOut]
    series: dict[str, list[float | None]]
    means: dict[str, float]
    synthesis: dict[str, Any]

    def last(self, set_name: str) -> Accuracies:
        return max(self.held_out[set_name].evaluations, key=lambda e: e.step)


@cache
def world(model: str) -> dict[str, str]:
    """Return the fingerprints of the model and the generator, which a configuration does not
    contain."""
    path = str(STARTER_DIR) if model == STARTER else model
    return {"model": model_fingerprint(path), "painter": RoomsGenerator.fingerprint}


def outdated(result: Result, matrix: Matrix) -> list[str]:
    """Return the reasons why a result is not what the matrix asks for, an empty list if it is.
    Raises InputError for a cell that this version cannot run."""
    options = matrix.options(result.cell)
    found = differences(result.config, plain(options.as_values()))
    return found + differences(result.world, world(options.model.path))


def write_result(result: Result, path: Path) -> None:
    """Write one line for each field, so that a diff shows which fields changed."""
    parts = asdict(result).items()
    lines = [f'"{key}": {json.dumps(value, separators=(",", ":"))}' for key, value in parts]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text)


def read_result(path: Path) -> Result:
    """Read a result. Raises InputError if the file does not hold one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["cell"] = Cell(**content["cell"])
        content["held_out"] = {
            name: HeldOut(one["samples"], [Accuracies(**e) for e in one["evaluations"]])
            for name, one in content["held_out"].items()
        }
        return Result(**content)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is no result ({error!r}); delete it and run again") from None


def read_results(matrix: Matrix, folders: Folders) -> dict[Cell, Result]:
    """Return the results of the matrix that exist, also outdated ones. Raises InputError for a file
    that does not hold a result."""
    paths = {cell: folders.result(cell) for cell in matrix.cells()}
    return {cell: read_result(path) for cell, path in paths.items() if path.exists()}
