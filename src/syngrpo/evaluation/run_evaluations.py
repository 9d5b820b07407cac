"""The answers of a run to its held-out sets: those of its first and of its newest evaluation.

They are in ``evaluations/step-N`` in the run directory, in the form of ``syngrpo evaluate --out``,
so that ``compare`` reads them. The metrics of all evaluations are in ``evaluation.jsonl``; the
answers of those in between are deleted, because they would fill the disk.

A run calls ``keep_predictions`` for each set that it has evaluated, and
``remove_evaluations_after`` when it is set back; pages call ``kept_evaluations``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syngrpo.evaluation.evaluation_reading import METRICS, predictions_file, read_object
from syngrpo.evaluation.evaluation_result import EvaluationResult
from syngrpo.evaluation.predictions import write_predictions
from syngrpo.serving.atomic_files import atomic_write, make_directory

EVALUATIONS_FOLDER = "evaluations"
_STEP = re.compile(r"step-(\d+)")


def kept_evaluations(run: Path) -> dict[int, Path]:
    """Return the directory of each evaluation whose answers are kept, by step, in order."""
    folder = run / EVALUATIONS_FOLDER
    if not folder.is_dir():
        return {}
    found = {
        int(match[1]): entry
        for entry in folder.iterdir()
        if (match := _STEP.fullmatch(entry.name)) and (entry / METRICS).is_file()
    }
    return dict(sorted(found.items()))


def keep_predictions(
    run: Path,
    step: int,
    name: str,
    result: EvaluationResult,
    settings: Mapping[str, Any],
    conditions: Mapping[str, Any],
) -> None:
    """Write the predictions of the set ``name`` at ``step``, and add its metrics to those of the
    other sets at that step. Then delete the answers of steps between the first and this one.

    ``settings`` and ``conditions`` are what the answers depend on beside the model, as in
    ``conditions.mismatches``.
    """
    directory = run / EVALUATIONS_FOLDER / f"step-{step}"
    make_directory(directory)
    write_predictions(result.predictions, predictions_file(directory, name))
    metrics = directory / METRICS
    sets = {**read_object(metrics).get("sets", {}), name: result.summary()}
    content = {"settings": dict(settings), "conditions": dict(conditions), "sets": sets}
    atomic_write(metrics, json.dumps(content, indent=2) + "\n")
    for path in list(kept_evaluations(run).values())[1:-1]:
        shutil.rmtree(path)


def remove_evaluations_after(run: Path, step: int) -> None:
    """Delete the answers of evaluations after ``step``, because the run evaluates again there."""
    for later, path in kept_evaluations(run).items():
        if later > step:
            shutil.rmtree(path)
