"""Numbers over a list of predictions: accuracies, format, diversity, by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.tasks import SetMetrics, get_task

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
        self._order = np.array(sorted(range(len(predictions)), key=lambda i: predictions[i].id))
        self._over_set = _set_metrics([predictions[i] for i in self._order], task)
        self.names = (*columns, *(self._over_set.names if self._over_set else ()))
        biased = self._over_set.biased if self._over_set else frozenset()
        self.biased = [name in biased for name in self.names]
        self.units = [p.image or p.id for p in predictions]

    def values(self, counts: np.ndarray) -> np.ndarray:
        """The metrics (len(names),) of predictions taken ``counts`` (N,) times each, at least one
        of them; NaN where undefined."""
        means = counts @ self._means / counts.sum()
        if self._over_set is None:
            return means
        return np.concatenate([means, self._over_set.values(counts[self._order])])

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
    return {**get_task(task).headlines, **_REWARD}


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
    for threshold in get_task(task).thresholds if task else ():
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


def _set_metrics(predictions: Sequence[Prediction], task: str) -> SetMetrics | None:
    """The metrics of the task over the whole set; the predictions are in the order of their ids."""
    if not task:
        return None
    truths = [p.truth for p in predictions]
    return get_task(task).set_metrics(truths, [p.greedy.prediction for p in predictions])


def _column(predictions: Sequence[Prediction], value: Callable[..., float]) -> np.ndarray:
    return np.array([value(p) for p in predictions], dtype=np.float64)


def _mean(answers: Sequence[Answer], value: Callable[[Answer], float]) -> float:
    return float(np.mean([value(a) for a in answers]))
