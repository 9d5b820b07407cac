"""Saving checkpoints and resuming from them. A checkpoint on the disk is always complete.

A checkpoint is a directory ``step-N`` with the files that the caller's writers write, and a
manifest of every file's size and hash. It is written under a temporary name, flushed to the disk,
and then renamed. A process killed at any moment therefore leaves the previous checkpoint, and at
most a temporary directory, which the next save removes.

``run`` calls ``save_run`` and ``resume_run`` in all processes. Only the main process writes; the
others send it their random states before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import (
    atomic_directory,
    remove_directory,
    remove_unfinished,
    tree_size,
)
from syngrpo.serving.timeline import traced
from syngrpo.serving.wording import count
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.trainer import Trainer

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(\d+)")

Writer = Callable[[Path], object]
"""Called with a path that does not exist yet; writes a file or a directory there."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk, saved after optimisation step ``step``."""

    path: Path
    step: int

    def file(self, name: str) -> Path:
        """Return the path that the writer ``name`` wrote to."""
        return self.path / name

    def read(self, name: str) -> Any:
        """Return the object saved under ``name``, on the CPU.

        Only tensors and plain values are read, so that a checkpoint cannot run code.
        """
        return torch.load(self.path / f"{name}.pt", map_location="cpu", weights_only=True)


