"""Draws with ECharts what the gate has decided: the shares of its reasons over time, and how often
each score had which value, with the threshold as a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from syngrpo.dashboard.gate.gate_decisions import Part, ScoreHistogram
from syngrpo.dashboard.parts.curve_chart import COLOURS
from syngrpo.dashboard.reading.gate_limits import reason_words
from syngrpo.pages.charts import number
from syngrpo.pages.shown_text import shown_line

SOFT = "#8a9099"
ADMITTED, REFUSED, ELSEWHERE = "#3d9a68", "#c2504a", "#8b8f94"
_AXIS = {"axisLabel": {"color": SOFT, "hideOverlap": True}, "splitLine": {"show": False}}


def share_options(
    parts: Sequence[Part], places: Sequence[int], reasons: Sequence[str]
) -> dict[str, Any]:
    """Return the options of a chart with the share of each of the ``reasons`` in each part of a
    run, on top of each other. ``places`` are what stands below the parts: their steps."""
    return {
        "animation": False,
        "grid": {"left": 8, "right": 14, "top": 30, "bottom": 4, "containLabel": True},
        "legend": {"type": "scroll", "top": 0, "left": 0, "itemHeight": 8, "itemWidth": 14,
                   "icon": "roundRect", "textStyle": {"color": SOFT}},
        "tooltip": {"trigger": "axis", "confine": True, "order": "seriesDesc"},
        "xAxis": {"type": "category", "data": [f"{place:,}" for place in places], **_AXIS},
        "yAxis": {"type": "value", "min": 0, "max": 100,
                  "axisLabel": {"color": SOFT, "formatter": "{value} %"},
                  "splitLine": {"lineStyle": {"color": SOFT, "opacity": 0.2}}},
        "series": [
            {"name": shown_line(reason_words(reason), 60), "type": "bar", "stack": "reasons",
             "barCategoryGap": "8%", "itemStyle": {"color": COLOURS[(place + 1) % len(COLOURS)]},
             "data": [round(100 * part.share(reason), 2) for part in parts]}
            for place, reason in enumerate(reasons)
        ],
    }  # fmt: skip


def histogram_options(histogram: ScoreHistogram) -> dict[str, Any]:
    """Return the options of a histogram with the limit as a line. Counts of admitted pictures,
    those that the check has refused and those that another one has are on top of each other."""
    series = [
        ("refused by it", REFUSED, histogram.refused),
        ("admitted", ADMITTED, histogram.admitted),
        ("refused by another check", ELSEWHERE, histogram.elsewhere),
    ]
    shown = [(name, colour, counts) for name, colour, counts in series if any(counts)]
    limit = histogram.limit.limit
    line = {
        "silent": True, "symbol": "none", "animation": False,
        "lineStyle": {"color": COLOURS[1], "width": 2, "type": "solid"},
        "label": {"formatter": "" if limit is None else number(limit), "color": COLOURS[1],
                  "position": "end", "distance": 3},
        "data": [] if limit is None else [{"xAxis": limit}],
    }  # fmt: skip
    return {
        "animation": False,
        "grid": {"left": 8, "right": 14, "top": 18, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "value", "min": histogram.edges[0], "max": histogram.edges[-1],
                  **_AXIS, "axisLabel": {"color": SOFT, "hideOverlap": True, "showMaxLabel": False,
                                         "showMinLabel": False}},
        "yAxis": {"type": "value", "minInterval": 1,
                  "axisLabel": {"color": SOFT, "showMaxLabel": False},
                  "splitLine": {"lineStyle": {"color": SOFT, "opacity": 0.2}}},
        "series": [
            {"name": name, "type": "line", "step": "end", "stack": "counts", "symbol": "none",
             "lineStyle": {"width": 0}, "areaStyle": {"color": colour, "opacity": 0.75},
             "itemStyle": {"color": colour}, "data": _steps(histogram.edges, counts),
             **({"markLine": line} if place == 0 else {})}
            for place, (name, colour, counts) in enumerate(shown)
        ],
    }  # fmt: skip


def _steps(edges: Sequence[float], counts: Sequence[int]) -> list[list[float]]:
    """Return the points of a line that goes down or up at the end of each bin: with ``step: end``
    ECharts draws from a point to the next at the height of the first."""
    heights = [*counts, counts[-1]]
    return [[float(f"{edge:.5g}"), height] for edge, height in zip(edges, heights, strict=True)]
