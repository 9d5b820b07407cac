"""Draws curves over the steps with ECharts: zoom, values under the pointer, any number of points.

``curve_options`` makes what ``ui.echart`` takes. A curve of more points than ``MOST_POINTS`` is
sent as its largest and smallest value in each part of the steps, so that peaks stay visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = Sequence[float] | np.ndarray

MOST_POINTS = 800
"""Largest number of points of a curve that are sent to the browser."""
COLOURS = ("#3f83cc", "#d9822b", "#3d9a68", "#a3519f", "#8b8f94", "#c2504a", "#2a9d9d", "#b59b2c")
"""Colours that can be told apart on light and on dark pages."""
_MOST_IN_BAND = 250
_SOFT = "#8a9099"
_NOTHING = 1e-14
"""Weight below which older values do not change an exponential mean."""


@dataclass(frozen=True)
class Line:
    """A curve: its name, and its points with ascending ``x``. ``low`` and ``high`` are a band
    around it, one value a point; ``colour`` is a place in ``COLOURS``, by default the line's own
    place among the lines."""

    name: str
    x: Numbers
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()
    colour: int | None = None


def curve_options(
    lines: Sequence[Line],
    smoothing: float = 0.0,
    log: bool = False,
    x_unit: str = "",
    legend: bool = True,
    top: float | None = None,
    whole: bool = False,
) -> dict[str, Any]:
    """Return the options of a chart with these lines over the steps, or over a time in ``x_unit``.

    ``smoothing`` in [0, 1) is the weight of the past in an exponential mean. The measured values
    then stay behind the line, pale; a line with a band has its band smoothed instead. ``log``: a
    logarithmic scale, without values that are not positive. ``top``: the axis goes from 0 to at
    least this value, so that a curve close to 0 looks like one. ``whole``: the values are counts,
    and the axis has no fractions.
    """
    series: list[dict[str, Any]] = []
    for place, line in enumerate(lines):
        colour = COLOURS[(place if line.colour is None else line.colour) % len(COLOURS)]
        x, y = np.asarray(line.x, float), np.asarray(line.y, float)
        smooth = smoothing > 0 and len(y) > 2
        if len(line.low):
            edges = [np.asarray(edge, float) for edge in (line.low, line.high)]
            low, high = (smoothed(edge, smoothing) if smooth else edge for edge in edges)
            series += _band(line.name, place, x, low, high, colour, log)
        elif smooth:
            series.append(_line(line.name, x, y, colour, log, pale=True))
        series.append(_line(line.name, x, smoothed(y, smoothing) if smooth else y, colour, log))
    legend = legend and len(lines) > 1
    return {
        "animation": False,
        "grid": {"left": 8, "right": 12, "top": 30 if legend else 12, "bottom": 4,
                 "containLabel": True},
        "legend": {"show": legend, "type": "scroll", "top": 0, "left": 0,
                   "itemHeight": 8, "itemWidth": 14, "icon": "roundRect",
                   "textStyle": {"color": _SOFT},
                   "data": [line.name for line in lines]},
        "tooltip": {"trigger": "axis", "confine": True, "order": "valueDesc"},
        "xAxis": {"type": "value", "min": 0 if x_unit else "dataMin", "max": "dataMax",
                  "axisLabel": {"color": _SOFT, "hideOverlap": True,
                                "formatter": f"{{value}} {x_unit}" if x_unit else None,
                                "showMaxLabel": not x_unit},
                  "splitLine": {"show": False}},
        "yAxis": {"type": "log" if log else "value", "scale": top is None,
                  "max": top if top is not None and _largest(lines) < top else None,
                  "minInterval": 1 if whole else 0,
                  "axisLabel": {"color": _SOFT},
                  "splitLine": {"lineStyle": {"color": _SOFT, "opacity": 0.2}}},
        "dataZoom": [{"type": "inside", "filterMode": "none", "zoomOnMouseWheel": "ctrl"}],
        "series": series,
    }  # fmt: skip


def _largest(lines: Sequence[Line]) -> float:
    return max((float(np.max(line.y)) for line in lines if len(line.y)), default=0.0)


def thinned(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``most`` of the points (N,), in order: the first and the last one, and of each
    part of the steps the smallest and the largest value."""
    if len(x) <= most:
        return x, y
    parts = (most - 2) // 2
    width = -(-len(y) // parts)
    rows = np.pad(y, (0, -len(y) % width), mode="edge").reshape(-1, width)
    starts = width * np.arange(len(rows))
    found = (starts + rows.argmin(axis=1), starts + rows.argmax(axis=1), [0, len(y) - 1])
    places = np.unique(np.minimum(np.concatenate(found), len(y) - 1))
    return x[places], y[places]


@np.errstate(over="ignore", invalid="ignore")  # a chart leaves out what is not finite
def smoothed(y: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential mean (N,) of the values so far, in which the past has the ``weight``;
    corrected for its start, so that it begins at the first value."""
    total, span = (1 - weight) * np.asarray(y, float), 1
    while span < len(total) and weight**span > _NOTHING:
        # ``total`` holds the sum over the last ``span`` values; now over twice as many.
        further = total.copy()
        further[span:] += weight**span * total[:-span]
        total, span = further, 2 * span
    return total / (1 - weight ** np.arange(1, len(total) + 1))


def _line(
    name: str, x: np.ndarray, y: np.ndarray, colour: str, log: bool, pale: bool = False
) -> dict[str, Any]:
    if log:
        x, y = x[y > 0], y[y > 0]
    x, y = thinned(x, y)
    return {
        "name": name,
        "type": "line",
        "data": _points(x, y),
        "showSymbol": len(x) < 12 and not pale,
        "symbolSize": 5,
        "lineStyle": {"width": 1 if pale else 1.8, "opacity": 0.3 if pale else 1},
        "itemStyle": {"color": colour},
        "silent": pale,
        "tooltip": {"show": not pale},
    }


def _band(
    name: str,
    place: int,
    x: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    colour: str,
    log: bool,
) -> list[dict[str, Any]]:
    """Return the two series that ECharts stacks into a band: its lower edge, and its height. They
    have the name of their line, so that the legend hides both together."""
    if log:
        x, low, high = (edge[high > 0] for edge in (x, low, high))
        low = np.maximum(low, min(low[low > 0], default=high.min(initial=np.inf)))
    if len(x) > _MOST_IN_BAND:
        kept = np.linspace(0, len(x) - 1, _MOST_IN_BAND).astype(int)
        x, low, high = x[kept], low[kept], high[kept]
    shared = {"name": name, "type": "line", "stack": f"band {place}", "stackStrategy": "all",
              "silent": True, "showSymbol": False, "lineStyle": {"opacity": 0},
              "itemStyle": {"color": colour}, "tooltip": {"show": False}}  # fmt: skip
    height = {"areaStyle": {"color": colour, "opacity": 0.15}}
    return [
        {**shared, "data": _points(x, low)},
        {**shared, **height, "data": _points(x, high - low)},
    ]


def _points(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """Return points as lists."""
    points: list[list[float]] = np.stack([_short(x, 8), _short(y, 6)], axis=1).tolist()
    return points


def _short(values: np.ndarray, digits: int) -> np.ndarray:
    """Return the values with so many digits, however small they are: less is sent."""
    size = np.floor(np.log10(np.abs(values), out=np.zeros(len(values)), where=values != 0))
    scale = 10.0 ** np.clip(digits - 1 - size, -300, 300)
    return np.round(values * scale) / scale
