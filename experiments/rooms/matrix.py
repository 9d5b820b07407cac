"""The cells of the experiment, and how each is run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.rooms.settings import SETTINGS, STARTER, Settings, longer
from syngrpo.config import Config, load_config
from syngrpo.sample import InputError

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

Split = Literal["held-out", "dev"]
SETS: dict[Split, tuple[str, ...]] = {"held-out": ("test", "ood"), "dev": ("dev",)}
"""What is measured on. Whoever tunes looks at ``dev`` alone."""

IRRELEVANT = ("server", "logging")
"""Sections of a configuration that change no number."""


@dataclass(frozen=True)
class Cell:
    """One row of the matrix: a task, a method, a training seed."""

    task: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.method}-{self.seed}"


@dataclass(frozen=True)
class Folders:
    """Where things are: ``results`` is kept, ``runs`` can be thrown away."""

    root: Path

    @classmethod
    def of(cls, split: Split) -> Folders:
        """Those of the project."""
        return cls(HERE if split == "held-out" else HERE / split)

    @property
    def longer(self) -> Folders:
        """Those of ``Matrix.longer``."""
        return Folders(self.root / "longer")

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def result(self, cell: Cell) -> Path:
        return self.results / f"{cell.name}.json"

    def sheet(self, cell: Cell) -> Path:
        """Pictures that the run has painted."""
        return self.results / f"{cell.name}.png"

    def run(self, cell: Cell) -> Path:
        return self.runs / cell.name

    def log(self, cell: Cell) -> Path:
        return self.runs / f"{cell.name}.log"


@dataclass(frozen=True)
class Matrix:
    """All cells. ``extra`` are further overrides (``key=value``) of every one of them."""

    settings: Settings = SETTINGS
    split: Split = "held-out"
    extra: tuple[str, ...] = ()

    @property
    def longer(self) -> Matrix:
        """The part of it that is trained for longer."""
        return replace(self, settings=longer(self.settings))

    def cells(self) -> list[Cell]:
        """Seed by seed, so that a part of the matrix is a whole comparison."""
        return [
            Cell(task, method, seed)
            for seed in self.settings.all_seeds
            for task in self.settings.tasks
            for method in self.settings.methods
            if seed in self.settings.seeds_of(method)
        ]

    def overrides(self, cell: Cell) -> list[str]:
        """What is set beside the task's configuration file."""
        settings = self.settings
        sets = ", ".join(
            f"{name}: {{rooms: {name}, task: {cell.task}, count: {settings.held_out}}}"
            for name in SETS[self.split]
        )
        values = {
            "trainer.seed": cell.seed,
            "trainer.steps": settings.steps,
            "data.train.0.count": settings.seed_images,
            "data.train.0.seed": cell.seed,
            "evaluation.sets": f"{{{sets}}}",
            "evaluation.every": max(settings.steps // settings.evaluations, 1),
            **settings.common,
            **settings.methods[cell.method],
        }
        return [f"{key}={value}" for key, value in values.items()] + list(self.extra)

    def config(self, cell: Cell) -> Config:
        """The resolved configuration; the starter's is that of plain GRPO, which it is asked by.

        Raises InputError for a method that this version does not have.
        """
        named = ["method.name=grpo"] if cell.method == STARTER else []
        return load_config(config_file(cell), [*self.overrides(cell), *named])

    def command(self, cell: Cell, run: Path, resume: bool) -> list[str]:
        """Arguments of ``syngrpo``. An evaluation goes on by itself where it was interrupted."""
        if cell.method == STARTER:
            return self._evaluate(cell, run)
        settings = [word for o in self.overrides(cell) for word in ("--set", o)]
        arguments = ["train", str(config_file(cell)), "--run-dir", str(run), *settings]
        return arguments + ["--resume"] * resume

    def _evaluate(self, cell: Cell, out: Path) -> list[str]:
        config = self.config(cell)
        sets = config.evaluation.sets
        counts = {source.count for source in sets.values()}
        if len(counts) != 1:
            raise InputError("evaluation.sets differ in count; the starter is measured on one")
        data = [w for s in sets.values() for w in ("--data", f"rooms:{cell.task}:{s.rooms}")]
        options = {
            "--model": config.model.path,
            "--out": out,
            "--count": counts.pop(),
            "--prompt-style": config.data.prompt_style,
            "--max-new-tokens": config.rollout.max_new_tokens,
            "--samples-per-prompt": config.evaluation.samples_per_prompt,
            "--batch-size": config.evaluation.batch_size,
            "--seed": config.trainer.seed,
            "--device": config.model.device,
            "--dtype": config.model.dtype,
        }
        return ["evaluate", *data, *(str(word) for pair in options.items() for word in pair)]


def config_file(cell: Cell) -> Path:
    """The configuration that the overrides are on top of."""
    return ROOT / "configs" / f"rooms-{cell.task}.yaml"


def program() -> list[str]:
    """The ``syngrpo`` of this Python."""
    return [sys.executable, "-m", "syngrpo"]


def plain(config: Config) -> dict[str, Any]:
    """What decides the numbers of a run, as plain data: "section.key" → value."""
    return dict(_leaves(config.model_dump(mode="json", exclude=set(IRRELEVANT)), ""))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = enumerate(value) if isinstance(value, list) else value.items()
    for key, item in inner:
        path = f"{name}.{key}" if name else str(key)
        if isinstance(item, dict | list) and item:
            yield from _leaves(item, path)
        else:
            yield path, item


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a run was made with that is no longer so, one text a key. A key that did not exist when
    it was made is no difference: new options leave everything as it was by default."""
    return [
        f"{key} {before[key]!r}, now {now.get(key)!r}"
        for key in before
        if key not in now or before[key] != now[key]
    ]


def chosen(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Those that one of the texts fits, such as ``task=rec,method=grpo,seed=0``; all without any.

    Raises InputError for a text that is none, or that fits no cell.
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
    key, equals, value = part.strip().partition("=")
    if not equals or key not in ("task", "method", "seed"):
        raise InputError(f"--only {text}: write it as task=rec,method=grpo,seed=0 or a part of it")
    return key, value
