"""The directory an evaluation writes to, and goes on in when it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from syngrpo.evaluation.measure import EvaluationResult, is_answer_to
from syngrpo.evaluation.predictions import (
    Prediction,
    append_predictions,
    drop_unfinished_line,
    read_predictions,
    write_predictions,
)
from syngrpo.sample import InputError, Sample
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.tasks import PromptStyle

SETTINGS = "settings.json"
METRICS = "metrics.json"
EVALUATIONS = "evaluation.jsonl"
_WAY_OUT = "give another --out, or --restart to drop what is there"


class Output:
    """An --out directory: ``settings.json``, ``predictions-SET.jsonl``, and at the end the metrics.

    Predictions are appended as they are made. They are used again when everything that decides
    them is the same: ``settings`` (model, way of asking) and the sample.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], restart: bool) -> None:
        """Raises InputError when the directory holds predictions that other settings made."""
        self.directory = directory
        self._settings = json.loads(json.dumps(settings))
        path = directory / SETTINGS
        directory.mkdir(parents=True, exist_ok=True)
        if restart:
            for file in (path, directory / METRICS, *self._predictions()):
                file.unlink(missing_ok=True)
        if any(file.stat().st_size for file in self._predictions()):
            self._refuse_others(path)
        _write(path, self._settings)

    def finished(
        self, name: str, samples: Sequence[Sample], style: PromptStyle
    ) -> list[Prediction]:
        """Predictions of a set that an earlier call has made. Raises InputError when one of them
        belongs to no sample, or to one that has changed."""
        path = self._path(name)
        drop_unfinished_line(path)
        by_id = {sample.id: sample for sample in samples}
        predictions = read_predictions(path)
        for prediction in predictions:
            sample = by_id.get(prediction.id)
            if sample is None or not is_answer_to(prediction, sample, style):
                what = "is not in the data" if sample is None else "has changed since"
                raise InputError(
                    f"{path} answers sample {prediction.id!r}, which {what}; {_WAY_OUT}"
                )
        return predictions

    def append(self, name: str, predictions: Sequence[Prediction]) -> None:
        """Keeps a batch of predictions of a set; ``metrics.json`` goes, it knows of fewer."""
        (self.directory / METRICS).unlink(missing_ok=True)
        append_predictions(predictions, self._path(name))

    def complete(self, name: str, result: EvaluationResult) -> None:
        """All predictions of a set, in the order of its samples."""
        write_predictions(result.predictions, self._path(name))

    def write_metrics(self, results: dict[str, EvaluationResult]) -> None:
        """``metrics.json``, and the same as lines of ``evaluation.jsonl``, step 0."""
        lines = [json.dumps(r.record(0, name)) + "\n" for name, r in results.items()]
        (self.directory / EVALUATIONS).write_text("".join(lines), encoding="utf-8")
        sets = {name: result.summary() for name, result in results.items()}
        _write(self.directory / METRICS, {"settings": self._settings, "sets": sets})

    def _path(self, name: str) -> Path:
        return self.directory / f"predictions-{name}.jsonl"

    def _predictions(self) -> list[Path]:
        return sorted(self.directory.glob("predictions-*.jsonl"))

    def _refuse_others(self, path: Path) -> None:
        before = _read(path)
        changed = [key for key in self._settings if before.get(key) != self._settings[key]]
        if changed:
            listed = ", ".join(
                f"{key} {before[key]!r}, now {self._settings[key]!r}" if key in before else key
                for key in changed
            )
            raise InputError(
                f"{self.directory} holds predictions made with other settings: {listed}; {_WAY_OUT}"
            )


def read_output(directory: Path) -> dict[str, list[Prediction]]:
    """Set → predictions of a finished evaluation. Raises InputError when it is none."""
    if not (directory / METRICS).is_file():
        raise InputError(
            f"{directory} holds no finished evaluation (no {METRICS}); give the --out of evaluate"
        )
    names = _read(directory / METRICS).get("sets", {})
    return {name: read_predictions(directory / f"predictions-{name}.jsonl") for name in names}


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); {_WAY_OUT}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object; {_WAY_OUT}")
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    atomic_write(path, json.dumps(content, indent=2) + "\n")
