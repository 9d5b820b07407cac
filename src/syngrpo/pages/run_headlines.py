"""Computes the numbers of a run that are shown first, in the report's cards and in the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syngrpo.pages.labelled_picture import installed_task
from syngrpo.pages.run_data import RunData
from syngrpo.pool.stored_samples import PoolStats
from syngrpo.tasks import TASKS

GENERAL_TITLES = {
    "greedy/accuracy": "greedy accuracy reward",
    "greedy/format": "greedy, well formed",
    "greedy/unreadable": "greedy, unreadable answers",
    "greedy/other_scale": "greedy, boxes on another scale",
    "greedy/outside": "greedy, boxes reaching out of the image",
    "sampled/accuracy": "sampled accuracy reward",
    "sampled/format": "sampled, well formed",
    "diversity/response": "response diversity D",
    "samples": "samples",
}
"""Titles of the metrics that every task has. A task gives titles to its own metrics."""

_PARTS = ("greedy", "sampled", "diversity", "samples")
_METRIC = re.compile(r"(?:(.+?)/)?((?:greedy|sampled|diversity)/.+|samples)")
_ACCURACY = "greedy/accuracy"


@dataclass(frozen=True)
class Change:
    """A metric at the first and at the last evaluation; ``after`` is None when there is only one.

    Intervals are 95 % bootstrap intervals, None where the file has none.
    """

    title: str
    before: float
    after: float | None
    before_interval: tuple[float, float] | None
    after_interval: tuple[float, float] | None

    @property
    def points(self) -> float | None:
        """The change in percentage points, None without a second evaluation."""
        return None if self.after is None else 100 * (self.after - self.before)


@dataclass(frozen=True)
class ImageCounts:
    """What happened to the descriptions of a run; submitted = admitted + rejected + failed +
    unfinished.

    ``reasons``: number of rejected images by reason; ``failed``: number of jobs given up after
    errors of the generator or a judge; ``unfinished``: those that were not painted when the run
    ended; ``settled`` descriptions got their reward, ``stale`` ones were discarded without one.
    """

    submitted: int
    dropped: int
    admitted: int
    rejected: int
    failed: int
    unfinished: int
    settled: int
    stale: int
    skipped: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Pace:
    """How fast a run went, in seconds. ``a_step`` is the median, None before the first step;
    ``waited`` is the share in [0, 1] of the time spent waiting for data."""

    steps: int
    planned: int | None
    total: float
    a_step: float | None
    waited: float


def split_metric(name: str) -> tuple[str, str]:
    """Split a metric's name into task and metric: "rec/greedy/format" → "rec", "greedy/format".

    In a set of several tasks each task has metrics of its own. The task is "" for a name without
    one.
    """
    match = _METRIC.fullmatch(name)
    return (match[1] or "", match[2]) if match else ("", name)


def metric_title(run: RunData, name: str) -> str:
    """Return the title of a metric of an evaluation; its name if it has no title."""
    task, metric = split_metric(name)
    part, _, rest = metric.partition("/")
    titles = _titles(_headlines(run, task))
    title = titles.get(metric, f"{part} {rest.replace('/', ' ')}" if rest else metric)
    return f"{task}: {title}" if task else title


def metric_order(run: RunData, name: str) -> tuple[str, int, int, str]:
    """Return a key that sorts metrics by task (those over all tasks first), then greedy before
    sampled ones, then headlines before others."""
    task, metric = split_metric(name)
    part = metric.partition("/")[0]
    known = list(_titles(_headlines(run, task)))
    return (
        task,
        _PARTS.index(part) if part in _PARTS else len(_PARTS),
        known.index(metric) if metric in known else len(known),
        metric,
    )


def headline_metrics(run: RunData, set_name: str) -> list[str]:
    """Return the most important metrics of a held-out set: the first headline of its task for
    greedy answers, and the same for sampled ones; those of each task if the set has several."""
    known = {name for e in run.evaluations if e.set == set_name for name in e.metrics}
    tasks = sorted({split_metric(name)[0] for name in known} - {""})
    found = []
    for task in tasks or [""]:
        prefix = f"{task}/" if task else ""
        firsts = [next(iter(headlines)) for headlines in _headlines(run, task)]
        choices = [metric for metric in firsts if metric != _ACCURACY] + [_ACCURACY]
        greedy = next((metric for metric in choices if prefix + metric in known), _ACCURACY)
        sampled = greedy.replace("greedy/", "sampled/", 1)
        if prefix + sampled not in known:
            sampled = "sampled/accuracy"
        found += [prefix + metric for metric in (greedy, sampled) if prefix + metric in known]
    return found


def _headlines(run: RunData, task: str) -> list[Mapping[str, str]]:
    """Return the headlines (metric → title) of the tasks that a metric may belong to.

    These are the task itself, or for "" the tasks of all sets that have only one. Evaluations of
    earlier versions do not name their tasks; for those, all installed tasks are used.
    """
    names = [task] if task else run.only_tasks() or TASKS.names()
    tasks = [installed_task(name) for name in names]
    return [one.headlines for one in tasks if one is not None and one.headlines]


def _titles(headlines: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return metric → title. A metric that every task has gets its general title if it may belong
    to several tasks."""
    titles = {}
    for one in headlines:
        for metric, title in one.items():
            if metric in GENERAL_TITLES and len(headlines) > 1:
                continue
            part, _, rest = metric.partition("/")
            titles[metric] = f"{part} {title}"
            if part == "greedy" and metric not in GENERAL_TITLES:
                titles[f"sampled/{rest}"] = f"sampled {title}"
    return {**titles, **{m: t for m, t in GENERAL_TITLES.items() if m not in titles}}


