"""Computes the metrics of a list of predictions: accuracies, format, diversity, and the task's own.

A set of samples is measured in parts: the whole set, each task if it has several, and each kind of
question. ``PartMetrics`` computes the metrics of one part for any selection of its samples, as a
bootstrap needs it. The task says which metrics it has in addition to the mean accuracy, and their
titles in tables (``thresholds``, ``set_metrics``, ``headlines``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.evaluation.repeated_answers import (
    BEST,
    MAJORITY,
    PASS,
    best_at,
    draws,
    majority,
    pass_at,
)
from syngrpo.serving.wording import count
from syngrpo.tasks import SetMetrics, get_task
from syngrpo.tasks.asking import task_errors

SAMPLED_ACCURACY = {"sampled/accuracy": "sampled accuracy reward"}

PerSample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """Predictions that are measured together, by their ``indices`` in a list.

    ``name``: "" for all predictions. ``task``: "" if they belong to several tasks.
    """

    name: str
    task: str
    indices: tuple[int, ...]

    def key(self, metric: str) -> str:
        """Return the name of a metric of this part, different from those of other parts."""
        return f"{self.name}/{metric}" if self.name else metric


class PartMetrics:
    """Computes all metrics of the N predictions of a part, for any selection of them.

    ``names`` are the metrics. ``biased`` marks those that are biased in a resample, and ``units``
    (N,) names the image of each prediction (see ``bootstrap``).
    """

    def __init__(self, predictions: Sequence[Prediction], task: str) -> None:
        columns = per_sample(predictions, task)
        self._columns = np.stack(list(columns.values()), axis=1)
        self._defined = ~np.isnan(self._columns)
        self._order = np.array(sorted(range(len(predictions)), key=lambda i: predictions[i].id))
        self._task = task
        self._over_set = _set_metrics([predictions[i] for i in self._order], task)
        self.names = (*columns, *(self._over_set.names if self._over_set else ()))
        biased = self._over_set.biased if self._over_set else frozenset()
        self.biased = [name in biased for name in self.names]
        self.units = [p.image or p.id for p in predictions]

    def values(self, counts: np.ndarray) -> np.ndarray:
        """Return the metrics, float (len(names),), of a selection that holds prediction i
        ``counts[i]`` times, at least one in all; NaN where a metric is undefined."""
        means = self._means(counts)
        if self._over_set is None:
            return means
        with task_errors(get_task(self._task), "set_metrics", _number_of(counts)):
            return np.concatenate([means, self._over_set.values(counts[self._order])])

    def all(self) -> dict[str, float]:
        """Return name → value over all predictions, for the metrics that are defined."""
        values = self.values(np.ones(len(self._columns), dtype=np.int64))
        pairs = zip(self.names, values.tolist(), strict=True)
        return {name: value for name, value in pairs if not np.isnan(value)}

    def _means(self, counts: np.ndarray) -> np.ndarray:
        if self._defined.all():
            return counts @ self._columns / counts.sum()
        taken = counts @ self._defined
        totals = counts @ np.where(self._defined, self._columns, 0.0)
        return np.where(taken > 0, totals / np.maximum(taken, 1), np.nan)


def parts(predictions: Sequence[Prediction]) -> list[Part]:
    """Return all predictions as one part, and if they belong to several tasks, a part for each
    task."""
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
    """Return a part for each kind of question, if samples have one. The parts are called "KIND", or
    "TASK/KIND" if there are several tasks."""
    result = []
    for part in parts(predictions):
        found = {predictions[i].kind for i in part.indices} if part.task else set()
        for kind in sorted(kind for kind in found if kind):
            chosen = tuple(i for i in part.indices if predictions[i].kind == kind)
            result.append(Part(part.key(kind), part.task, chosen))
    return result


def headlines(task: str, rewards: Sequence[str] = ()) -> dict[str, str]:
    """Return name → title of the metrics that tables show, the most important first; {} for "".

    ``rewards`` are the names of the user's own rewards.
    """
    if not task:
        return {}
    own = {
        f"{how}/reward/{name}": f"{how} reward {name}"
        for name in rewards
        for how in ("greedy", "sampled")
    }
    return {**get_task(task).headlines, **SAMPLED_ACCURACY, **own}


def reward_names(predictions: Sequence[Prediction]) -> list[str]:
    """Return the names of the user's own rewards that the answers have, in order."""
    return list(dict.fromkeys(name for p in predictions for name in p.greedy.rewards))


