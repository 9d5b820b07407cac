"""Which curves a report shows, and what to read from each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syngrpo.pages.charts import Series, line_chart
from syngrpo.pages.headlines import headline_metrics, metric_title
from syngrpo.pages.run_data import Evaluation, RunData


@dataclass(frozen=True)
class Panel:
    """One chart: (name in the legend, name in metrics.jsonl) of each of its curves.

    ``exact`` curves are drawn as they are, not smoothed; ``running_total`` ones are summed up. In a
    run of several tasks the metric ``by_task`` has a chart beside it with a curve for each.
    """

    title: str
    note: str
    curves: tuple[tuple[str, str], ...]
    exact: bool = False
    running_total: bool = False
    by_task: str = ""


PANELS = (
    Panel(
        "Accuracy reward",
        "Mean over the responses of a step.",
        (("accuracy", "reward/accuracy"), ("well formed", "reward/format")),
        by_task="reward/accuracy",
    ),
    Panel(
        "Response diversity D",
        "4·Var of accuracy in a group. When it falls to zero, nothing is left to learn from.",
        (
            ("seed images", "diversity/response_seed"),
            ("synthetic images", "diversity/response_synthetic"),
            ("baseline b", "diversity/baseline"),
        ),
        by_task="diversity/response",
    ),
    Panel(
        "Token entropy",
        "Mean over response tokens, in nats.",
        (("entropy", "entropy/token"),),
        by_task="entropy/token",
    ),
    Panel(
        "Groups without variance",
        "Share of groups whose responses all scored the same: they teach nothing.",
        (("share", "diversity/zero_variance_groups"),),
        by_task="diversity/zero_variance_groups",
    ),
    Panel(
        "Diversity reward of settled descriptions",
        "Mean ρ: above zero where the images made answers disagree more than usual.",
        (("ρ", "diversity/reward"),),
        by_task="diversity/reward",
    ),
    Panel(
        "Images, counted over the run",
        "Descriptions submitted, and what became of them.",
        (
            ("submitted", "synthesis/submitted"),
            ("admitted", "synthesis/admitted"),
            ("rejected", "synthesis/rejected"),
            ("settled", "synthesis/settled"),
            ("dropped", "synthesis/dropped"),
        ),
        exact=True,
        running_total=True,
    ),
    Panel(
        "Pool",
        "Everything it ever held, retired samples too.",
        (("seed", "pool/seed"), ("synthetic", "pool/synthetic")),
        exact=True,
    ),
    Panel("Loss", "", (("loss", "loss"),)),
    Panel("KL to the reference", "", (("KL", "kl"),)),
    Panel("Clip fraction", "Share of tokens clipped.", (("clip fraction", "clip_fraction"),)),
    Panel("Gradient norm", "Before clipping.", (("norm", "grad_norm"),)),
    Panel(
        "Time of a step",
        "Seconds.",
        (
            ("step", "time/step_s"),
            ("rollout", "time/rollout_s"),
            ("update", "time/update_s"),
            ("waiting for data", "time/wait_data_s"),
        ),
    ),
)


def training_charts(run: RunData) -> list[str]:
    """One figure per panel that has data; one that is zero throughout says nothing."""
    charts = []
    for panel in PANELS:
        charts.append(_chart(run, panel))
        if panel.by_task and len(run.tasks()) > 1:
            charts.append(_chart(run, _by_task(panel, run.tasks())))
    return [chart for chart in charts if chart]


def _chart(run: RunData, panel: Panel) -> str:
    if not any(any(run.curve(name).values) for _, name in panel.curves):
        return ""
    series = []
    for title, name in panel.curves:
        curve = run.curve(name)
        values = _running_total(curve.values) if panel.running_total else curve.values
        series.append(Series(title, curve.steps, values))
    return line_chart(panel.title, series, panel.note, exact=panel.exact)


def _by_task(panel: Panel, tasks: Sequence[str]) -> Panel:
    curves = tuple((task, f"{panel.by_task}/{task}") for task in tasks)
    return Panel(f"{panel.title}, by task", panel.note, curves)


def evaluation_charts(run: RunData) -> list[str]:
    """Held-out accuracy over the steps, one figure a metric, when there is more than before and
    after."""
    charts = []
    headlines = {name: headline_metrics(run, name) for name in run.sets()}
    for metric in dict.fromkeys(metric for metrics in headlines.values() for metric in metrics):
        series = []
        for name in run.sets():
            if metric not in headlines[name]:
                continue
            points = _evaluations(run, name, metric)
            bands = [e.intervals[metric] for e in points if metric in e.intervals]
            series.append(
                Series(
                    name,
                    [e.step for e in points],
                    [e.metrics[metric] for e in points],
                    bands if len(bands) == len(points) else (),
                )
            )
        if any(len(s.steps) > 2 for s in series):
            title = f"Held out: {metric_title(metric)}"
            charts.append(line_chart(title, series, "With 95 % bootstrap intervals."))
    return charts


def _evaluations(run: RunData, set_name: str, metric: str) -> list[Evaluation]:
    found = [e for e in run.evaluations if e.set == set_name and metric in e.metrics]
    return sorted(found, key=lambda e: e.step)


def _running_total(values: list[float]) -> list[float]:
    total, result = 0.0, []
    for value in values:
        total += value
        result.append(total)
    return result
