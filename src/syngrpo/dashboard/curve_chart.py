"""Draws curves over the steps with ECharts: zoom, values under the pointer, any number of points.

``curve_options`` makes what ``ui.echart`` takes. A curve of more points than ``MOST_POINTS`` is
sent as its largest and smallest value in each part of the steps, so that peaks stay visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_POINTS = 800
"""Largest number of points of a curve that are sent to the browser."""
COLOURS = ("#3f83cc", "#d9822b", "#3d9a68", "#a3519f", "#8b8f94", "#c2504a", "#2a9d9d", "#b59b2c")
"""Colours that can be told apart on light and on dark pages."""
_SOFT = "#8a9099"


@dataclass(frozen=True)
class Line:
    """A curve: its name, and its points with ascending ``x``. ``low`` and ``high`` are a band
    around it; ``colour`` a place in ``COLOURS``, its own place among the lines by default."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int | None = None


def curve_options(
    lines: Sequence[Line], smoothing: float = 0.0, log: bool = False, x_name: str = "step"
) -> dict[str, Any]:
    """Return the options of a chart with these lines.

    ``smoothing`` in [0, 1) is the weight of the past in an exponential mean; the measured values
    then stay behind it, pale. ``log``: a logarithmic scale, without values that are not positive.
    """
    series: list[dict[str, Any]] = []
    for place, line in enumerate(lines):
        colour = COLOURS[(place if line.colour is None else line.colour) % len(COLOURS)]
        x, y = np.asarray(line.x, float), np.asarray(line.y, float)
        if line.low:
            series += _band(line, x, colour)
        if smoothing and len(y) > 2:
            series.append(_line(line.name, x, y, colour, log, pale=True))
            y = smoothed(y, smoothing)
        series.append(_line(line.name, x, y, colour, log))
    return {
        "animation": False,
        "grid": {"left": 8, "right": 12, "top": 30 if len(lines) > 1 else 12, "bottom": 4,
                 "containLabel": True},
        "legend": {"show": len(lines) > 1, "type": "scroll", "top": 0, "left": 0,
                   "itemHeight": 8, "textStyle": {"color": _SOFT},
                   "data": [line.name for line in lines]},
        "tooltip": {"trigger": "axis", "confine": True, "order": "valueDesc"},
        "xAxis": {"type": "value", "min": "dataMin", "max": "dataMax",
                  "name": "" if x_name == "step" else x_name,
                  "axisLabel": {"color": _SOFT, "hideOverlap": True},
                  "splitLine": {"show": False}},
        "yAxis": {"type": "log" if log else "value", "scale": True,
                  "axisLabel": {"color": _SOFT},
                  "splitLine": {"lineStyle": {"color": _SOFT, "opacity": 0.2}}},
        "dataZoom": [{"type": "inside", "filterMode": "none", "zoomOnMouseWheel": "ctrl"}],
        "series": series,
    }  # fmt: skip


def thinned(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``most`` of the points (N,): of each part of the steps the smallest and the
    largest value, in order."""
    if len(x) <= most:
        return x, y
    kept = []
    for part in np.array_split(np.arange(len(x)), most // 2):
        values = y[part]
        kept += sorted({int(part[values.argmin()]), int(part[values.argmax()])})
    return x[kept], y[kept]


def smoothed(y: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential mean (N,) of the values so far, in which the past has the ``weight``;
    corrected for its start, so that it begins at the first value."""
    result = np.empty(len(y))
    total, share = 0.0, 0.0
    for place, value in enumerate(y):
        total = weight * total + (1 - weight) * value
        share = weight * share + (1 - weight)
        result[place] = total / share
    return result


def _line(
    name: str, x: np.ndarray, y: np.ndarray, colour: str, log: bool, pale: bool = False
) -> dict[str, Any]:
    if log:
        x, y = x[y > 0], y[y > 0]
    x, y = thinned(x, y)
    return {
        "name": name,
        "type": "line",
        "data": np.stack([x, np.round(y, 6)], axis=1).tolist(),
        "showSymbol": len(x) < 12,
        "symbolSize": 5,
        "lineStyle": {"width": 1 if pale else 1.8, "opacity": 0.3 if pale else 1},
        "itemStyle": {"color": colour},
        "silent": pale,
        "tooltip": {"show": not pale},
    }


def _band(line: Line, x: np.ndarray, colour: str) -> list[dict[str, Any]]:
    """Return the two series that ECharts stacks into a band: its lower edge, and its height."""
    low, high = np.asarray(line.low, float), np.asarray(line.high, float)
    shared = {"type": "line", "stack": line.name, "silent": True, "showSymbol": False,
              "lineStyle": {"opacity": 0}, "tooltip": {"show": False}}  # fmt: skip
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    edge = np.stack([x, low], axis=1)[places].tolist()
    height = np.stack([x, high - low], axis=1)[places].tolist()
    return [
        {**shared, "name": f"{line.name} low", "data": edge},
        {**shared, "name": f"{line.name} high", "data": height,
         "areaStyle": {"color": colour, "opacity": 0.15}},
    ]  # fmt: skip
