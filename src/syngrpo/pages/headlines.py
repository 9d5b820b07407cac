"""The few numbers of a run that matter, for the report's cards and the terminal's summary."""

from __future__ import annotations

from dataclasses import dataclass

from syngrpo.pages.run_data import RunData
from syngrpo.pool.stored_samples import PoolStats

SET_TITLES = {"test": "in domain", "ood": "out of domain"}

METRIC_TITLES = {
    "greedy/acc@0.5": "greedy Acc@0.5",
    "greedy/acc@0.75": "greedy Acc@0.75",
    "greedy/acc@0.9": "greedy Acc@0.9",
    "greedy/map": "greedy COCO mAP",
    "greedy/ap50": "greedy AP50",
    "greedy/f1@0.5": "greedy F1@0.5",
    "greedy/accuracy": "greedy accuracy reward",
    "greedy/format": "greedy, well formed",
    "greedy/unreadable": "greedy, unreadable answers",
    "sampled/acc@0.5": "sampled Acc@0.5",
    "sampled/acc@0.75": "sampled Acc@0.75",
    "sampled/acc@0.9": "sampled Acc@0.9",
    "sampled/accuracy": "sampled accuracy reward",
    "sampled/format": "sampled, well formed",
    "diversity/response": "response diversity D",
    "samples": "samples",
}

HEADLINES = (
    ("greedy/map", "greedy/acc@0.5", "greedy/accuracy"),
    ("sampled/acc@0.5", "sampled/accuracy"),
)
"""Of each line the first metric that there is."""


@dataclass(frozen=True)
class Change:
    """A metric at the first and at the last evaluation; ``after`` is None when there is only one.

    Intervals are 95 % bootstrap intervals, None where the file has none.
    """

    metric: str
    before: float
    after: float | None
    before_interval: tuple[float, float] | None
    after_interval: tuple[float, float] | None

    @property
    def title(self) -> str:
        return metric_title(self.metric)


@dataclass(frozen=True)
class ImageCounts:
    """What became of the descriptions: jobs submitted, and the images they ended as."""

    submitted: int
    dropped: int
    admitted: int
    rejected: int
    settled: int
    stale: int
    skipped: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Pace:
    """Seconds. ``waited`` is the share of the time spent waiting for data, in [0, 1]."""

    steps: int
    planned: int | None
    total: float
    a_step: float | None
    waited: float


def set_title(name: str) -> str:
    """ "test" → "test · in domain"."""
    return f"{name} · {SET_TITLES[name]}" if name in SET_TITLES else name


def split_metric(name: str) -> tuple[str, str]:
    """Task ("" where the name has none) and metric: "rec/greedy/format" → "rec", "greedy/format".

    In a set of several tasks each has metrics of its own.
    """
    for metric in METRIC_TITLES:
        if name.endswith(f"/{metric}"):
            return name.removesuffix(f"/{metric}"), metric
    return "", name


def metric_title(name: str) -> str:
    """A metric in words; the name itself where there are none."""
    task, metric = split_metric(name)
    title = METRIC_TITLES.get(metric, metric)
    return f"{task}: {title}" if task else title


def metric_order(name: str) -> tuple[str, int, str]:
    """Sorts metrics by task, those of all tasks first, then as METRIC_TITLES."""
    task, metric = split_metric(name)
    known = list(METRIC_TITLES)
    return task, known.index(metric) if metric in known else len(known), metric


def headline_metrics(run: RunData, set_name: str) -> list[str]:
    """What is looked at first in a held-out set: greedy, then sampled; of each task where the set
    has several."""
    known = {name for e in run.evaluations if e.set == set_name for name in e.metrics}
    tasks = sorted({split_metric(name)[0] for name in known})
    prefixes = [f"{task}/" for task in tasks if task] or [""]
    return [
        next(prefix + name for name in choices if prefix + name in known)
        for prefix in prefixes
        for choices in HEADLINES
        if any(prefix + name in known for name in choices)
    ]


def changes(run: RunData, set_name: str, metrics: list[str]) -> list[Change]:
    """First against last evaluation of a held-out set, for those metrics it has."""
    first, last = run.first_and_last(set_name)
    return [
        Change(
            metric=name,
            before=first.metrics[name],
            after=last.metrics[name] if last.step > first.step else None,
            before_interval=first.intervals.get(name),
            after_interval=last.intervals.get(name),
        )
        for name in metrics
        if name in first.metrics and name in last.metrics
    ]


def task_changes(run: RunData) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """Of a run with several tasks, for each of them: what is measured, the mean of its first tenth
    and of its last. Empty for a run with one."""
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
    """Counts over the whole run; from the metrics, the reasons from the pool where there is one."""
    return ImageCounts(
        submitted=int(run.total("synthesis/submitted")),
        dropped=int(run.total("synthesis/dropped")),
        admitted=int(run.total("synthesis/admitted")),
        rejected=int(run.total("synthesis/rejected")),
        settled=int(run.total("synthesis/settled")),
        stale=int(run.total("synthesis/stale")),
        skipped=int(run.total("synthesis/skipped")),
        reasons=dict(stats.rejected) if stats else {},
    )


def pace(run: RunData) -> Pace:
    """Steps done and planned, seconds in all and a step, share of it waited for data."""
    seconds = run.curve("time/step_s").values
    total = sum(seconds)
    return Pace(
        steps=run.metrics[-1]["step"] if run.metrics else 0,
        planned=(run.config.get("trainer") or {}).get("steps"),
        total=total,
        a_step=sorted(seconds)[len(seconds) // 2] if seconds else None,
        waited=run.total("time/wait_data_s") / total if total else 0.0,
    )


def duration(seconds: float) -> str:
    """ "42 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
