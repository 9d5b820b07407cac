"""Draws the plots of the report: accuracies, gains over plain GRPO, training curves, accuracy
against steps, and where the descriptions move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.rooms.axes import AXES, BINS, PARTS, accuracy_at, mean_bins
from experiments.rooms.claims import BASE, OURS, RANDOM
from experiments.rooms.compare import Finished, mean_of
from experiments.rooms.settings import STARTER
from experiments.rooms.statistics import Estimate, Interval

COLOURS = {
    STARTER: "#9a9a9a",
    "grpo": "#d1495b",
    "grpo-clip-higher": "#edae49",
    "noisy-rollout": "#8d6a9f",
    "executable-transforms": "#b07d62",
    "random-scene": "#66a182",
    "random-scene-tuned": "#2f7d4f",
    "random-scene-neutral": "#a9d3b5",
    "syn-grpo-no-smoothing": "#7fb2d9",
    "syn-grpo-parent": "#7a6fd0",
    "syn-grpo-siblings": "#4b3f9e",
    "syn-grpo": "#1f5f9e",
}
CURVES = {
    "diversity/response": "response diversity D",
    "entropy/token": "token entropy, nats",
    "diversity/zero_variance_groups": "share of groups without variance",
}
"""Metrics of the training curves → their titles."""
SMOOTHING = 9
"""Number of neighbouring points that are averaged to make a curve smooth."""
DPI = 110


def write_plots(finished: Finished, folder: Path) -> list[Path]:
    """Write a PNG file into the folder for each plot that has data, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, draw in (
        ("accuracy", accuracy_bars),
        ("gains", gain_points),
        ("collapse", collapse_curves),
        ("scaling", scaling_curves),
        ("descriptions", description_curves),
    ):
        figure = draw(finished)
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=DPI, metadata={"Software": None})
            drawn.append(path)
    return drawn


def accuracy_bars(finished: Finished) -> Figure | None:
    """Draw the accuracy at the end of the training, None if nothing is finished.

    There is one panel for each set and way of answering (sampled, greedy), in it one group of bars
    for each task and one for the mean of the tasks, and in each group one bar for each method.
    """
    methods = [m for m in finished.methods if finished.compared(m)]
    if not methods:
        return None
    ways = ("sampled", "greedy")
    figure, axes = _panels(len(finished.sets), len(ways), width=6.6, height=2.8)
    for row, set_name in enumerate(finished.sets):
        for column, how in enumerate(ways):
            axis = axes[row][column]
            for number, method in enumerate(methods):
                found = [finished.accuracy(method, t, set_name, how) for t in finished.tasks]
                average = mean_of(found) if None not in found else None
                offset = (number - (len(methods) - 1) / 2) * 0.8 / len(methods)
                _bars(axis, [*found, average], offset, 0.8 / len(methods), method)
            axis.set_title(f"{how} accuracy on {set_name}, %")
            axis.set_xticks(range(len(finished.tasks) + 1), [*finished.tasks, "mean"])
    _legend(figure, axes[0][0])
    return figure


def gain_points(finished: Finished) -> Figure | None:
    """Draw the sampled gain of each method over plain GRPO as the mean over the tasks, with its
    interval: a panel for each set, and one for the mean of the sets. Only methods that are finished
    for every task have a row. None if there is none."""
    tasks = list(finished.tasks)
    methods = [
        method
        for method in finished.methods
        if method not in (STARTER, BASE) and finished.compared(method, BASE) == tasks
    ]
    if not methods:
        return None
    names = [*finished.sets, "all sets"]
    figure, axes = _panels(1, len(names), width=2.4, height=0.3 * len(methods) + 0.6)
    for axis in axes[0][1:]:
        axis.sharex(axes[0][0])
    for row, method in enumerate(methods):
        found = finished.gains(method, BASE, "sampled")
        for axis, one in zip(axes[0], [*found, mean_of(found)], strict=True):
            if one is not None:
                low, high = _ends(one)
                axis.plot([low, high], [row, row], color=COLOURS[method], linewidth=1.6)
                axis.plot([one.value], [row], "o", color=COLOURS[method], markersize=5)
    for axis, name in zip(axes[0], names, strict=True):
        axis.axvline(0, color="#888888", linewidth=0.8)
        axis.set_title(name)
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.set_yticks(range(len(methods)), methods if axis is axes[0][0] else [])
    figure.supxlabel(f"sampled accuracy minus that of {BASE}, points", fontsize=8)
    return figure


