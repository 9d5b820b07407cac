"""The directory that ``syngrpo evaluate`` writes to, so that it can continue after an interruption.

Predictions are written batch by batch. A later call uses them again if everything that they depend
on is the same: the settings, the model (by a fingerprint of its files), and the sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from syngrpo.evaluation.answering import is_answer_to
from syngrpo.evaluation.evaluation_reading import (
    METRICS,
    REMEDY,
    predictions_file,
    read_metrics,
    read_object,
)
from syngrpo.evaluation.evaluation_result import EvaluationResult, summarise
from syngrpo.evaluation.predictions import (
    Prediction,
    append_predictions,
    drop_unfinished_line,
    read_predictions,
    write_predictions,
)
from syngrpo.policy.lora import adapter_base, is_adapter
from syngrpo.sample import InputError, Sample
from syngrpo.serving.atomic_files import atomic_write, make_directory
from syngrpo.tasks import PromptStyle

SETTINGS = "settings.json"
EVALUATIONS = "evaluation.jsonl"

WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth")
SETTING_FILES = (".json", ".jinja", ".txt", ".model")
BLOCK = 1 << 20
BLOCKS = 64
"""A fingerprint reads BLOCKS blocks of BLOCK bytes from a weights file; a shorter file is read
whole."""


class EvaluationDirectory:
    """Holds ``settings.json``, ``predictions-SET.jsonl``, and at the end the metrics."""

    def __init__(self, directory: Path, settings: Mapping[str, Any], restart: bool) -> None:
        """Create the directory if needed and write ``settings.json``.

        ``settings`` are all values besides the samples on which predictions depend. ``restart``
        deletes earlier predictions. Raises InputError when the directory holds predictions that
        were made with other settings.
        """
        self.directory = directory
        self._settings = json.loads(json.dumps(settings))
        path = directory / SETTINGS
        make_directory(directory)
        if restart:
            for file in (path, directory / METRICS, *self._predictions()):
                file.unlink(missing_ok=True)
        if any(file.stat().st_size for file in self._predictions()):
            self._check_settings(path)
        _write(path, self._settings)
        self._earlier = self._earlier_metrics()

    def finished(
        self, name: str, samples: Sequence[Sample], style: PromptStyle
    ) -> list[Prediction]:
        """Return the predictions of a set that an earlier call has written. Raises InputError when
        one of them belongs to no sample, or to one that has changed."""
        path = self._path(name)
        drop_unfinished_line(path)
        by_id = {sample.id: sample for sample in samples}
        predictions = read_predictions(path)
        for prediction in predictions:
            sample = by_id.get(prediction.id)
            if sample is None or not is_answer_to(prediction, sample, style):
                what = "is not in the data" if sample is None else "has changed since"
                raise InputError(f"{path} answers sample {prediction.id!r}, which {what}; {REMEDY}")
        return predictions

    def append(self, name: str, predictions: Sequence[Prediction]) -> None:
        """Write a batch of predictions of a set. Takes the set out of ``metrics.json``, whose
        values do not include them."""
        earlier, path = self._earlier.get("sets", {}), self.directory / METRICS
        if earlier.pop(name, None) is not None:
            if earlier:
                _write(path, self._earlier)
            else:
                path.unlink(missing_ok=True)
        append_predictions(predictions, self._path(name))

    def complete(self, name: str, result: EvaluationResult) -> None:
        """Write all predictions of a set, in the order of its samples."""
        write_predictions(result.predictions, self._path(name))

    def write_metrics(
        self, results: Mapping[str, EvaluationResult], conditions: Mapping[str, Any] | None = None
    ) -> None:
        """Write ``metrics.json``, and the same as lines of ``evaluation.jsonl`` with step 0.
        ``conditions`` are those of ``conditions_of``.

        Sets that were evaluated earlier with the same settings and conditions stay in both.
        """
        content = {"settings": self._settings, "conditions": dict(conditions or {})}
        same = self._earlier.get("conditions") == json.loads(json.dumps(content["conditions"]))
        earlier = {
            name: summarise(read_predictions(self._path(name)))
            for name in (self._earlier.get("sets", {}) if same else ())
            if name not in results and self._path(name).exists()
        }
        every = {**earlier, **results}
        lines = [json.dumps(result.record(0, name)) + "\n" for name, result in every.items()]
        atomic_write(self.directory / EVALUATIONS, "".join(lines))
        sets = {name: result.summary() for name, result in every.items()}
        _write(self.directory / METRICS, {**content, "sets": sets})

    def _path(self, name: str) -> Path:
        return predictions_file(self.directory, name)

    def _predictions(self) -> list[Path]:
        return sorted(path for path in self.directory.glob("predictions-*.jsonl") if path.exists())

    def _earlier_metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``, {} without one that belongs to these settings. It
        is removed if it is damaged or belongs to others."""
        path = self.directory / METRICS
        try:
            content = read_metrics(path)
        except InputError:
            content = {}
        if content.get("settings") == self._settings:
            return content
        path.unlink(missing_ok=True)
        return {}

    def _check_settings(self, path: Path) -> None:
        before = read_object(path)
        now = self._settings
        changed = [key for key in {**now, **before} if before.get(key) != now.get(key)]
        if changed:
            listed = ", ".join(
                f"{key} {before.get(key)!r}, now {now.get(key)!r}" if before else key
                for key in changed
            )
            raise InputError(
                f"{self.directory} holds predictions made with other settings: {listed}; {REMEDY}"
            )


def model_fingerprint(model: str, adapter: Path | None = None) -> str:
    """Return a digest of the model that ``load_policy(model, adapter=adapter)`` loads.

    It covers the names and sizes of all files, the contents of configuration, tokenizer and
    processor, and blocks of the weights at regular distances. It does not depend on the directory
    and the dates of the files.
    """
    directory = Path(model)
    if is_adapter(directory):
        return model_fingerprint(adapter_base(directory), directory)
    digest = hashlib.sha256()
    for folder in (_local(model), adapter):
        for file in sorted(folder.iterdir()) if folder is not None else ():
            if file.suffix in (*WEIGHT_FILES, *SETTING_FILES) and file.is_file():
                digest.update(f"{file.name} {file.stat().st_size}\n".encode())
                _add_content(digest, file)
        digest.update(b"-")
    return digest.hexdigest()


def _local(model: str) -> Path:
    """Return the model's directory: itself, or the one to which the hub's files were
    downloaded."""
    if Path(model).is_dir():
        return Path(model)
    config = try_to_load_from_cache(model, "config.json")
    if not isinstance(config, str):
        raise FileNotFoundError(f"{model} is neither a directory nor in the hub's cache")
    return Path(config).parent


def _add_content(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as content:
        if file.suffix in SETTING_FILES or size <= BLOCK * BLOCKS:
            while block := content.read(BLOCK):
                digest.update(block)
            return
        for number in range(BLOCKS):
            content.seek((size - BLOCK) * number // (BLOCKS - 1))
            digest.update(content.read(BLOCK))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write(path, json.dumps(content, indent=2) + "\n")
