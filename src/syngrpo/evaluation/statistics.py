"""Numbers over a list of predictions: accuracies, format, diversity, by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syngrpo.evaluation.detection import BIASED, NAMES, DetectionMetrics
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.tasks.ovd import DETECTION

THRESHOLDS: dict[str, tuple[float, ...]] = {"rec": (0.5, 0.75, 0.9)}
"""Tasks whose accuracy is an overlap: the share of answers at or above each is reported too."""

_REC_HEADLINES = {
    "greedy/acc@0.5": "Acc@0.5",
    "greedy/acc@0.75": "Acc@0.75",
    "greedy/acc@0.9": "Acc@0.9",
    "greedy/accuracy": "mean IoU",
}
_OVD_HEADLINES = {"greedy/map": "COCO mAP", "greedy/ap50": "AP50", "greedy/f1@0.5": "F1@0.5"}
_OTHER_HEADLINES = {"greedy/accuracy": "accuracy"}
_REWARD = {"sampled/accuracy": "sampled accuracy reward"}

PerSample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """Predictions measured together, by their ``indices``; ``name`` is "" for all there are.

    ``task`` is "" where predictions of several tasks come together.
    """

    name: str
    task: str
    indices: tuple[int, ...]

    def key(self, metric: str) -> str:
        """What a metric of this part is called beside those of other parts."""
        return f"{self.name}/{metric}" if self.name else metric


class Statistics:
    """All metrics of N predictions of one task ("" for several), for any selection of them."""

    def __init__(self, predictions: Sequence[Prediction], task: str) -> None:
        columns = per_sample(predictions, task)
        self._means = np.stack(list(columns.values()), axis=1)
        self._detection = DetectionMetrics(predictions) if task in DETECTION else None
        self.names = (*columns, *(NAMES if self._detection else ()))
        self.biased = [name in BIASED for name in self.names]
        self.units = [p.image or p.id for p in predictions]

    def values(self, counts: np.ndarray) -> np.ndarray:
        """The metrics (len(names),) of predictions taken ``counts`` (N,) times each, at least one
        of them; NaN where undefined."""
        means = counts @ self._means / counts.sum()
        if self._detection is None:
            return means
        return np.concatenate([means, self._detection.values(counts)])

    def all(self) -> dict[str, float]:
        """Name → value over all predictions, where it is defined."""
        values = self.values(np.ones(len(self._means), dtype=np.int64))
        pairs = zip(self.names, values.tolist(), strict=True)
        return {name: value for name, value in pairs if not np.isnan(value)}


def parts(predictions: Sequence[Prediction]) -> list[Part]:
    """All of them, and where they are of several tasks, those of each."""
    everything = tuple(range(len(predictions)))
    tasks = sorted({p.task for p in predictions})
    if len(tasks) == 1:
        return [Part("", tasks[0], everything)]
    by_task = [
        Part(task, task, tuple(i for i in everything if predictions[i].task == task))
        for task in tasks
    ]
    return [Part("", "", everything), *by_task]


def kinds(predictions: Sequence[Prediction]) -> list[Part]:
    """By the kind of the question, where there is one; "isr/count" where tasks are several."""
    result = []
    for part in parts(predictions):
        found = {predictions[i].kind for i in part.indices} if part.task else set()
        for kind in sorted(kind for kind in found if kind):
            chosen = tuple(i for i in part.indices if predictions[i].kind == kind)
            result.append(Part(part.key(kind), part.task, chosen))
    return result


def headlines(task: str) -> dict[str, str]:
    """Name → title of what is looked at first, the most telling before the others; none for ""."""
    if not task:
        return {}
    if task == "rec":
        return _REC_HEADLINES | _REWARD
    return (_OVD_HEADLINES if task in DETECTION else _OTHER_HEADLINES) | _REWARD


def per_sample(predictions: Sequence[Prediction], task: str) -> PerSample:
    """Name → one value per prediction (N,); the mean of each is the metric of that name.

    ``greedy/accuracy`` and ``sampled/accuracy`` are the mean accuracy reward (REC: mean IoU);
    ``…/acc@t`` the share of answers with accuracy ≥ t. The ``sampled`` ones and
    ``diversity/response`` exist only when answers were sampled.
    """
    columns: PerSample = {
        "greedy/accuracy": _column(predictions, lambda p: p.greedy.accuracy),
        "greedy/format": _column(predictions, lambda p: float(p.greedy.well_formed)),
    }
    sampled = bool(predictions) and all(p.sampled for p in predictions)
    for threshold in THRESHOLDS.get(task, ()):
        columns[f"greedy/acc@{threshold}"] = _column(
            predictions, lambda p, t=threshold: float(p.greedy.accuracy >= t)
        )
        if sampled:
            columns[f"sampled/acc@{threshold}"] = _column(
                predictions, lambda p, t=threshold: _mean(p.sampled, lambda a: a.accuracy >= t)
            )
    if sampled:
        columns["sampled/accuracy"] = _column(
            predictions, lambda p: _mean(p.sampled, lambda a: a.accuracy)
        )
        columns["sampled/format"] = _column(
            predictions, lambda p: _mean(p.sampled, lambda a: a.well_formed)
        )
        columns["diversity/response"] = _column(predictions, lambda p: p.diversity)
    return columns


def sample_lines(predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
    """``per_sample`` as plain data, four decimals, beside the column ``id``: so that evaluations of
    the same samples can be compared sample by sample when the answers themselves are gone."""
    tasks = {p.task for p in predictions}
    columns = per_sample(predictions, tasks.pop() if len(tasks) == 1 else "")
    rounded = {name: values.round(4).tolist() for name, values in columns.items()}
    return {"id": [p.id for p in predictions], **rounded}


def _column(predictions: Sequence[Prediction], value: Callable[..., float]) -> np.ndarray:
    return np.array([value(p) for p in predictions], dtype=np.float64)


def _mean(answers: Sequence[Answer], value: Callable[[Answer], float]) -> float:
    return float(np.mean([value(a) for a in answers]))
