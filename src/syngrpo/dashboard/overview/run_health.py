"""Says in words what is wrong with a run now, from its metrics, and what to do about it.

The trainer's own warnings (``workflow.run_warnings``) say once in the log what they have seen at
some step. These here are about the last steps, and go away when the run recovers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syngrpo.dashboard.queue.queue_state import queue_curves
from syngrpo.pages.run_data import Curve, RunData

WINDOW = 20
"""Number of last steps that are looked at; fewer steps than half of it say nothing."""
LOST, COLLAPSED, NO_VARIANCE = 0.5, 0.02, 0.8
"""Share of the best mean format below which the format is lost; D below which it has collapsed;
share of groups without variance above which most groups teach nothing."""
WORN = 0.6
"""Share of the words' variety at the start below which descriptions are worn out."""
WAITING, CUT = 0.2, 0.5
"""Share of a step that is spent waiting for data, and share of cut responses, that are too much."""


@dataclass(frozen=True)
class Advice:
    """What is wrong, with its numbers, and what to do."""

    problem: str
    remedy: str


def advice(run: RunData) -> list[Advice]:
    """Return what is wrong with the last steps of a run; [] for a healthy run and for one that has
    only just begun."""
    if len(run.metrics) < WINDOW // 2:
        return []
    last = run.metrics[-WINDOW:]
    return [*_of_responses(run, last), *_of_descriptions(run, last), *_of_synthesis(last)]


def waiting_descriptions(run: RunData) -> Curve:
    """Return, over the steps, how many submitted descriptions had not been painted, refused or
    given up: those in the queue, with a worker, or on their way back to the trainer."""
    curves = queue_curves(run)
    if curves is None:
        return Curve([], [])
    return Curve(list(curves.steps), list(curves.open))


def _of_responses(run: RunData, last: Sequence[Mapping[str, Any]]) -> Iterator[Advice]:
    form, best = _mean(last, "reward/format"), _best(run, "reward/format")
    if form is not None and best is not None and best > LOST and form < LOST * best:
        yield Advice(
            f"The format is lost: {form:.0%} of the responses are well formed, {best:.0%} were.",
            "Go back to a checkpoint from before, and lower trainer.learning_rate, or raise "
            "method.scene_beta or trainer.groups_per_step.",
        )
    cut = _mean(last, "rollout/cut_share")
    if cut is not None and cut > CUT:
        yield Advice(
            f"{cut:.0%} of the responses end at the length limit.",
            "Raise rollout.max_new_tokens; a response without its answer earns nothing.",
        )
    d, dead = _mean(last, "diversity/response"), _mean(last, "diversity/zero_variance_groups")
    if d is not None and dead is not None and (d < COLLAPSED or dead > NO_VARIANCE):
        yield Advice(
            f"Diversity has collapsed: D is {d:.3f}, and in {dead:.0%} of the groups all responses "
            "have the same accuracy, so that nothing is learnt from them.",
            "If the accuracy is high, the training data is learnt: stop, or add images. Otherwise "
            "raise pool.synthetic_ratio, method.diversity_weight or rollout.temperature.",
        )


def _of_descriptions(run: RunData, last: Sequence[Mapping[str, Any]]) -> Iterator[Advice]:
    start, now = run.curve("description/distinct").head(), _mean(last, "description/distinct")
    if start and now is not None and now < WORN * start:
        yield Advice(
            f"Descriptions are worn out: {now:.0%} of their words differ, {start:.0%} did at the "
            "start.",
            "Raise method.scene_beta, or lower method.diversity_weight.",
        )
    settled, stale = _sum(last, "synthesis/settled"), _sum(last, "synthesis/stale")
    if stale and stale > settled:
        yield Advice(
            f"{stale:.0f} descriptions were too old for their reward in the last steps, "
            f"{settled:.0f} were rewarded.",
            "Images are measured too late: raise pool.synthetic_ratio, lower "
            "method.descriptions_per_group, or raise method.max_staleness.",
        )


def _of_synthesis(last: Sequence[Mapping[str, Any]]) -> Iterator[Advice]:
    submitted, dead = _sum(last, "synthesis/submitted"), _sum(last, "synthesis/dead")
    admitted, rejected = _sum(last, "synthesis/admitted"), _sum(last, "synthesis/rejected")
    dropped = _sum(last, "synthesis/dropped")
    if submitted + dropped and not admitted + rejected + dead:
        yield Advice(
            "Nothing is painted: descriptions are submitted, and no worker has finished one in the "
            f"last {len(last)} steps.",
            "Look at the tab Data server: are workers there, and what are their errors?",
        )
    if dead and dead >= admitted:
        yield Advice(
            f"{dead:.0f} jobs were given up after errors in the last steps, {admitted:.0f} images "
            "were admitted.",
            "The generator or a judge fails; the tab Data server shows the errors.",
        )
    if rejected >= WINDOW / 2 and not admitted:
        yield Advice(
            f"The gate has refused all {rejected:.0f} images of the last steps.",
            "Look at the tab Gate: by which check, and how far from its threshold?",
        )
    waited, step = _sum(last, "time/wait_data_s"), _sum(last, "time/step_s")
    if step and waited > WAITING * step:
        yield Advice(
            f"The trainer spends {waited / step:.0%} of its time waiting for data.",
            "Start more workers, or lower pool.synthetic_ratio.",
        )


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if isinstance(row.get(name), int | float)]


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = _values(rows, name)
    return sum(values) / len(values) if values else None


def _sum(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(_values(rows, name))


def _best(run: RunData, name: str) -> float | None:
    """Return the highest mean of a metric over a window of steps."""
    values = run.curve(name).values
    windows = [values[start : start + WINDOW] for start in range(0, len(values), WINDOW // 2)]
    return max((sum(window) / len(window) for window in windows), default=None)
