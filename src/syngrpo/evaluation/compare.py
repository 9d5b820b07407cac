"""Compares evaluations of several models on the same samples, sample by sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from syngrpo.evaluation.bootstrap import Interval, intervals
from syngrpo.evaluation.conditions import Mismatch, mismatches
from syngrpo.evaluation.evaluation_reading import read_evaluation
from syngrpo.evaluation.prediction_metrics import (
    Part,
    PartMetrics,
    headlines,
    kinds,
    parts,
    reward_names,
)
from syngrpo.evaluation.predictions import Prediction
from syngrpo.evaluation.repeated_answers import repeated_titles
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write

COMPARISON = "comparison.json"


@dataclass(frozen=True)
class Difference:
    """The value in an evaluation minus that in the first, over the same samples."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class ComparedMetric:
    """One metric: its value in every evaluation, and the differences of all but the first."""

    metric: str
    title: str
    values: tuple[float, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class ComparedSet:
    """The comparison over one set of samples. ``shared`` is the number of samples that all
    evaluations have, ``samples`` the number that each of them has."""

    name: str
    shared: int
    samples: tuple[int, ...]
    rows: tuple[ComparedMetric, ...]


@dataclass(frozen=True)
class Comparison:
    """The result of ``compare``. ``names`` are those of the evaluations; all others are compared
    with the first. ``mismatches`` are in what they differ beside the model, and ``left_out`` the
    sets that not all of them have."""

    names: tuple[str, ...]
    sets: tuple[ComparedSet, ...]
    mismatches: tuple[Mismatch, ...] = ()
    left_out: tuple[str, ...] = ()


def compare(
    directories: Sequence[Path],
    seed: int = 0,
    allow_different: bool = False,
    only: str | None = None,
) -> Comparison:
    """Compare at least two finished evaluations, directories of ``syngrpo evaluate --out``.

    Each set that all of them have is compared over the samples that all of them have: every
    headline metric, those of several sampled answers together, and the first headline metric also
    by kind of question. Differences are paired: a resample holds the same samples of both. ``seed``
    is that of the resamples. With ``only``, the other sets are not read.

    Raises InputError for a directory without a finished evaluation, when the evaluations share no
    sample, when one id stands for different samples, and, unless ``allow_different``, when the
    evaluations differ in more than the model: in settings, prompts, samples or libraries.
    """
    if len(directories) < 2:
        raise InputError("compare needs at least two evaluations; give their --out directories")
    read = [read_evaluation(directory, only) for directory in directories]
    outputs, contents = zip(*read, strict=True)
    shared = [name for name in outputs[0] if all(name in output for output in outputs)]
    if not shared:
        listed = "; ".join(
            f"{directory}: {', '.join(output)}"
            for directory, output in zip(directories, outputs, strict=True)
        )
        raise InputError(f"the evaluations share no set ({listed}); evaluate on the same data")
    paired = {name: _paired(name, [o[name] for o in outputs], directories) for name in shared}
    names = _names(directories)
    found = mismatches(contents)
    for name in shared:
        found += _of_samples(name, [output[name] for output in outputs])
    if found and not allow_different:
        raise InputError(
            "the evaluations differ in more than the model: "
            f"{'; '.join(one.words(names) for one in found)}; evaluate all alike, or compare "
            "anyway with --allow-different"
        )
    sets = [
        ComparedSet(
            name,
            len(paired[name][0]),
            tuple(len(output[name]) for output in outputs),
            tuple(_rows_of_set(paired[name], seed)),
        )
        for name in shared
    ]
    left_out = dict.fromkeys(name for output in outputs for name in output if name not in shared)
    return Comparison(names, tuple(sets), tuple(found), tuple(left_out))


def write_comparison(comparison: Comparison, directory: Path) -> Path:
    """Write ``comparison.json`` to the directory, which is created, and return its path."""
    path = directory / COMPARISON
    atomic_write(path, json.dumps(asdict(comparison), indent=2) + "\n")
    return path


def _paired(
    name: str, all_predictions: Sequence[Sequence[Prediction]], where: Sequence[Path]
) -> list[list[Prediction]]:
    """Return the predictions for the samples that all evaluations have, in the same order. Raises
    InputError when there are none, and when one id stands for different samples."""
    by_id = [{p.id: p for p in predictions} for predictions in all_predictions]
    ids = [i for i in by_id[0] if all(i in predictions for predictions in by_id)]
    if not ids:
        raise InputError(
            f"set {name}: {where[0]} and the others share no sample; use the same data"
        )
    paired = [[predictions[i] for i in ids] for predictions in by_id]
    for directory, predictions in zip(where[1:], paired[1:], strict=True):
        for one, other in zip(paired[0], predictions, strict=True):
            if _sample_of(one) != _sample_of(other):
                raise InputError(
                    f"set {name}: sample {one.id!r} is not the same in {where[0]} and {directory}; "
                    "evaluate on the same data"
                )
    return paired


def _rows_of_set(paired: Sequence[Sequence[Prediction]], seed: int) -> list[ComparedMetric]:
    rewards = reward_names(paired[0])
    rows = [
        row
        for part in parts(paired[0])
        for row in _rows(paired, part, headlines(part.task, rewards), seed, bool(part.task))
    ]
    for part in kinds(paired[0]):
        first = dict(list(headlines(part.task).items())[:1])
        rows += _rows(paired, part, first, seed)
    return rows


def _rows(
    paired: Sequence[Sequence[Prediction]],
    part: Part,
    titles: dict[str, str],
    seed: int,
    repeated: bool = False,
) -> list[ComparedMetric]:
    """Return one row for each of the metrics in ``titles`` that all evaluations have, and if
    ``repeated`` for those of several answers together."""
    measured = [PartMetrics([p[i] for i in part.indices], part.task) for p in paired]
    values = [one.all() for one in measured]
    shared = set(values[0]).intersection(*values[1:])
    if repeated:
        titles = titles | repeated_titles(shared)
    names = [name for name in titles if name in shared]
    found = [_intervals(measured[0], other, names, seed) for other in measured[1:]]
    return [
        ComparedMetric(
            metric=part.key(name),
            title=f"{part.name}, {titles[name]}" if part.name else titles[name],
            values=tuple(value[name] for value in values),
            differences=tuple(
                Difference(value[name] - values[0][name], ranges[number])
                for value, ranges in zip(values[1:], found, strict=True)
            ),
        )
        for number, name in enumerate(names)
    ]


def _intervals(
    first: PartMetrics, other: PartMetrics, names: Sequence[str], seed: int
) -> list[Interval | None]:
    """Return the intervals of other − first, for each of the metrics."""
    in_first, in_other = ([one.names.index(name) for name in names] for one in (first, other))

    def difference(counts: np.ndarray) -> np.ndarray:
        return other.values(counts)[in_other] - first.values(counts)[in_first]

    return intervals(difference, first.units, [first.biased[i] for i in in_first], seed=seed)


def _sample_of(prediction: Prediction) -> tuple[object, ...]:
    p = prediction
    return p.task, p.question, p.truth, p.kind, p.image


def _of_samples(name: str, all_predictions: Sequence[Sequence[Prediction]]) -> list[Mismatch]:
    """Return in what the samples of a set and their prompts differ."""
    found = []
    ids = [{p.id for p in predictions} for predictions in all_predictions]
    if any(one != ids[0] for one in ids):
        found.append(Mismatch(f"number of samples of {name}", tuple(map(len, ids))))
    first = {p.id: p.prompt for p in all_predictions[0]}
    others = [
        sum(bool(p.prompt) and first.get(p.id, p.prompt) not in ("", p.prompt) for p in predictions)
        for predictions in all_predictions
    ]
    if any(others):
        values = tuple(f"{number} others" if number else "the first" for number in others)
        found.append(Mismatch(f"prompts of {name}", values))
    return found


def _names(directories: Sequence[Path]) -> tuple[str, ...]:
    """Return the last parts of the directories' paths, as many as tell them apart."""
    parts = [directory.resolve().parts for directory in directories]
    for length in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(one[-length:]) for one in parts)
        if len(set(names)) == len(names):
            return names
    return tuple(map(str, directories))
