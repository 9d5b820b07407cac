"""Chooses and joins the curves of the tab Metrics: every key of ``metrics.jsonl`` and every metric
of the evaluations, over steps or time, of one run or of several with their seeds taken together.

``MetricNames`` finds the keys of a run, ``seed_groups`` says which runs belong together, and
``MetricCurves`` returns what a chart draws.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any, Literal

import numpy as np

from syngrpo.dashboard.metrics.metric_meanings import meaning
from syngrpo.dashboard.parts.curve_chart import Line
from syngrpo.pages.run_data import RunData
from syngrpo.pages.run_headlines import metric_title

Axis = Literal["step", "time"]

EVALUATION = "evaluation"
GENERAL = "general"
"""The group of keys that have no part before a slash."""
_NO_LEARNING = ("server", "logging")
"""Sections of the configuration that do not change what a run computes."""
_SEED_IN_NAME = re.compile(r"[-_~. ]+(seed|s)?[-_~. ]*$", re.IGNORECASE)


@dataclass(frozen=True)
class MetricKey:
    """A metric: its ``name`` in the tab, and ``key``, its name in ``metrics.jsonl``, or in the
    evaluations of the held-out set ``of_set``; with ``kind``, over the questions of that kind."""

    name: str
    key: str
    of_set: str = ""
    kind: str = ""

    @property
    def group(self) -> str:
        """The heading below which the metric stands: the first part of its name, and for an
        evaluation the set, too."""
        if self.of_set:
            return f"{EVALUATION}/{self.of_set}" + ("/by kind of question" if self.kind else "")
        first, slash, _ = self.name.partition("/")
        return first if slash else GENERAL


@dataclass(frozen=True)
class RunGroup:
    """Runs that are drawn as one line, under a common ``name``."""

    name: str
    runs: tuple[str, ...]


class MetricNames:
    """The metrics of a run, in the order in which they appear in its files. Only rows that were
    added since the last call are looked at."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._rows: Sequence[Mapping[str, Any]] = []

    def of(self, data: RunData) -> list[MetricKey]:
        """Return the metrics of the run. Keys whose values are no numbers are left out."""
        rows, seen = data.metrics, len(self._rows)
        if len(rows) < seen or (seen and rows[seen - 1] is not self._rows[-1]):
            self._keys, seen = {}, 0
        for row in islice(rows, seen, None):
            if not self._keys.keys() >= row.keys():
                numbers = (key for key, value in row.items() if _may_be_number(value))
                self._keys.update(dict.fromkeys(numbers))
        self._rows = rows
        own = [MetricKey(key, key) for key in self._keys if key != "step"]
        return [*own, *_of_evaluations(data)]


def seed_groups(configs: Mapping[str, Mapping[str, Any]]) -> list[RunGroup]:
    """Return the runs (name → configuration), those that differ only in ``trainer.seed`` together.
    A run without a configuration stays alone."""
    together: dict[str, list[str]] = {}
    for name, config in configs.items():
        together.setdefault(_without_seed(config) or f"only {name}", []).append(name)
    groups: list[RunGroup] = []
    for names in together.values():
        title = names[0] if len(names) == 1 else _common_name(names)
        if title in {group.name for group in groups}:
            title = f"{title} [{len(groups) + 1}]"
        groups.append(RunGroup(title, tuple(names)))
    return groups


class MetricCurves:
    """The curves of some runs as arrays. A curve that was read stays in memory."""

    def __init__(
        self, runs: Mapping[str, RunData] | None = None, before: MetricCurves | None = None
    ) -> None:
        """Use ``runs`` (name → data), and of the curves ``before`` those that are still valid."""
        self._runs = runs or {}
        self._found: dict[tuple[str, MetricKey], _Points] = {}
        if before is not None:
            same = {name for name, data in self._runs.items() if before._runs.get(name) is data}
            known = list(before._found.items())
            self._found = {key: points for key, points in known if key[0] in same}

    def lines(self, groups: Sequence[RunGroup], key: MetricKey, axis: Axis = "step") -> list[Line]:
        """Return a line for each group that has the metric.

        The line of several runs is their mean at each step, over those that have got so far, with a
        band from the smallest to the largest. The band of a single run is the interval of its
        evaluation. With ``axis`` "time", x is the training time in seconds.
        """
        lines = []
        for colour, group in enumerate(groups):
            found = [self._points(name, key) for name in group.runs]
            found = [points for points in found if len(points.steps)]
            if not found:
                continue
            points = found[0] if len(group.runs) == 1 else _joined(found)
            x = points.steps
            if axis == "time":
                at = np.stack([self._seconds_at(name, x) for name in group.runs])
                # The mean time of each part, over the runs that have got so far, so that x grows
                # also where a slow run ends.
                x = np.cumsum(_mean(np.diff(at, axis=1, prepend=0.0)))
            known = np.isfinite(x)
            columns = (x, points.values, points.low, points.high)
            x, y, low, high = (column[known] if len(column) else column for column in columns)
            lines.append(Line(group.name, x, y, low, high, colour))
        return lines

    def _points(self, name: str, key: MetricKey) -> _Points:
        if (name, key) not in self._found:
            read = _of_evaluation if key.of_set else _of_steps
            self._found[name, key] = read(self._runs[name], key)
        return self._found[name, key]

    def _seconds_at(self, name: str, steps: np.ndarray) -> np.ndarray:
        """Return the training time in seconds at the end of each of the steps (N,), NaN after the
        last one."""
        took = self._points(name, _STEP_TIME)
        passed = np.cumsum([0.0, *took.values])
        seconds = passed[np.searchsorted(took.steps, steps, side="right")]
        rows = self._runs[name].metrics
        return np.where(steps <= (rows[-1]["step"] if rows else 0), seconds, np.nan)


