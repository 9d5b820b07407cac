"""The metrics of one evaluated set with their intervals, and ``evaluation.jsonl``, in which a run
writes them: one line for each set and step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.evaluation.bootstrap import Interval
from syngrpo.evaluation.bootstrap import intervals as bootstrap_intervals
from syngrpo.evaluation.prediction_metrics import Part, PartMetrics, kinds, parts, sample_lines
from syngrpo.evaluation.predictions import Prediction, samples_digest


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of one set of samples, named as in ``prediction_metrics.per_sample``.

    More are ``greedy/unreadable``, the number of answers without a prediction;
    ``greedy/other_scale`` and ``greedy/outside``, the numbers of answers with boxes on another
    scale or reaching out of the image; and ``samples``, the number of samples.

    In a set of several tasks each task has metrics of its own, whose names start with "TASK/";
    names without a task are over all tasks. ``kinds`` are the metrics by kind of question, for
    samples with a column ``kind``. ``intervals`` and ``kind_intervals`` are 95 % bootstrap
    intervals.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    kinds: dict[str, dict[str, float]]
    kind_intervals: dict[str, dict[str, Interval]]
    predictions: tuple[Prediction, ...]

    def record(self, step: int, set_name: str) -> dict[str, Any]:
        """Return the line of ``evaluation.jsonl``.

        ``samples`` is a digest that is equal in two lines about the same samples; ``per_sample``
        holds the values of each, in order (see ``sample_lines``); ``tasks`` are those of the
        samples.
        """
        return {
            "step": step,
            "set": set_name,
            "tasks": sorted({prediction.task for prediction in self.predictions}),
            **self.summary(),
            "samples": samples_digest(self.predictions),
            "per_sample": sample_lines(self.predictions),
        }

    def summary(self) -> dict[str, Any]:
        """Return all metrics and intervals as plain data."""
        return {
            "metrics": self.metrics,
            "intervals": self.intervals,
            "kinds": self.kinds,
            "kind_intervals": self.kind_intervals,
        }


def summarise(predictions: Sequence[Prediction], seed: int = 0) -> EvaluationResult:
    """Return metrics, intervals and kinds of at least one prediction. ``seed`` is that of the
    resamples."""
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for part in parts(predictions):
        values, ranges = _measure(predictions, part, seed)
        metrics |= {part.key(name): value for name, value in values.items()}
        intervals |= {part.key(name): interval for name, interval in ranges.items()}
    of_kinds = {part.name: _measure(predictions, part, seed) for part in kinds(predictions)}
    return EvaluationResult(
        metrics=metrics,
        intervals=intervals,
        kinds={name: values for name, (values, _) in of_kinds.items()},
        kind_intervals={name: ranges for name, (_, ranges) in of_kinds.items()},
        predictions=tuple(predictions),
    )


def append_evaluation(path: Path, result: EvaluationResult, step: int, set_name: str) -> None:
    """Add one line to ``evaluation.jsonl``. The folder must exist."""
    line = json.dumps(result.record(step, set_name)) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def _measure(
    predictions: Sequence[Prediction], part: Part, seed: int
) -> tuple[dict[str, float], dict[str, Interval]]:
    chosen = [predictions[i] for i in part.indices]
    measured = PartMetrics(chosen, part.task)
    values = measured.all()
    ranges = bootstrap_intervals(measured.values, measured.units, measured.biased, seed=seed)
    intervals = {
        name: interval
        for name, interval in zip(measured.names, ranges, strict=True)
        if interval is not None and name in values
    }
    values["greedy/unreadable"] = sum(p.greedy.prediction is None for p in chosen)
    values["greedy/other_scale"] = sum(p.greedy.other_scale for p in chosen)
    values["greedy/outside"] = sum(p.greedy.outside for p in chosen)
    values["samples"] = len(chosen)
    return values, intervals