def save(
    directory: Path, step: int, content: Mapping[str, Writer | Any], keep_last: int = 2
) -> Checkpoint:
    """Save ``directory/step-N`` atomically, then remove all but the newest ``keep_last``.

    Each value of ``content`` is a writer, called with the path to write to
    (``directory/step-N/<name>``), or an object of tensors and plain values, saved as ``<name>.pt``.

    Raises InputError when the disk is full, and every error of a writer. Then the earlier
    checkpoints stay, and no partial one is left. Raises FileExistsError when this step was saved
    before, and ValueError when ``keep_last`` is less than 1.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last is {keep_last}; at least one checkpoint must stay")
    target = directory / f"step-{step}"
    if target.exists():
        raise FileExistsError(f"checkpoint {target} exists already")
    remove_unfinished(directory)
    previous = [path for _, path in _steps(directory)]
    expected = tree_size(previous[-1]) if previous else 0
    with atomic_directory(target, expected) as temporary:
        for name, value in content.items():
            if callable(value):
                value(temporary / name)
            else:
                save_object(value, temporary / f"{name}.pt")
        manifest = {"step": step, "files": _describe_files(temporary)}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for _, path in _steps(directory)[:-keep_last]:
        remove_directory(path)
    return Checkpoint(target, step)


def save_object(value: Any, path: Path) -> None:
    """Save an object with ``torch.save``, through an open file.

    On a full disk this raises OSError. ``torch.save`` with a path would only report an inconsistent
    archive.
    """
    with path.open("wb") as file:
        torch.save(value, file)


def latest(directory: Path) -> Checkpoint | None:
    """Return the newest checkpoint, or None. Every file is checked against the manifest.

    Raises InputError when files are missing or changed. A crash cannot cause this, but an
    incomplete copy or a failing disk can.
    """
    steps = _steps(directory)
    if not steps:
        return None
    step, path = steps[-1]
    damage = _find_damage(path)
    if damage is not None:
        if len(steps) > 1:
            instead = f"it to resume from step {steps[-2][0]}"
        else:
            instead = "it and metrics.jsonl to start from step 0"
        raise InputError(f"checkpoint {path} is damaged ({damage}); delete {instead}")
    return Checkpoint(path, step)


def saved_files(directory: Path, name: str) -> list[Path]:
    """Return the files ``name`` of all checkpoints in a directory, the newest first. Nothing is
    checked."""
    files = [path / name for _, path in reversed(_steps(directory))]
    return [file for file in files if file.is_file()]


def capture_rng() -> dict[str, Any]:
    """Return the global random states of this process: Python, NumPy, PyTorch on CPU and GPUs.

    The result holds tensors and plain values. A ``numpy.random.Generator`` that you made yourself
    is not global: save its ``bit_generator.state``, which holds plain values, too.
    """
    numpy = np.random.get_state(legacy=False)
    key, position = numpy["state"]["key"], numpy["state"]["pos"]
    return {
        "python": random.getstate(),
        "numpy": {
            **numpy,
            "state": {"key": torch.from_numpy(key.astype(np.int64)), "pos": position},
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> bool:
    """Restore the global random states that ``capture_rng`` returned. Return whether all could be:
    those of GPUs are left alone if another number of GPUs is visible now."""
    random.setstate(state["python"])
    key, position = state["numpy"]["state"]["key"], state["numpy"]["state"]["pos"]
    numpy_state = {"key": key.numpy().astype(np.uint32), "pos": position}
    np.random.set_state({**state["numpy"], "state": numpy_state})
    torch.set_rng_state(state["torch"])
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    same = devices == len(state["cuda"])
    if same and devices:
        torch.cuda.set_rng_state_all(state["cuda"])
    return same


@traced("save checkpoint")
def save_run(
    directory: Path,
    trainer: Trainer,
    processes: Processes,
    writers: Mapping[str, Writer],
    keep_last: int,
) -> None:
    """Save ``directory/step-N``: the trainer's state, the random states of all processes, and what
    the ``writers`` of the main process write. All processes call this together."""
    rng = processes.gather([capture_rng()])
    state = trainer.state_dict()
    if processes.is_main:
        content = {"workflow": state, "rng": rng, **writers}
        save(directory, trainer.steps_done, content, keep_last=keep_last)


def resume_run(trainer: Trainer, last: Checkpoint | None, processes: Processes) -> None:
    """Restore the trainer from the main process's checkpoint ``last``; do nothing if it is None.

    The checkpoint may come from any number of processes, sharded or not. All processes call this
    together. If the next learning rate is not the one that was planned when the checkpoint was
    saved, because the options have changed, the log says both.
    """
    state = last.read("workflow") if last is not None else None
    if state is not None and "updater" in state:  # saved before these parts had other names
        state["learner"], state["method"] = state.pop("updater"), state.pop("baseline")
    learner = state.pop("learner") if state is not None else None
    state = processes.share(state)
    if state is None:
        return
    trainer.load_state_dict({**state, "learner": learner})
    if learner is not None:
        _tell_learning_rate(trainer, planned=float(learner["schedule"]["_last_lr"][0]))
    rng = processes.share(last.read("rng") if last is not None else None)
    if len(rng) == processes.count:
        if not restore_rng(rng[processes.rank]) and processes.is_main:
            logger.info(
                "the checkpoint was saved with another number of visible GPUs: training goes on "
                "from it; only their global random states, which rewards of your own may use, "
                "start anew"
            )
    elif processes.is_main:
        logger.info(
            "the checkpoint was saved by %s, now there are %d: training goes on from it; only the "
            "global random states, which rewards of your own may use, start anew",
            count(len(rng), "process"),
            processes.count,
        )


def _tell_learning_rate(trainer: Trainer, planned: float) -> None:
    """Log the learning rate of the next step, if there is one, unless it is the ``planned``
    one."""
    now, options = trainer.learner.optimizer.learning_rate, trainer.options.trainer
    if now == planned or trainer.steps_done == options.steps:
        return
    text = f"the learning rate of step {trainer.steps_done + 1} is {now:.3g}, not {planned:.3g}"
    if options.schedule != "constant":
        text += f": the {options.schedule} schedule now ends at step {options.steps}"
    logger.warning("%s", text)


def _steps(directory: Path) -> list[tuple[int, Path]]:
    """Return the finished checkpoints as step and path, oldest first."""
    found = [(_STEP.fullmatch(path.name), path) for path in directory.glob("step-*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def _describe_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the size and sha256 of every file below ``directory``, by relative path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _digest(path),
        }
        for path in files
    }


def _find_damage(path: Path) -> str | None:
    """Return what is wrong with the checkpoint in a few words, None if it equals its manifest."""
    try:
        expected = json.loads((path / MANIFEST).read_text())["files"]
    except (FileNotFoundError, ValueError, KeyError):
        return f"{MANIFEST} is missing or unreadable"
    for name, description in expected.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        size = file.stat().st_size
        if size != description["bytes"]:
            return f"{name} has {size} bytes instead of {description['bytes']}"
        if _digest(file) != description["sha256"]:
            return f"the content of {name} has changed"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