def time_unit(lines: Sequence[Line]) -> tuple[str, float]:
    """Return the unit in which the x of these lines, in seconds, is best read, and its length in
    seconds."""
    longest = max((line.x[-1] for line in lines if len(line.x)), default=0.0)
    if longest < 600:
        return "s", 1.0
    return ("min", 60.0) if longest < 3 * 3600 else ("h", 3600.0)


def metric_words(key: MetricKey, data: RunData) -> str:
    """Return what a metric is in words, "" if it is not known."""
    if not key.of_set:
        return meaning(key.key)
    title = metric_title(data, key.key)
    return f"{title}, {key.kind}" if key.kind else title


def smoothing_of(key: MetricKey, smoothing: float) -> float:
    """Return how far the curve of a metric is smoothed: evaluations are few, and each has its
    interval, so that they are shown as they are."""
    return 0.0 if key.of_set else smoothing


@dataclass(frozen=True)
class _Points:
    """The values (N,) of a metric at ascending steps (N,), and a band, empty or (N,)."""

    steps: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


_NONE = np.zeros(0)
_STEP_TIME = MetricKey("time/step_s", "time/step_s")


def _of_steps(data: RunData, key: MetricKey) -> _Points:
    """Return a metric of the steps. Values that are no finite numbers are left out."""
    try:
        values = np.array([row.get(key.key) for row in data.metrics], dtype=float)
        steps = np.array([row["step"] for row in data.metrics], dtype=float)
    except (TypeError, ValueError, OverflowError):  # a text, a list, or a huge number
        curve = data.curve(key.key)
        steps, values = np.array(curve.steps, dtype=float), np.array(curve.values, dtype=float)
    known = np.isfinite(values)
    return _Points(steps[known], values[known], _NONE, _NONE)


def _of_evaluation(data: RunData, key: MetricKey) -> _Points:
    """Return a metric of the evaluations, with its intervals if all of them have one."""
    found = []
    for evaluation in sorted(data.evaluations, key=lambda one: one.step):
        if evaluation.set == key.of_set:
            metrics = evaluation.kinds.get(key.kind, {}) if key.kind else evaluation.metrics
            of_kind = evaluation.kind_intervals.get(key.kind, {})
            interval = (of_kind if key.kind else evaluation.intervals).get(key.key)
            if _is_finite(value := metrics.get(key.key)):
                found.append((evaluation.step, value, interval))
    low, high = _NONE, _NONE
    bands = [interval for _, _, interval in found if interval is not None]
    if found and len(bands) == len(found):
        low, high = np.array(bands, float).T
    steps, values = (np.array([one[place] for one in found], float) for place in (0, 1))
    return _Points(steps, values, low, high)


def _joined(found: Sequence[_Points]) -> _Points:
    """Return the mean of several curves at each step, with a band from the smallest to the
    largest."""
    steps = np.unique(np.concatenate([points.steps for points in found]))
    values = np.full((len(found), len(steps)), np.nan)
    for row, points in zip(values, found, strict=True):
        row[np.searchsorted(steps, points.steps)] = points.values
    return _Points(steps, _mean(values), np.nanmin(values, axis=0), np.nanmax(values, axis=0))


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the rows (R, N) that are no NaN, NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN
        mean: np.ndarray = np.nanmean(values, axis=0)
    return mean


def _of_evaluations(data: RunData) -> list[MetricKey]:
    found: dict[MetricKey, None] = {}
    for evaluation in data.evaluations:
        place = f"{EVALUATION}/{evaluation.set}"
        for metric in evaluation.metrics:
            found[MetricKey(f"{place}/{metric}", metric, evaluation.set)] = None
        for kind, metrics in evaluation.kinds.items():
            for metric in metrics:
                found[MetricKey(f"{place}/{kind}/{metric}", metric, evaluation.set, kind)] = None
    return list(found)


def _without_seed(config: Mapping[str, Any]) -> str:
    """Return a text that is equal for configurations that differ only in the seed; "" without
    one."""
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or "seed" not in trainer:
        return ""
    kept = deepcopy({name: part for name, part in config.items() if name not in _NO_LEARNING})
    del kept["trainer"]["seed"]
    return json.dumps(kept, sort_keys=True, default=str)


def _common_name(names: Sequence[str]) -> str:
    """Return what the names of the seeds have in common, and their number."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names), strict=False))
    common = "".join(letter for letter, _ in pairs)
    if any(name[len(common) : len(common) + 1].isdigit() for name in names):
        common = common.rstrip("0123456789")  # the first digits of numbers such as 10 and 11
    common = _SEED_IN_NAME.sub("", common) or f"{names[0]} …"
    return f"{common} ({len(names)} seeds)"


def _may_be_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
