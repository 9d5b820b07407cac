"""What a model answered to one sample, and the JSONL file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


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
    """All answers to one sample; ``diversity`` is D of the sampled ones, 0 when there are none."""

    id: str
    task: str
    question: str
    truth: Any
    kind: str | None
    greedy: Answer
    sampled: tuple[Answer, ...]
    diversity: float


def write_predictions(predictions: Iterable[Prediction], path: Path) -> None:
    """One JSON object a line, the fields of Prediction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for prediction in predictions:
            file.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
