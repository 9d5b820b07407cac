"""The result of a finished cell: a small JSON file with everything that the report needs.

``collect`` makes a ``Result``, and ``compare`` and ``report`` use it. ``outdated`` tells whether a
result still belongs to the matrix.
"""

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
"""Task → the metric that is called its accuracy. It has a value for each sample, so that methods
can be compared sample by sample."""

HOW = ("greedy", "sampled")
"""The two ways of answering: greedy, and sampled."""
PER_MILLE = 1000
"""Accuracies of samples are stored as whole numbers from 0 to this."""


@dataclass(frozen=True)
class Accuracies:
    """One evaluation of a held-out set, after ``step`` training steps.

    ``greedy`` and ``sampled`` are the accuracies of its samples in per mille, in the order of the
    samples. ``metrics`` are those of the whole set.
    """

    step: int
    greedy: list[int]
    sampled: list[int]
    metrics: dict[str, float]

    def values(self, how: str) -> np.ndarray:
        """Return the accuracies of the N samples, float (N,) in [0, 1]. ``how`` is one of
        ``HOW``."""
        chosen = self.greedy if how == "greedy" else self.sampled
        return np.array(chosen, dtype=np.float64) / PER_MILLE


@dataclass(frozen=True)
class HeldOut:
    """A held-out set: a digest of its samples, and its evaluations in the order of their steps."""

    samples: str
    evaluations: list[Accuracies]

    def at(self, step: int) -> Accuracies | None:
        """Return the evaluation after this step, None if there is none."""
        return next((e for e in self.evaluations if e.step == step), None)


@dataclass(frozen=True)
class Result:
    """The result of one cell.

    - ``config``: the part of the configuration that can influence results, "section.key" → value
    - ``world``: fingerprints of the model and of the generator
    - ``command``: the command that repeats the run
    - ``circumstances``: commit, machine, versions, seconds and attempts, for the reader only
    - ``held_out``: name of a held-out set → its evaluations
    - ``series``: metric → its means over at most 100 parts of the run; ``series["step"]`` is the
      last step of each part. Empty for the starter.
    - ``means``: metric → its mean over all steps. Empty for the starter.
    - ``synthesis``: what became of the descriptions. Empty if the method does not paint.
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
        """Return the evaluation of a set at the end of the training."""
        return max(self.held_out[set_name].evaluations, key=lambda e: e.step)


@cache
def world(model: str) -> dict[str, str]:
    """Return the fingerprints of the model and of the generator, which influence results but are
    not in the configuration."""
    path = str(STARTER_DIR) if model == STARTER else model
    return {"model": model_fingerprint(path), "painter": RoomsGenerator.fingerprint}


def outdated(result: Result, matrix: Matrix) -> list[str]:
    """Return the reasons why a result is not what the matrix asks for; the list is empty if it is.

    Raises InputError for a cell that this version cannot run.
    """
    options = matrix.options(result.cell)
    found = differences(result.config, plain(options.as_values()))
    return found + differences(result.world, world(options.model.path))


def write_result(result: Result, path: Path) -> None:
    """Write a result as JSON with one line for each field, so that a diff shows which fields
    changed."""
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
    """Return the results of the matrix that exist, including outdated ones.

    Raises InputError for a file that does not hold a result.
    """
    paths = {cell: folders.result(cell) for cell in matrix.cells()}
    return {cell: read_result(path) for cell, path in paths.items() if path.exists()}
