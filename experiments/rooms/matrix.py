"""The cells of the experiment, their configurations, and the commands that run them.

``Matrix`` makes them from ``settings``, and ``Folders`` says where the files of a cell are. Nothing
is run here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.rooms.settings import CREDITS, PARTS, SETTINGS, STARTER, Settings
from syngrpo.config import load_config
from syngrpo.sample import InputError
from syngrpo.workflow.run_options import RunOptions

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

Split = Literal["held-out", "dev"]
SETS: dict[Split, tuple[str, ...]] = {
    "held-out": ("test", "ood", "hard", "ood-hard"),
    "dev": ("dev", "dev-hard"),
}
"""The sets on which accuracy is measured. Only ``dev`` may be used for tuning."""

IRRELEVANT = ("server", "logging")
"""Sections of a configuration that do not influence any result."""


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix: a task, a method, a training seed."""

    task: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The name of the cell in file names and messages: TASK-METHOD-SEED."""
        return f"{self.task}-{self.method}-{self.seed}"


@dataclass(frozen=True)
class Folders:
    """The folders of the experiment.

    ``results`` holds what the report needs. ``runs`` holds the directories of the runs and can be
    deleted when their results are written.
    """

    root: Path

    @classmethod
    def of(cls, split: Split) -> Folders:
        """Return the folders for a split in this repository."""
        return cls(HERE if split == "held-out" else HERE / split)

    def part(self, name: str) -> Folders:
        """Return the folders for the cells of ``Matrix.part``."""
        return Folders(self.root / name)

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def result(self, cell: Cell) -> Path:
        """Return the path of the cell's result."""
        return self.results / f"{cell.name}.json"

    def sheet(self, cell: Cell) -> Path:
        """Return the path of the sheet of pictures that the cell's run painted."""
        return self.results / f"{cell.name}.png"

    def run(self, cell: Cell) -> Path:
        """Return the directory of the cell's run."""
        return self.runs / cell.name

    def log(self, cell: Cell) -> Path:
        """Return the path of the file with the output of the cell's run."""
        return self.runs / f"{cell.name}.log"