def collapse_curves(finished: Finished) -> Figure | None:
    """Draw diversity, entropy and groups without variance over the steps, None if no trained method
    is finished.

    Each method has one line, with a band from its lowest to its highest seed.
    """
    methods = [m for m in finished.methods if m != STARTER and finished.compared(m)]
    if not methods:
        return None
    figure, axes = _panels(len(CURVES), len(finished.tasks), width=4.2, height=2.6)
    for row, (metric, title) in enumerate(CURVES.items()):
        for column, task in enumerate(finished.tasks):
            axis = axes[row][column]
            for method in methods:
                _curve(axis, finished, task, method, metric)
            axis.set_title(f"{task}: {title}")
    _legend(figure, axes[0][0])
    return figure


def scaling_curves(finished: Finished) -> Figure | None:
    """Draw the sampled accuracy of plain GRPO, random scenes and Syn-GRPO over the steps, as the
    mean over all sets, and the gain of Syn-GRPO over both below it, for each task and their mean.
    At step 0 it is that of the starter. None if there is no task for which all three are finished,
    or if they were evaluated at one step only."""
    tasks = finished.compared(OURS, BASE, RANDOM)
    if not tasks or any(len(finished.steps(task, OURS, BASE, RANDOM)) < 2 for task in tasks):
        return None
    columns: list[Sequence[str]] = [[task] for task in tasks]
    columns += [tasks] if len(tasks) > 1 else []
    figure, axes = _panels(2, len(columns), width=3.6, height=2.6)
    for column, part in enumerate(columns):
        name = part[0] if len(part) == 1 else "mean"
        above, below = axes[0][column], axes[1][column]
        above.set_title(f"{name}: accuracy, %")
        below.set_title(f"{name}: {OURS} minus the other, points")
        below.axhline(0, color="#888888", linewidth=0.8)
        shared = [set(finished.steps(task, OURS, BASE, RANDOM)) for task in part]
        steps = sorted(set.intersection(*shared))
        for method in (BASE, RANDOM, OURS):
            averages = _averages(finished, part, method, steps)
            start = mean_of([_start(finished, task) for task in part])
            _line(above, [0, *steps], [start, *averages], method)
        for method in (BASE, RANDOM):
            _line(below, steps, _gains(finished, part, steps, method), method)
    _legend(figure, axes[0][0])
    return figure


def _averages(
    finished: Finished, tasks: Sequence[str], method: str, steps: Sequence[int]
) -> list[Estimate | None]:
    """Return the mean sampled accuracy of the tasks and sets at each step, over the seeds that all
    methods of the plot have."""
    seeds = {task: finished.seeds(task, OURS, BASE, RANDOM) for task in tasks}
    places = [(task, name) for task in tasks for name in finished.sets]
    return [
        mean_of([finished.accuracy(method, t, n, "sampled", seeds[t], step) for t, n in places])
        for step in steps
    ]


def _start(finished: Finished, task: str) -> Estimate | None:
    """Return the sampled accuracy of the starter, as the mean over the sets."""
    return mean_of([finished.accuracy(STARTER, task, n, "sampled") for n in finished.sets])


def _gains(
    finished: Finished, tasks: Sequence[str], steps: Sequence[int], base: str
) -> list[Estimate | None]:
    """Return the mean sampled gain of Syn-GRPO over ``base`` at each step."""
    places = [(task, name) for task in tasks for name in finished.sets]
    return [
        mean_of([finished.gain(OURS, base, t, n, "sampled", step) for t, n in places])
        for step in steps
    ]


def description_curves(finished: Finished) -> Figure | None:
    """Draw where the pictures of Syn-GRPO and of random scenes lie on the axes of the view, the
    light and the decoys over the run, and how accurate Syn-GRPO is on those in the lowest and in
    the highest third of each axis. None if neither painted.

    There is a row for each axis, and two panels for each task.
    """
    tasks = [task for task in finished.tasks if finished.compared(OURS) and _tables(finished, task)]
    if not tasks:
        return None
    figure, axes = _panels(len(AXES), 2 * len(tasks), width=2.3, height=1.4)
    for row, name in enumerate(AXES):
        for column, task in enumerate(tasks):
            where, right = axes[row][2 * column], axes[row][2 * column + 1]
            where.set_title(f"{task}: {name}", fontsize=9)
            where.set_ylim(0, 0.8)
            right.set_title(f"{task}: accuracy, %", fontsize=9)
            right.set_ylim(0, 100)
            for method in (OURS, RANDOM):
                found = [mean_bins(table, name) for table in _tables(finished, task, method)]
                _band(where, found, method, "-")
            for bin_, style in ((BINS - 1, "-"), (0, ":")):
                found = [100 * accuracy_at(t, name, bin_) for t in _tables(finished, task)]
                _band(right, found, OURS, style)
            if name == AXES[-1]:
                where.set_xlabel("share of the run", fontsize=8)
                right.set_xlabel("share of the run", fontsize=8)
    _legend(figure, axes[0][0])
    return figure


