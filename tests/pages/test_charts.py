"""Line charts: where points, ticks and smoothed lines are."""

import re

import numpy as np
import pytest
from report_page import Page, chart_figure

from syngrpo.pages import charts
from syngrpo.pages.charts import Series, line_chart, number, smooth, ticks


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 7.1), (1e-5, 2.3e-5), (0, 48_213)])
def test_ticks_are_round_and_cover_the_range(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low and marks[-1] >= high and 3 <= len(marks) <= 8
    assert np.allclose(np.diff(marks), marks[1] - marks[0])


def test_a_chart_puts_points_where_they_belong() -> None:
    figure = chart_figure(line_chart("t", [Series("a", [0, 10], [0.0, 1.0])]))
    path = re.search(r'class="line" d="M([^"]*)"', figure)
    assert path is not None
    points = [tuple(map(float, p.split(","))) for p in path[1].split("L")]
    bottom = charts.HEIGHT - charts.BOTTOM
    assert points == [(charts.LEFT, bottom), (charts.WIDTH - charts.RIGHT, charts.TOP)]
    assert line_chart("t", [Series("a", [], [])]) is None
    Page(chart_figure(line_chart("one point", [Series("a", [3], [0.0], [(-0.1, 0.1)])])))


def test_smoothing_keeps_constants_and_means() -> None:
    assert smooth([0.3] * 50) == pytest.approx([0.3] * 50)
    noisy = np.random.default_rng(0).random(500)
    smoothed = np.array(smooth(noisy.tolist()))
    assert smoothed.mean() == pytest.approx(noisy.mean(), abs=0.01)
    assert smoothed.std() < 0.4 * noisy.std()


def test_numbers_are_short() -> None:
    values = (0.31415, 12.54, 617.0, 4778.0, 1.2e-6, 0.0, -0.5)
    assert [number(v) for v in values] == ["0.314", "12.5", "617", "4,778", "1.2e-06", "0", "-0.5"]


def test_every_tick_is_inside_the_chart() -> None:
    chart = line_chart("loss", [Series("loss", [1, 2, 3], [-0.0071, 0.0, 7.6e-10])])
    assert chart is not None
    assert {row.text for row in chart.rows} >= {"-0.008", "0", "0.002"}
    assert all(chart.top <= row.place <= chart.bottom for row in chart.rows)


def test_rounding_errors_around_zero_are_drawn_as_zero() -> None:
    chart = line_chart("mean reward", [Series("ρ", (1, 2, 3), (0.0, 1.4e-17, -2.8e-17))])
    assert chart is not None
    assert [tick.text for tick in chart.rows][:: len(chart.rows) - 1] == ["-0.5", "0.5"]
