"""What a model answered to one sample, and the JSONL file that keeps it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_file


@dataclass(frozen=True)
class Answer:
    """One response, read and scored.

    ``prediction`` is in pixels of the original image (REC: a Box), None when unreadable;
    ``accuracy`` is the task's accuracy reward in [0, 1].
    """

    text: str
    prediction: Any | None
    accuracy: float
    well_formed: bool


@dataclass(frozen=True)
class Prediction:
    """All answers to one sample; ``diversity`` is D of the sampled ones, 0 when there are none.

    ``image`` and ``prompt`` are digests of what the model was shown and asked, "" where unknown.
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
    """One JSON object a line, the fields of Prediction. The file appears when it is complete."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, predictions))


def append_predictions(predictions: Iterable[Prediction], path: Path) -> None:
    """Adds lines to the file and hands them to the disk before it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(map(_line, predictions))
        file.flush()
        os.fsync(file.fileno())


def read_predictions(path: Path) -> list[Prediction]:
    """What ``write_predictions`` and ``append_predictions`` wrote; [] when there is no file.

    A last line without its line feed was being written when the process died: it is left out.
    Raises InputError for any other line that is no prediction.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_prediction(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def samples_digest(predictions: Iterable[Prediction]) -> str:
    """Of what was asked, in order, whatever was answered: equal for evaluations of the same
    samples."""
    digest = hashlib.sha256()
    for p in predictions:
        asked = [p.id, p.task, p.question, p.truth, p.kind, p.image, p.prompt]
        digest.update(json.dumps(asked).encode())
    return digest.hexdigest()


def drop_unfinished_line(path: Path) -> None:
    """Cuts off a last line without its line feed, so that lines can be appended."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)


def _line(prediction: Prediction) -> str:
    return json.dumps(asdict(prediction), ensure_ascii=False) + "\n"


def _prediction(line: bytes, where: str) -> Prediction:
    try:
        row = {name: _tuples(value) for name, value in json.loads(line).items()}
        row["greedy"] = Answer(**row["greedy"])
        row["sampled"] = tuple(Answer(**answer) for answer in row["sampled"])
        return Prediction(**row)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{where} is not a prediction; remove the line or the file") from None


def _tuples(value: Any) -> Any:
    """JSON has one kind of array; in answers and predictions it is always a tuple."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