def changes(run: RunData, set_name: str, metrics: list[str]) -> list[Change]:
    """Return the changes between the first and the last evaluation of a held-out set, for the
    metrics that both have."""
    first, last = run.first_and_last(set_name)
    return [
        Change(
            title=metric_title(run, name),
            before=first.metrics[name],
            after=last.metrics[name] if last.step > first.step else None,
            before_interval=first.intervals.get(name),
            after_interval=last.intervals.get(name),
        )
        for name in metrics
        if name in first.metrics and name in last.metrics
    ]


def task_changes(run: RunData) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """Return, for each task of a run with several, the titles of its measures with their means over
    the first and the last tenth of the steps. Empty for a run with one task."""
    tasks = run.tasks() if len(run.tasks()) > 1 else []
    return [(task, _ends(run, task)) for task in tasks]


def _ends(run: RunData, task: str) -> list[tuple[str, float, float]]:
    found = []
    for title, metric in (("reward", "reward/accuracy"), ("D", "diversity/response")):
        curve = run.curve(f"{metric}/{task}")
        start, end = curve.head(), curve.tail()
        if start is not None and end is not None:
            found.append((title, start, end))
    return found


def image_counts(run: RunData, stats: PoolStats | None) -> ImageCounts:
    """Return the counts over the whole run.

    Metrics and pool count the same, but each may miss some: a resumed run does not count again what
    was submitted after its checkpoint, and a repaired pool has lost rows. So the larger count is
    taken, and no more jobs have ended than were submitted. Reasons of rejection come from the pool.
    """
    jobs = stats.jobs if stats is not None else {}
    ended = {
        state: max(int(run.total(f"synthesis/{state}")), jobs.get(state, 0))
        for state in ("admitted", "rejected", "dead")
    }
    in_pool = sum(jobs.values())
    submitted = max(int(run.total("synthesis/submitted")), in_pool, sum(ended.values()))
    return ImageCounts(
        submitted=submitted,
        dropped=int(run.total("synthesis/dropped")),
        admitted=ended["admitted"],
        rejected=ended["rejected"],
        failed=ended["dead"],
        unfinished=submitted - sum(ended.values()),
        settled=int(run.total("synthesis/settled")),
        stale=int(run.total("synthesis/stale")),
        skipped=int(run.total("synthesis/skipped")),
        reasons=dict(stats.rejected) if stats else {},
    )


def pace(run: RunData) -> Pace:
    """Return the number of steps done and planned, the total time, the median time of a step, and
    the share of the time spent waiting for data."""
    seconds = run.curve("time/step_s").values
    total = sum(seconds)
    return Pace(
        steps=run.metrics[-1]["step"] if run.metrics else 0,
        planned=run.setting("trainer", "steps"),
        total=total,
        a_step=sorted(seconds)[len(seconds) // 2] if seconds else None,
        waited=run.total("time/wait_data_s") / total if total else 0.0,
    )


def duration(seconds: float) -> str:
    """Return a time as text: "42 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
