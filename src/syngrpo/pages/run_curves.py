"""Chooses the curves that the report of a run shows, each with a sentence about how to read it."""

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

    ``exact`` curves are not smoothed; ``running_total`` curves show the sum over all steps so far.
    In a run of several tasks, a second chart shows the metric ``by_task`` with a curve for each.
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
        "4·Var of accuracy in a group. At zero, there is nothing left to learn from the group.",
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
        "Share of groups whose responses all have the same accuracy: nothing is learnt from them.",
        (("share", "diversity/zero_variance_groups"),),
        by_task="diversity/zero_variance_groups",
    ),
    Panel(
        "Groups of wrong answers that are told apart",
        "Share of groups whose answers are all wrong, but differ in format or custom rewards.",
        (("share", "diversity/phantom_groups"),),
    ),
    Panel(
        "Responses cut at the length limit",
        "Share of responses that end at rollout.max_new_tokens without being complete.",
        (("share", "rollout/cut_share"),),
    ),
    Panel("Length of responses", "Mean number of tokens.", (("tokens", "rollout/length_mean"),)),
    Panel(
        "Diversity reward of settled descriptions",
        "Mean ρ: above zero if answers on the painted images disagree more than usual.",
        (("ρ", "diversity/reward"),),
        by_task="diversity/reward",
    ),
    Panel(
        "Length of descriptions",
        "Mean number of words.",
        (("words", "description/words"),),
    ),
    Panel(
        "Different words in descriptions",
        "Share of different words among all words of the descriptions that a step submits.",
        (("share", "description/distinct"),),
    ),
    Panel(
        "Descriptions that are no language, counted over the run",
        "Responses that are not well formed only because of the wording of their description.",
        (
            ("too long", "description/too_long"),
            ("repetitive", "description/repetitive"),
            ("garbled", "description/garbled"),
        ),
        exact=True,
        running_total=True,
    ),
    Panel(
        "Images, counted over the run",
        "Descriptions that were submitted, and what happened to them.",
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
        "All samples that it has ever held, retired ones too.",
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
    """Return the charts of the panels that have data. A panel whose curves are always zero is left
    out."""
    charts = []
    for panel in PANELS:
        charts.append(_chart(run, panel))
        if panel.by_task and len(run.tasks()) > 1:
            charts.append(_chart(run, _by_task(panel, run.tasks())))
        if panel is PANELS[0]:
            charts.append(_chart(run, _own_rewards(run)))
    return [chart for chart in charts if chart is not None]


def evaluation_charts(run: RunData) -> list[Chart]:
    """Return charts of held-out accuracy over the steps, one for each headline metric, with a line
    for each set. A metric that was measured at most twice (before and after) has no chart."""
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
