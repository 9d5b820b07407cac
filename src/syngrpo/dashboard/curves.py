"""Which curves a report shows, and what to read from each."""

from __future__ import annotations

from dataclasses import dataclass

from syngrpo.dashboard.charts import Series, line_chart
from syngrpo.dashboard.headlines import METRIC_TITLES, headline_metrics
from syngrpo.dashboard.run_data import Evaluation, RunData


@dataclass(frozen=True)
class Panel:
    """One chart: (name in the legend, name in metrics.jsonl) of each of its curves.

    ``exact`` curves are drawn as they are, not smoothed; ``running_total`` ones are summed up.
    """

    title: str
    note: str
    curves: tuple[tuple[str, str], ...]
    exact: bool = False
    running_total: bool = False


PANELS = (
    Panel(
        "Accuracy reward",
        "Mean over the responses of a step.",
        (("accuracy", "reward/accuracy"), ("well formed", "reward/format")),
    ),
    Panel(
        "Response diversity D",
        "4·Var of accuracy in a group. When it falls to zero, nothing is left to learn from.",
        (
            ("seed images", "diversity/response_seed"),
            ("synthetic images", "diversity/response_synthetic"),
            ("baseline b", "diversity/baseline"),
        ),
    ),
    Panel(
        "Token entropy",
        "Mean over response tokens, in nats.",
        (("entropy", "entropy/token"),),
    ),
    Panel(
        "Groups without variance",
        "Share of groups whose responses all scored the same: they teach nothing.",
        (("share", "diversity/zero_variance_groups"),),
    ),
    Panel(
        "Diversity reward of settled descriptions",
        "Mean ρ: above zero where the images made answers disagree more than usual.",
        (("ρ", "diversity/reward"),),
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
        if not any(any(run.curve(name).values) for _, name in panel.curves):
            continue
        series = []
        for title, name in panel.curves:
            curve = run.curve(name)
            values = _running_total(curve.values) if panel.running_total else curve.values
            series.append(Series(title, curve.steps, values))
        charts.append(line_chart(panel.title, series, panel.note, exact=panel.exact))
    return charts


def evaluation_charts(run: RunData) -> list[str]:
    """Held-out accuracy over the steps, one figure a metric, when there is more than before and
    after."""
    charts = []
    for metric in headline_metrics(run):
        series = []
        for name in run.sets():
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
            title = f"Held out: {METRIC_TITLES[metric]}"
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
