"""Reads the directory of a finished evaluation: its predictions by set, and ``metrics.json``.

``EvaluationDirectory`` and ``run_evaluations`` write such directories. Reading one needs no model,
so that neither torch nor transformers is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from syngrpo.evaluation.predictions import Prediction, read_predictions
from syngrpo.sample import InputError
from syngrpo.serving.run_files import content_of

METRICS = "metrics.json"
REMEDY = "give another --out, or --restart to delete the earlier predictions"


def read_evaluation(
    directory: Path, only: str | None = None
) -> tuple[dict[str, list[Prediction]], dict[str, Any]]:
    """Return the predictions of a finished evaluation by set, and the content of ``metrics.json``.
    With ``only``, the predictions of the other sets are left out. Raises InputError when the
    directory holds none."""
    if not (directory / METRICS).is_file():
        raise InputError(
            f"{directory} holds no finished evaluation (no {METRICS}); give the --out of evaluate"
        )
    content = read_metrics(directory / METRICS)
    names = [name for name in content.get("sets", {}) if only in (None, name)]
    files = {name: predictions_file(directory, name) for name in names}
    return {name: read_predictions(file) for name, file in files.items()}, content


def read_metrics(path: Path) -> dict[str, Any]:
    """Return the content of a ``metrics.json``, {} when there is none. Raises InputError when it is
    damaged."""
    content = read_object(path)
    for part in ("settings", "conditions", "sets"):
        if not isinstance(content.get(part, {}), dict):
            raise InputError(f"{path} is damaged ({part} is no object); evaluate again")
    return content


def predictions_file(directory: Path, name: str) -> Path:
    """Return the file with the predictions of the set ``name``. It may not exist yet."""
    return directory / f"predictions-{name.replace('/', '%2F')}.jsonl"


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, {} when there is no file. Raises InputError for any other
    content."""
    data = content_of(path)
    if not path.exists():
        return {}
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); {REMEDY}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object; {REMEDY}")
    return content
