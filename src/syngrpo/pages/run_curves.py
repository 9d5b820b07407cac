"""Which curves the report of a run shows, and the sentence that says how to read each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from syngrpo.pages.charts import Chart, Series, line_chart
from syngrpo.pages.run_data import RunData
from syngrpo.pages.run_headlines import headline_metrics, metric_title


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
        "Share of groups whose responses all scored the same: nothing is learnt from them.",
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
        "All samples it ever held, retired ones too.",
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


def training_charts(run: RunData) -> list[Chart]:
    """Lay out the charts of the panels that have data. A panel whose curves are zero throughout is
    left out."""
    charts = []
    for panel in PANELS:
        charts.append(_chart(run, panel))
        if panel.by_task and len(run.tasks()) > 1:
            charts.append(_chart(run, _by_task(panel, run.tasks())))
        if panel is PANELS[0]:
            charts.append(_chart(run, _own_rewards(run)))
    return [chart for chart in charts if chart is not None]


def evaluation_charts(run: RunData) -> list[Chart]:
    """Lay out held-out accuracy over the steps, one chart a headline metric with a line for each
    set. A metric that was measured no more than twice (before and after) has none."""
    charts = []
    headlines = {name: headline_metrics(run, name) for name in run.sets()}
    for metric in dict.fromkeys(metric for metrics in headlines.values() for metric in metrics):
        series = [
            _measured(run, set_name, metric)
            for set_name in run.sets()
            if metric in headlines[set_name]
        ]
        if any(len(one.steps) > 2 for one in series):
            title = f"Held out: {metric_title(run, metric)}"
            charts.append(line_chart(title, series, "With 95 % bootstrap intervals."))
    return [chart for chart in charts if chart is not None]


def _chart(run: RunData, panel: Panel) -> Chart | None:
    if not any(any(run.curve(name).values) for _, name in panel.curves):
        return None
    series = []
    for title, name in panel.curves:
        curve = run.curve(name)
        values = list(accumulate(curve.values)) if panel.running_total else curve.values
        series.append(Series(title, curve.steps, values))
    return line_chart(panel.title, series, panel.note, exact=panel.exact)


def _by_task(panel: Panel, tasks: Sequence[str]) -> Panel:
    curves = tuple((task, f"{panel.by_task}/{task}") for task in tasks)
    return Panel(f"{panel.title}, by task", panel.note, curves)


def _own_rewards(run: RunData) -> Panel:
    curves = tuple((name, f"reward/{name}") for name in run.rewards())
    return Panel("Rewards of your own", "Mean over the responses of a step.", curves)


def _measured(run: RunData, set_name: str, metric: str) -> Series:
    found = [e for e in run.evaluations if e.set == set_name and metric in e.metrics]
    found.sort(key=lambda evaluation: evaluation.step)
    bands = [e.intervals[metric] for e in found if metric in e.intervals]
    return Series(
        set_name,
        [e.step for e in found],
        [e.metrics[metric] for e in found],
        bands if len(bands) == len(found) else (),
    )