def _band(axis: Axes, rows: Sequence[np.ndarray], method: str, style: str) -> None:
    """Draw the mean over runs, and a band from the lowest to the highest of them. ``rows`` is float
    (PARTS,) for each run, NaN where it has no pictures."""
    if not rows:
        return
    values = np.ma.masked_invalid(np.array(rows))
    low, high = values.min(axis=0), values.max(axis=0)
    colour, middles = COLOURS[method], (np.arange(PARTS) + 0.5) / PARTS
    axis.plot(middles, values.mean(axis=0), style, color=colour, label=method, linewidth=1.4)
    axis.fill_between(middles, low, high, color=colour, alpha=0.15)


def _tables(finished: Finished, task: str, method: str = OURS) -> list[dict[str, Any]]:
    """Return the tables of ``axes`` of the runs of a method that painted."""
    found = [run.synthesis.get("axes") for run in finished.runs(task, method)]
    return [table for table in found if table]


def _panels(
    rows: int, columns: int, width: float, height: float
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and its rows of panels. ``width`` and ``height`` are those of a panel, in
    inches."""
    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(9)
    return figure, axes.tolist()


def _legend(figure: Figure, axis: Axes) -> None:
    """Draw one legend for all panels, with the labels of one of them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 6),
        frameon=False,
        fontsize=8,
    )


def _bars(
    axis: Axes, estimates: Sequence[Estimate | None], offset: float, width: float, method: str
) -> None:
    """Draw the bars of one method, ``offset`` beside the middle of each group."""
    there = [(place, e) for place, e in enumerate(estimates) if e is not None]
    heights = [e.value for _, e in there]
    reach = [[abs(e.value - _ends(e)[k]) for _, e in there] for k in (0, 1)]
    axis.bar(
        [place + offset for place, _ in there],
        heights,
        width,
        yerr=reach,
        color=COLOURS[method],
        label=method,
        error_kw={"linewidth": 0.8},
    )


def _curve(axis: Axes, finished: Finished, task: str, method: str, metric: str) -> None:
    """Draw the mean of a metric over the seeds, and the band from the lowest to the highest one."""
    runs = [run.series for run in finished.runs(task, method)]
    if not runs:
        return
    rows = np.array([[np.nan if v is None else v for v in run[metric]] for run in runs])
    smooth = np.array([_smoothed(row) for row in rows])
    steps = np.array(runs[0]["step"], dtype=np.float64)
    axis.plot(steps, smooth.mean(axis=0), color=COLOURS[method], label=method, linewidth=1.4)
    if len(runs) > 1:
        axis.fill_between(
            steps, smooth.min(axis=0), smooth.max(axis=0), color=COLOURS[method], alpha=0.15
        )


def _smoothed(row: np.ndarray) -> np.ndarray:
    """Return the moving mean of ``SMOOTHING`` points, of fewer points near both ends. NaN values
    are left out."""
    window = np.ones(min(SMOOTHING, len(row)))
    known = ~np.isnan(row)
    total = np.convolve(np.where(known, row, 0), window, mode="same")
    count = np.convolve(known, window, mode="same")
    return total / np.where(count > 0, count, np.nan)


def _line(
    axis: Axes, steps: Sequence[int], estimates: Sequence[Estimate | None], method: str
) -> None:
    """Draw the estimates over the steps as a line, with their intervals as a band."""
    points = [(s, e) for s, e in zip(steps, estimates, strict=True) if e is not None]
    at, values = [step for step, _ in points], [e.value for _, e in points]
    low, high = ([_ends(e)[k] for _, e in points] for k in (0, 1))
    axis.plot(at, values, color=COLOURS[method], label=method, marker="o", markersize=3)
    axis.fill_between(at, low, high, color=COLOURS[method], alpha=0.15)


def _ends(estimate: Estimate) -> Interval:
    """Return the ends of the interval, both the value itself if there is none."""
    return estimate.interval or (estimate.value, estimate.value)
