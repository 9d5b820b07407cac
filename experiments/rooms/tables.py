"""Makes the tables of the report, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

from experiments.rooms.claims import BASE, MOVEMENT_DIGITS, OURS, RANDOM, Claim, moved
from experiments.rooms.compare import Finished, drift, late_mean, mean_of
from experiments.rooms.persistence import PERSISTENCE
from experiments.rooms.result import Result
from experiments.rooms.settings import STARTER
from experiments.rooms.statistics import Estimate
from syngrpo.pages.run_headlines import duration

NOTHING = "–"
"""Stands in a cell without a value."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is aligned left and whose other columns are aligned
    right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def estimated(estimate: Estimate | None, digits: int = 1, sign: bool = False) -> str:
    """Write an estimate with its interval: "+3.2 (1.0 … 5.1)"."""
    if estimate is None:
        return NOTHING
    form = f"{'+' if sign else ''}.{digits}f"
    if estimate.interval is None:
        return f"{estimate.value:{form}} (one seed)"
    low, high = estimate.interval
    return f"{estimate.value:{form}} ({low:{form}} … {high:{form}})"


def claims_table(claims: Sequence[Claim]) -> str:
    """Return the table of claims. A value has one digit more where rounding would hide whether it
    reaches the target."""
    rows = []
    for claim in claims:
        value = interval = NOTHING
        digits = 4 if claim.unit == "D" else 1
        if claim.value is not None:
            more = round(claim.value, digits) == claim.target != claim.value
            value = f"{claim.value:+.{digits + more}f} {claim.unit}"
        if claim.interval is not None:
            interval = " … ".join(f"{bound:+.{digits}f}" for bound in claim.interval)
        sign = "≤" if claim.ceiling else "≥" if claim.target else ">"
        asked = f"{sign} {claim.target:g}"
        if claim.bound is not None:
            asked += f", interval > {claim.bound:g}"
        rows.append([claim.text, value, interval, asked, claim.verdict, claim.note])
    return table(["claim", "value", "95 % interval", "asked for", "verdict", "stands on"], rows)


def accuracy_table(finished: Finished, set_name: str, how: str, base: str = BASE) -> str:
    """Return the accuracies at the end of the training in per cent: for each method those of the
    tasks, their mean, and the gain of the mean over the method ``base``."""
    rows = []
    for method in finished.measured:
        found = [finished.accuracy(method, task, set_name, how) for task in finished.tasks]
        average = mean_of(found) if None not in found else None
        gain = None
        if method != base and finished.compared(method, base) == list(finished.tasks):
            gain = finished.average_gain(method, base, set_name, how)
        cells = [estimated(one) for one in [*found, average]]
        rows.append([method, *cells, estimated(gain, sign=True)])
    return table(["method", *finished.tasks, "mean", f"mean − {base}"], rows)


def gains_table(finished: Finished, how: str) -> str:
    """Return the accuracy of ``BASE`` at the end of the training as the mean over the tasks, in per
    cent, and the gain of each other method over it in percentage points: for each set, and the mean
    of the sets. A method without results for every task has no gain."""
    rows = []
    for method in finished.measured:
        if method == BASE:
            found = [
                mean_of([finished.accuracy(BASE, task, name, how) for task in finished.tasks])
                for name in finished.sets
            ]
        elif finished.compared(method, BASE) == list(finished.tasks):
            found = finished.gains(method, BASE, how)
        else:
            found = [None] * len(finished.sets)
        signed = method != BASE
        cells = [estimated(one, sign=signed) for one in [*found, mean_of(found)]]
        rows.append([method, *cells])
    return table(["method", *finished.sets, "all sets"], rows)