def per_sample(predictions: Sequence[Prediction], task: str) -> PerSample:
    """Return name → one value per prediction, float (N,). The mean of the values is the metric of
    that name.

    ``greedy/accuracy`` and ``sampled/accuracy`` are the mean accuracy reward; ``…/acc@t`` the share
    of answers with accuracy ≥ t, for the task's ``thresholds``; ``…/reward/NAME`` the user's own
    rewards, NaN for an answer without a value. The ``sampled`` ones and ``diversity/response``
    exist only if answers were sampled; ``sampled/pass@k``, ``sampled/best@k`` and
    ``sampled/majority`` (``repeated_answers``) if every sample has several.
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
        columns |= _repeated(predictions, task)
    for name in reward_names(predictions):
        columns[f"greedy/reward/{name}"] = _column(
            predictions, lambda p, n=name: _mean_reward([p.greedy], n)
        )
        if sampled:
            columns[f"sampled/reward/{name}"] = _column(
                predictions, lambda p, n=name: _mean_reward(p.sampled, n)
            )
    return columns


def _repeated(predictions: Sequence[Prediction], task: str) -> PerSample:
    """Return the metrics of several answers together. Those of hits and of the most frequent answer
    need one task."""
    columns: PerSample = {}
    of_task = get_task(task) if task else None
    accuracies = [[answer.accuracy for answer in p.sampled] for p in predictions]
    for k in draws(min(map(len, accuracies))):
        columns[f"{BEST}{k}"] = np.array([best_at(own, k) for own in accuracies])
        if of_task is not None:
            hits = [pass_at(own, k, of_task.hit) for own in accuracies]
            columns[f"{PASS}{k}"] = np.array(hits)
    if columns and of_task is not None and of_task.has_majority:
        most = [majority(p.sampled, of_task) for p in predictions]
        columns[MAJORITY] = np.array(most)
    return columns


def sample_lines(predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
    """Return ``per_sample`` as plain data with four decimals, and a column ``id``.

    With these values, evaluations of the same samples can be compared sample by sample without the
    answers themselves.
    """
    tasks = {p.task for p in predictions}
    columns = per_sample(predictions, tasks.pop() if len(tasks) == 1 else "")
    rounded = {
        name: [None if np.isnan(value) else value for value in values.round(4).tolist()]
        for name, values in columns.items()
    }
    return {"id": [p.id for p in predictions], **rounded}


def _set_metrics(predictions: Sequence[Prediction], task: str) -> SetMetrics | None:
    """Return the task's metrics over the whole set, None without any; the predictions are in the
    order of their ids."""
    if not task:
        return None
    truths = [p.truth for p in predictions]
    with task_errors(get_task(task), "set_metrics", _number_of(predictions)):
        return get_task(task).set_metrics(truths, [p.greedy.prediction for p in predictions])


def _number_of(samples: Sized) -> str:
    return count(len(samples), "sample")


def _column(predictions: Sequence[Prediction], value: Callable[..., float]) -> np.ndarray:
    return np.array([value(p) for p in predictions], dtype=np.float64)


def _mean(answers: Sequence[Answer], value: Callable[[Answer], float]) -> float:
    return float(np.mean([value(a) for a in answers]))


def _mean_reward(answers: Sequence[Answer], name: str) -> float:
    """Return the mean over the answers for which the reward has a value; NaN if it has none."""
    given = [value for a in answers if (value := a.rewards.get(name)) is not None]
    return float(np.mean(given)) if given else np.nan
