"""The answers of a model to one sample, and the JSONL file that holds them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_file
from syngrpo.serving.run_files import content_of


@dataclass(frozen=True)
class Answer:
    """One response, read and scored.

    ``text``: the whole response. ``prediction``: the result of ``Task.read``, in pixels of the
    original image; None when the answer could not be read. ``accuracy``: the accuracy reward in
    [0, 1]. ``well_formed``: whether the response has its three parts. ``rewards``: the values of
    the user's own rewards by name, None for a reward that does not apply. ``other_scale`` and
    ``outside`` are those of ``ScoredAnswer``.
    """

    text: str
    prediction: Any | None
    accuracy: float
    well_formed: bool
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    other_scale: bool = False
    outside: bool = False


@dataclass(frozen=True)
class Prediction:
    """All answers to one sample: the greedy one and the sampled ones.

    ``truth``: the ground truth of the sample. ``kind``: its column ``kind``, None without one.
    ``diversity``: D of the sampled answers, 0 when there are none. ``image`` and ``prompt``:
    digests of the image and of the prompt text, "" if unknown.
    """

    id: str
    task: str
    question: str
    truth: Any
    kind: str | None
    greedy: Answer
    sampled: tuple[Answer, ...]
    diversity: float
    image: str = ""
    prompt: str = ""


def write_predictions(predictions: Iterable[Prediction], path: Path) -> None:
    """Write one JSON object a line with the fields of ``Prediction``. The file appears under its
    name when it is complete."""
    with atomic_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, predictions))


def append_predictions(predictions: Iterable[Prediction], path: Path) -> None:
    """Add lines to the file, which is created, and wait until they are on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(map(_line, predictions))
        file.flush()
        os.fsync(file.fileno())


def read_predictions(path: Path) -> list[Prediction]:
    """Return the predictions in a file of ``write_predictions`` or ``append_predictions``; [] when
    there is no file.

    A last line without its line feed is left out, because it was being written when the process was
    killed. Raises InputError for any other line that is no prediction.
    """
    lines = content_of(path).split(b"\n")[:-1]
    return [_prediction(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def samples_digest(predictions: Iterable[Prediction]) -> str:
    """Return a digest of the samples and their prompts, in order, without the answers. It is equal
    for two evaluations of the same samples."""
    digest = hashlib.sha256()
    for p in predictions:
        asked = [p.id, p.task, p.question, p.truth, p.kind, p.image, p.prompt]
        digest.update(json.dumps(asked).encode())
    return digest.hexdigest()


def drop_unfinished_line(path: Path) -> None:
    """Cut off a last line without its line feed, so that lines can be appended."""
    if content := content_of(path):
        os.truncate(path, content.rfind(b"\n") + 1)


def _line(prediction: Prediction) -> str:
    row = asdict(prediction)
    for answer in (row["greedy"], *row["sampled"]):
        for name in ("rewards", "other_scale", "outside"):
            if not answer[name]:
                del answer[name]
    return json.dumps(row, ensure_ascii=False) + "\n"


def _prediction(line: bytes, where: str) -> Prediction:
    try:
        row = {name: _with_tuples(value) for name, value in json.loads(line).items()}
        row["greedy"] = _answer(row["greedy"])
        row["sampled"] = tuple(map(_answer, row["sampled"]))
        prediction = Prediction(**row)
        texts = ("id", "task", "question", "image", "prompt")
        _require(all(isinstance(getattr(prediction, name), str) for name in texts))
        _require(isinstance(prediction.kind, str | None) and _is_number(prediction.diversity))
        return prediction
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(f"{where} is not a prediction; remove the line or the file") from None


def _answer(row: Mapping[str, Any]) -> Answer:
    answer = Answer(**row)
    _require(isinstance(answer.text, str) and _is_number(answer.accuracy))
    flags = (answer.well_formed, answer.other_scale, answer.outside)
    _require(all(isinstance(flag, bool) for flag in flags))
    _require(all(value is None or _is_number(value) for value in answer.rewards.values()))
    return answer


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _require(fits: bool) -> None:
    """Raise ValueError for a value of another type than the field has."""
    if not fits:
        raise ValueError("another type")


def _with_tuples(value: Any) -> Any:
    """Return a JSON value with tuples instead of arrays, as in answers and predictions."""
    if isinstance(value, list):
        return tuple(map(_with_tuples, value))
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return value
