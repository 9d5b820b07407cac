"""Lays out line charts: computes the position of every line, tick and label.

``line_chart`` takes named series of (step, value) and returns a ``Chart``, which the template
``chart.html`` draws as inline SVG. All positions are in pixels of the chart, x to the right, y
down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 460, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24
COLOURS = 5
"""Number of colours that ``style.css`` defines, ``.colour-0`` to ``.colour-4``; a sixth series has
the colour of the first."""
SMOOTHED_FROM = 20
"""Series with fewer points than this are not smoothed."""
HOVER_COLUMNS = 120
"""Largest number of steps whose values are shown when the pointer is over them."""


@dataclass(frozen=True)
class Series:
    """One curve. ``steps`` ascend; ``bands`` are (low, high) per point, drawn as error bars."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    bands: Sequence[tuple[float, float]] = field(default=())


@dataclass(frozen=True)
class Tick:
    """A number on an axis, at the pixel row or column ``place``."""

    place: float
    text: str


@dataclass(frozen=True)
class Bar:
    """An error bar in the pixel column ``x``, between the pixel rows ``low`` and ``high``."""

    x: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """A series, laid out. ``path`` and ``faint`` are the ``d`` of SVG paths: if ``path`` is a
    smoothed line, ``faint`` goes through the points themselves, otherwise it is "". ``end`` is the
    last value of the drawn line; ``dots`` are (x, y) of single points."""

    name: str
    colour: int
    path: str
    faint: str
    end: float
    bars: tuple[Bar, ...]
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Hover:
    """An invisible column around ``x`` whose tooltip is ``text``, the values of a step."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Chart:
    """The layout of a chart, which ``chart.html`` draws. ``rows`` are the ticks of the value axis,
    ``columns`` those of the steps."""

    title: str
    note: str
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    lines: tuple[Line, ...]
    hovers: tuple[Hover, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Scale:
    """Maps steps ``x0`` … ``x1`` to pixels of the chart, and values between the first and the last
    of ``marks``, the ticks of the value axis."""

    x0: float
    x1: float
    marks: tuple[float, ...]

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        low, high = self.marks[0], self.marks[-1]
        share = (value - low) / (high - low)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def line_chart(
    title: str, series: Sequence[Series], note: str = "", *, exact: bool = False
) -> Chart | None:
    """Return the layout of a chart; None when no series has a point.

    Series of at least ``SMOOTHED_FROM`` points are drawn faint with a smoothed line over them,
    unless they have bands or ``exact`` is set.
    """
    shown = [one for one in series if len(one.steps)]
    if not shown:
        return None
    scale = _scale(shown)
    steps = ticks(scale.x0, scale.x1, 6)
    return Chart(
        title,
        note,
        rows=tuple(Tick(scale.y(v), number(v)) for v in scale.marks),
        columns=tuple(
            Tick(scale.x(step), f"{step:.0f}")
            for step in steps
            if step == int(step) and scale.x0 <= step <= scale.x1
        ),
        lines=tuple(_line(one, place, scale, exact) for place, one in enumerate(shown)),
        hovers=tuple(_hovers(shown, scale)),
    )


def smooth(values: Sequence[float]) -> list[float]:
    """Return the centred moving mean over about a twelfth of the values; the window is narrower at
    the ends."""
    half = max(1, len(values) // 24)
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about ``count`` + 1 round numbers; the first is at most ``low``, the last at least
    ``high``."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """Return a number as a short text: 0.314, 12.5, 12, 1,234, 1.2e-06."""
    size = abs(value)
    if size and size < 1e-3:
        return f"{value:.1e}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.{4 if size < 0.01 else 3}f}".rstrip("0").rstrip(".")


def _scale(series: Sequence[Series]) -> _Scale:
    steps = [step for one in series for step in one.steps]
    values = [value for one in series for value in one.values]
    values += [edge for one in series for band in one.bands for edge in band]
    low, high = min(values), max(values)
    if 0 < low < 0.6 * high:  # the axis starts at zero if that is not far away
        low = 0.0
    if high - low < 1e-12:
        margin = 0.5 * abs(low) if abs(low) > 1e-9 else 0.5  # rounding errors count as zero
        low, high = low - margin, high + margin
    x0, x1 = min(steps), max(steps)
    return _Scale(x0, x1 if x1 > x0 else x0 + 1, tuple(ticks(low, high)))


def _line(series: Series, place: int, scale: _Scale, exact: bool) -> Line:
    long = len(series.steps) >= SMOOTHED_FROM
    smoothed = long and not series.bands and not exact
    values = smooth(series.values) if smoothed else series.values
    return Line(
        name=series.name,
        colour=place % COLOURS,
        path=_path(series.steps, values, scale),
        faint=_path(series.steps, series.values, scale) if smoothed else "",
        end=values[-1],
        bars=tuple(
            Bar(scale.x(step), scale.y(low), scale.y(high))
            for step, (low, high) in zip(series.steps, series.bands, strict=False)
        ),
        dots=()
        if long
        else tuple(
            (scale.x(step), scale.y(value))
            for step, value in zip(series.steps, series.values, strict=True)
        ),
    )


def _path(steps: Sequence[int], values: Sequence[float], scale: _Scale) -> str:
    points = (f"{scale.x(s):.1f},{scale.y(v):.1f}" for s, v in zip(steps, values, strict=True))
    return "M" + "L".join(points)


def _hovers(series: Sequence[Series], scale: _Scale) -> list[Hover]:
    steps = sorted({step for one in series for step in one.steps})
    stride = max(1, math.ceil(len(steps) / HOVER_COLUMNS))
    lookup = [(one.name, dict(zip(one.steps, one.values, strict=True))) for one in series]
    width = max(4.0, (WIDTH - LEFT - RIGHT) / min(len(steps), HOVER_COLUMNS))
    hovers = []
    for step in steps[::stride]:
        lines = [f"{name}: {number(values[step])}" for name, values in lookup if step in values]
        hovers.append(Hover(scale.x(step) - width / 2, width, "\n".join([f"step {step}", *lines])))
    return hovers
