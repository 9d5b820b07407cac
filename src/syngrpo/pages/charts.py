"""Line charts as inline SVG: no script, no font, colours from the page's CSS variables.

A chart knows nothing of runs: it gets named series of (step, value) and returns markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 460, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24
COLOURS = 5
"""The page defines ``--series-0`` … ``--series-4``."""
SMOOTHED_FROM = 20
"""Fewer points than this are drawn as they are."""
HOVER_COLUMNS = 120


@dataclass(frozen=True)
class Series:
    """``steps`` ascend. ``bands`` are (low, high) per point, drawn as error bars."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    bands: Sequence[tuple[float, float]] = field(default=())


@dataclass(frozen=True)
class Scale:
    """Maps data to pixels of the chart."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, step: float) -> float:
        """Pixel column of a step."""
        inner = WIDTH - LEFT - RIGHT
        return LEFT + inner * (step - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        """Pixel row of a value."""
        inner = HEIGHT - TOP - BOTTOM
        return TOP + inner * (1 - (value - self.y0) / (self.y1 - self.y0))


def line_chart(title: str, series: Sequence[Series], note: str = "", *, exact: bool = False) -> str:
    """A ``<figure>`` with caption, chart and legend. "" when no series has a point.

    Long series are drawn faint with a smoothed line over them, unless ``exact``. The legend's
    number is where the drawn line ends.
    """
    shown = [s for s in series if len(s.steps)]
    if not shown:
        return ""
    scale = _scale(shown)
    body = [
        _grid(scale),
        *(_line(s, i, scale, exact) for i, s in enumerate(shown)),
        _hover(shown, scale),
    ]
    note = f"<p class='note'>{escape(note)}</p>" if note else ""
    return (
        f"<figure class='chart'><figcaption>{escape(title)}</figcaption>{note}"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(title, quote=True)}'>"
        f"{''.join(body)}</svg>{_legend(shown, exact)}</figure>"
    )


def smooth(values: Sequence[float]) -> list[float]:
    """Centred moving mean over about a twelfth of the values; narrower at the ends."""
    half = max(1, len(values) // 24)
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, about ``count`` steps."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """Short: 0.314, 12.5, 12, 1,234, 1.2e-06."""
    size = abs(value)
    if size and size < 1e-3:
        return f"{value:.1e}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3f}".rstrip("0").rstrip(".") if size < 10 else f"{value:.1f}"


def _scale(series: Sequence[Series]) -> Scale:
    steps = [step for s in series for step in s.steps]
    values = [value for s in series for value in s.values]
    values += [edge for s in series for band in s.bands for edge in band]
    low, high = min(values), max(values)
    if low > 0 and low < 0.6 * high:  # a zero that is near is worth seeing
        low = 0.0
    if high - low < 1e-12:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rounded = ticks(low, high)
    x0, x1 = min(steps), max(steps)
    return Scale(x0, x1 if x1 > x0 else x0 + 1, rounded[0], rounded[-1])


def _grid(scale: Scale) -> str:
    parts = []
    for value in ticks(scale.y0, scale.y1):
        y = scale.y(value)
        parts.append(
            f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>"
            f"<text class='tick' x='{LEFT - 6}' y='{y + 3.5:.1f}' text-anchor='end'>"
            f"{number(value)}</text>"
        )
    for step in ticks(scale.x0, scale.x1, 6):
        if step == int(step) and scale.x0 <= step <= scale.x1:
            parts.append(
                f"<text class='tick' x='{scale.x(step):.1f}' y='{HEIGHT - 7}' "
                f"text-anchor='middle'>{step:.0f}</text>"
            )
    return "".join(parts)


def _line(series: Series, index: int, scale: Scale, exact: bool) -> str:
    variable = f"var(--series-{index % COLOURS})"
    stroke = f"style='stroke:{variable}'"
    raw = _path(series.steps, series.values, scale)
    if _is_smoothed(series, exact):
        smoothed = _path(series.steps, smooth(series.values), scale)
        return (
            f"<path class='faint' {stroke} d='{raw}'/><path class='line' {stroke} d='{smoothed}'/>"
        )
    bars = "".join(
        f"<line class='bar' {stroke} x1='{scale.x(step):.1f}' x2='{scale.x(step):.1f}' "
        f"y1='{scale.y(low):.1f}' y2='{scale.y(high):.1f}'/>"
        for step, (low, high) in zip(series.steps, series.bands, strict=False)
    )
    dots = (
        ""
        if len(series.steps) >= SMOOTHED_FROM
        else "".join(
            f"<circle style='fill:{variable}' cx='{scale.x(s):.1f}' cy='{scale.y(v):.1f}' r='2.6'/>"
            for s, v in zip(series.steps, series.values, strict=True)
        )
    )
    return f"{bars}<path class='line' {stroke} d='{raw}'/>{dots}"


def _is_smoothed(series: Series, exact: bool) -> bool:
    return len(series.steps) >= SMOOTHED_FROM and not series.bands and not exact


def _end(series: Series, exact: bool) -> float:
    return (smooth(series.values) if _is_smoothed(series, exact) else series.values)[-1]


def _path(steps: Sequence[int], values: Sequence[float], scale: Scale) -> str:
    points = (f"{scale.x(s):.1f},{scale.y(v):.1f}" for s, v in zip(steps, values, strict=True))
    return "M" + "L".join(points)


def _hover(series: Sequence[Series], scale: Scale) -> str:
    """Invisible columns whose native tooltips read the values out."""
    steps = sorted({step for s in series for step in s.steps})
    stride = max(1, math.ceil(len(steps) / HOVER_COLUMNS))
    lookup = [(s.name, dict(zip(s.steps, s.values, strict=True))) for s in series]
    width = max(4.0, (WIDTH - LEFT - RIGHT) / min(len(steps), HOVER_COLUMNS))
    parts = []
    for step in steps[::stride]:
        lines = [f"{name}: {number(at[step])}" for name, at in lookup if step in at]
        parts.append(
            f"<rect class='hover' x='{scale.x(step) - width / 2:.1f}' y='{TOP}' "
            f"width='{width:.1f}' height='{HEIGHT - TOP - BOTTOM}'>"
            f"<title>{escape(chr(10).join([f'step {step}', *lines]))}</title></rect>"
        )
    return "".join(parts)


def _legend(series: Sequence[Series], exact: bool) -> str:
    items = "".join(
        f"<li><i style='background:var(--series-{i % COLOURS})'></i>{escape(s.name)}"
        f"<b>{number(_end(s, exact))}</b></li>"
        for i, s in enumerate(series)
    )
    return f"<ul class='legend'>{items}</ul>"