def format_table(finished: Finished) -> str:
    """Return the shares of sampled responses with the full format at the end of the training, in
    per cent: the mean over the runs, and the lowest of them."""
    rows = []
    for method in finished.measured:
        cells = []
        for task in finished.tasks:
            for set_name in finished.sets:
                evaluations = [run.last(set_name) for run in finished.runs(task, method)]
                shares = [100 * e.metrics["sampled/format"] for e in evaluations]
                cells.append(f"{mean(shares):.1f} ({min(shares):.1f})" if shares else NOTHING)
        rows.append([method, *cells])
    heads = [f"{task}: {set_name}" for task in finished.tasks for set_name in finished.sets]
    return table(["method", *heads], rows)


def set_metrics_table(finished: Finished, task: str, metrics: dict[str, str]) -> str:
    """Return metrics of whole sets at the end of the training, in per cent, as means over seeds.
    ``metrics`` is metric → title."""
    rows = []
    for method in finished.measured:
        cells = []
        for set_name in finished.sets:
            for metric in metrics:

                def value(result: Result, s: str = set_name, m: str = metric) -> float | None:
                    return result.last(s).metrics.get(m)

                found = finished.over_runs(method, task, value)
                cells.append(NOTHING if found is None else f"{100 * found.value:.1f}")
        rows.append([method, *cells])
    heads = [f"{set_name}: {title}" for set_name in finished.sets for title in metrics.values()]
    return table(["method", *heads], rows)


def training_table(finished: Finished, task: str) -> str:
    """Return metrics of the training, for each method.

    They are means over all steps, or over the last tenth of the steps where the heading says
    "late". The last column is the correlation of a picture's D with its D at the visit before.
    """
    columns = {
        "D": ("diversity/response", False),
        "D late": ("diversity/response", True),
        "D seed, late": ("diversity/response_seed", True),
        "D synthetic, late": ("diversity/response_synthetic", True),
        "entropy late": ("entropy/token", True),
        "no variance": ("diversity/zero_variance_groups", False),
        "no variance, late": ("diversity/zero_variance_groups", True),
        "accuracy on seeds, late": ("reward/accuracy_seed", True),
    }
    rows = []
    for method in finished.measured:
        if method == STARTER:
            continue
        cells = []
        for metric, late in columns.values():

            def value(result: Result, m: str = metric, end: bool = late) -> float | None:
                return late_mean(result, m) if end else result.means.get(m)

            cells.append(estimated(finished.over_runs(method, task, value), digits=3))
        for of_run in (drift, lambda result: result.means.get(PERSISTENCE)):
            cells.append(estimated(finished.over_runs(method, task, of_run), digits=2, sign=True))
        rows.append([method, *cells])
    return table(["method", *columns, "drift of ρ, σ", "D with D before"], rows)


def images_table(finished: Finished, task: str) -> str:
    """Return how many descriptions were submitted, admitted, settled and rejected, as sums over the
    seeds; the share of different ones among the first and the last, and their words. Empty if no
    method painted."""
    found = {method: finished.runs(task, method) for method in finished.methods}
    painted = {m: [r.synthesis for r in runs if r.synthesis] for m, runs in found.items()}
    painted = {method: parts for method, parts in painted.items() if parts}
    if not painted:
        return ""
    reasons = sorted({r for parts in painted.values() for p in parts for r in p["rejected"]})
    rows = []
    for method, parts in painted.items():
        total = [sum(p["counts"][name] for p in parts) for name in ("submitted", "admitted")]
        refused = [sum(p["rejected"].get(reason, 0) for p in parts) for reason in reasons]
        settled = sum(p["counts"]["settled"] for p in parts)
        distinct = [_known(parts, "distinct", end) for end in ("early", "late")]
        shares = [f"{sum(d) / len(d):.0%}" if d else NOTHING for d in distinct]
        words = [
            f"{mean(known):.0f}" if (known := _known(parts, "length", end)) else NOTHING
            for end in ("early", "late")
        ]
        rows.append([method, *map(str, [*total, settled, *refused]), *shares, *words])
    heads = ["submitted", "admitted", "settled", *(f"rejected: {r}" for r in reasons)]
    ends = ["distinct early", "distinct late", "words early", "words late"]
    return table(["method", *heads, *ends], rows)