@dataclass(frozen=True)
class Matrix:
    """All cells of the experiment.

    ``split`` decides the held-out sets (see ``SETS``). ``extra`` are overrides (``key=value``) of
    the configuration of every cell.
    """

    settings: Settings = SETTINGS
    split: Split = "held-out"
    extra: tuple[str, ...] = ()

    def part(self, name: str) -> Matrix:
        """Return a further part of the experiment, one of ``settings.PARTS``."""
        return replace(self, settings=PARTS[name](self.settings))

    def cells(self) -> list[Cell]:
        """Return all cells, ordered by seed, so that the methods can be compared as soon as the
        first seed is finished."""
        return [
            Cell(task, method, seed)
            for seed in self.settings.all_seeds
            for task in self.settings.tasks
            for method in self.settings.methods
            if seed in self.settings.seeds_of(method)
        ]

    def overrides(self, cell: Cell) -> list[str]:
        """Return the overrides (``key=value``) that a cell adds to the configuration file of its
        task."""
        settings = self.settings
        common = f"format: rooms, task: {cell.task}, count: {settings.held_out}"
        names = SETS[self.split]
        if self.split == "held-out" and cell.method in CREDITS:
            names += SETS["dev"]
        sets = ", ".join(f"{name}: {{split: {name}, {common}}}" for name in names)
        values = {
            "trainer.seed": cell.seed,
            "trainer.steps": settings.steps,
            "data.train.0.count": settings.seed_images,
            "data.train.0.seed": cell.seed,
            "evaluation.sets": f"{{{sets}}}",
            "evaluation.every": max(settings.steps // settings.evaluations, 1),
            **settings.common,
            **settings.of_task.get(cell.task, {}),
            **settings.methods[cell.method],
        }
        return [f"{key}={value}" for key, value in values.items()] + list(self.extra)

    def options(self, cell: Cell) -> RunOptions:
        """Return the resolved configuration of a cell. The starter, which is only evaluated, has
        that of plain GRPO.

        Raises InputError if the configuration is invalid, for instance because this version does
        not have the method.
        """
        named = ["method.name=grpo"] if cell.method == STARTER else []
        return load_config(config_file(cell), [*self.overrides(cell), *named])

    def command(self, cell: Cell, run: Path, resume: bool) -> list[str]:
        """Return the arguments of ``syngrpo`` that run a cell in the directory ``run``.

        With ``resume`` a training run is resumed; ``syngrpo evaluate``, which measures the starter,
        resumes without an argument. Raises InputError like ``options``.
        """
        if cell.method == STARTER:
            return self._evaluate(cell, run)
        settings = [word for o in self.overrides(cell) for word in ("--set", o)]
        arguments = ["train", str(config_file(cell)), "--run-dir", str(run), *settings]
        return arguments + ["--resume"] * resume

    def _evaluate(self, cell: Cell, out: Path) -> list[str]:
        """Return the arguments of ``syngrpo`` that measure the starter on the held-out sets."""
        run = self.options(cell)
        sets = run.evaluation.sets
        counts = {source.options["count"] for source in sets.values()}
        if len(counts) != 1:
            raise InputError("evaluation.sets differ in count; the starter is measured on one")
        splits = [source.options["split"] for source in sets.values()]
        data = [word for split in splits for word in ("--data", f"rooms:{cell.task}:{split}")]
        options = {
            "--model": run.model.path,
            "--out": out,
            "--count": counts.pop(),
            "--prompt-style": run.data.prompt_style,
            "--max-new-tokens": run.rollout.max_new_tokens,
            "--samples-per-prompt": run.evaluation.samples_per_prompt,
            "--batch-size": run.evaluation.batch_size,
            "--seed": run.trainer.seed,
            "--device": run.model.device,
            "--dtype": run.model.dtype,
        }
        return ["evaluate", *data, *(str(word) for pair in options.items() for word in pair)]


def config_file(cell: Cell) -> Path:
    """Return the configuration file of the cell's task."""
    return ROOT / "configs" / f"rooms-{cell.task}.yaml"


def program() -> list[str]:
    """Return the command that starts ``syngrpo`` with this Python."""
    return [sys.executable, "-m", "syngrpo"]


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that can influence the results of a run, as plain data:
    "section.key" → value.

    ``values`` is the configuration as nested mappings.
    """
    relevant = {name: section for name, section in values.items() if name not in IRRELEVANT}
    return dict(_leaves(relevant, ""))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every value in nested mappings and lists. ``name`` is the key
    of ``value`` itself."""
    inner = enumerate(value) if isinstance(value, list) else value.items()
    for key, item in inner:
        path = f"{name}.{key}" if name else str(key)
        if isinstance(item, dict | list) and item:
            yield from _leaves(item, path)
        else:
            yield path, item


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a text for each key whose value has changed since a run was made.

    A key that did not exist then does not count, because the default of a new option does not
    change the results.
    """
    return [
        f"{key} {before[key]!r}, now {now.get(key)!r}"
        for key in before
        if key not in now or before[key] != now[key]
    ]


def chosen(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Return the cells that fit at least one of the texts ``only``, such as
    ``task=rec,method=grpo,seed=0``; all cells if there are no texts.

    Raises InputError for a text of another form, or one that fits no cell.
    """
    found: list[Cell] = []
    for text in only:
        wanted = [_condition(part, text) for part in text.split(",")]
        fitting = [c for c in cells if all(str(getattr(c, key)) == v for key, v in wanted)]
        if not fitting:
            raise InputError(f"--only {text}: the matrix has no such cell; see status")
        found += fitting
    return [cell for cell in cells if cell in found] if only else list(cells)


def _condition(part: str, text: str) -> tuple[str, str]:
    """Return (key, value) of one part of a text. Raises InputError for a part of another form."""
    key, equals, value = part.strip().partition("=")
    if not equals or key not in ("task", "method", "seed"):
        raise InputError(f"--only {text}: write it as task=rec,method=grpo,seed=0 or a part of it")
    return key, value
