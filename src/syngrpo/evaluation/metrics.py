"""Numbers over a list of predictions: accuracies, format, diversity, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from syngrpo.evaluation.predictions import Answer, Prediction

THRESHOLDS: dict[str, tuple[float, ...]] = {"rec": (0.5, 0.75, 0.9)}
"""Tasks whose accuracy is an overlap: the share of answers at or above each is reported too."""

Interval = tuple[float, float]
PerSample = dict[str, np.ndarray]


def bootstrap_interval(
    values: np.ndarray, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of ``values`` (N,), N ≥ 1.

    Efron & Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    means = [values[rng.integers(0, n, size=n)].mean() for _ in range(resamples)]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


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


def by_kind(predictions: Sequence[Prediction], columns: PerSample) -> dict[str, dict[str, float]]:
    """Question kind → metric → mean over the predictions of that kind, and their ``samples``."""
    kinds = np.array([p.kind or "" for p in predictions])
    result: dict[str, dict[str, float]] = {}
    for kind in sorted(set(kinds.tolist()) - {""}):
        chosen = kinds == kind
        result[kind] = {name: float(values[chosen].mean()) for name, values in columns.items()}
        result[kind]["samples"] = int(chosen.sum())
    return result


def _column(predictions: Sequence[Prediction], value: Callable[..., float]) -> np.ndarray:
    return np.array([value(p) for p in predictions], dtype=np.float64)


def _mean(answers: Sequence[Answer], value: Callable[[Answer], float]) -> float:
    return float(np.mean([value(a) for a in answers]))