def _known(parts: Sequence[Mapping[str, Any]], what: str, end: str) -> list[float]:
    """Return one number of the early or the late descriptions of each run that has it."""
    return [part[what][end] for part in parts if part[what][end] is not None]


def words_table(result: Result, count: int = 12) -> str:
    """Return the ``count`` words whose share of the descriptions changed most from the first to the
    last third of a run. Empty if there are no words."""
    words = result.synthesis.get("words", [])
    moved = sorted(words, key=lambda w: -abs(w[2] - w[1]))[:count]
    rows = [[w, f"{a:.0%}", f"{b:.0%}", f"{100 * (b - a):+.0f}"] for w, a, b in moved]
    return table(["word", "early", "late", "points"], rows) if rows else ""


def movement_table(finished: Finished) -> str:
    """Return how far the descriptions of Syn-GRPO and the random ones move, by task."""
    rows = []
    for task in finished.compared(OURS, RANDOM):
        cells = []
        for name, digits in MOVEMENT_DIGITS.items():
            for method in (OURS, RANDOM):
                cells.append(estimated(moved(finished, task, name, method), digits, sign=True))
        rows.append([task, *cells])
    names = ("towards more D", "towards harder pictures, points")
    return table(["task", *(f"{name}: {m}" for name in names for m in (OURS, RANDOM))], rows)


def time_table(finished: Finished) -> str:
    """Return the seconds of a step (the median over the seeds of each run's median) and the median
    time of a run."""
    rows = []
    for method in finished.measured:
        cells = []
        for task in finished.tasks:
            runs = finished.runs(task, method)
            if not runs:
                cells += [NOTHING, NOTHING]
                continue
            steps = [r.means["time/step_s"] for r in runs if r.means]
            cells.append(f"{median(steps):.2f} s" if steps else NOTHING)
            cells.append(duration(median(r.circumstances["seconds"] for r in runs)))
        rows.append([method, *cells])
    heads = [text for task in finished.tasks for text in (f"{task}: a step", "a run")]
    return table(["method", *heads], rows)


def dependence_table(runs: Mapping[str, Mapping[str, float]]) -> str:
    """Return the shares of the variance of D that can be predicted, for each run."""
    rows = [
        [name, f"{one['samples']}", *(f"{one[what]:+.3f}" for what in ("time", "family", "words"))]
        for name, one in runs.items()
    ]
    return table(["run", "samples", "time", "family", "words"], rows)


def reliability_table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what the words of a description decide, by task."""
    rows = []
    for task, one in tasks.items():
        refused = ", ".join(f"{reason} {number}" for reason, number in one["rejected"].items())
        for kind, by in one["diversity_of"].items():
            shares = (f"{by['words']:+.3f}", f"{by['words_within']:+.3f}")
            numbers = (f"{by['mean']:.3f}", f"{by['reliability']:.2f}", *shares)
            rows.append([task, f"{one['children']}", refused or NOTHING, kind, *numbers])
    heads = [
        "task",
        "children",
        "rejected",
        "D of",
        "mean",
        "reliability",
        "words",
        "words, within",
    ]
    return table(heads, rows)


def surroundings_table(tasks: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """Return D and the sampled accuracy in per cent with their intervals, for each kind of
    surroundings."""
    names = dict.fromkeys(name for found in tasks.values() for name in found)
    rows = []
    for name in names:
        cells = []
        for found in tasks.values():
            value, low, high = found[name]["diversity/response"]
            cells.append(f"{value:.3f} ({low:.3f} … {high:.3f})")
            value, low, high = (100 * one for one in found[name]["sampled/accuracy"])
            cells.append(f"{value:.1f} ({low:.1f} … {high:.1f})")
        rows.append([name, *cells])
    heads = [f"{task}: {what}" for task in tasks for what in ("D", "accuracy, %")]
    return table(["surroundings", *heads], rows)
