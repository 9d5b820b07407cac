"""What a chart of curves is sent, against plain numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from syngrpo.dashboard.parts.curve_chart import MOST_POINTS, Line, curve_options, smoothed, thinned


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(count)


def data(series: dict) -> np.ndarray:
    return np.array(series["data"])


def test_a_short_curve_is_sent_as_it_is() -> None:
    (series,) = curve_options([Line("loss", [1, 2, 4], [0.25, -1.0, 3.0])])["series"]
    assert series["data"] == [[1, 0.25], [2, -1.0], [4, 3.0]]


@pytest.mark.parametrize("count", [MOST_POINTS + 1, 10_000, 100_003])
def test_thinning_keeps_every_peak_and_both_ends(count: int) -> None:
    x, y = np.arange(1, count + 1), noise(count)
    peaks = [count // 3, count // 2]
    y[peaks] = 50.0, -50.0
    kept_x, kept_y = thinned(x, y)
    assert len(kept_x) <= MOST_POINTS
    assert (np.diff(kept_x) > 0).all() and (y[kept_x - 1] == kept_y).all()
    assert {1, count, *(peak + 1 for peak in peaks)} <= set(kept_x.tolist())


def test_thinning_keeps_the_extremes_of_each_part_of_the_steps() -> None:
    y = noise(400)
    kept_x, kept_y = thinned(np.arange(400), y, most=10)  # the two ends, and four parts
    parts = y.reshape(4, 100)
    assert set(kept_y) == {y[0], y[-1], *parts.min(axis=1), *parts.max(axis=1)}
    assert (y[kept_x] == kept_y).all()


def test_smoothing_is_the_weighted_mean_of_all_values_so_far() -> None:
    y, weight = noise(50), 0.9
    for place, value in enumerate(smoothed(y, weight)):
        weights = weight ** np.arange(place, -1, -1)
        assert value == pytest.approx(np.average(y[: place + 1], weights=weights))


@pytest.mark.parametrize(("largest", "end"), [(2e-5, 0.1), (0.3, None)])
def test_a_curve_close_to_zero_looks_like_one(largest: float, end: float | None) -> None:
    axis = curve_options([Line("s", [1, 2], [largest / 2, largest])], top=0.1)["yAxis"]
    assert not axis["scale"] and axis["max"] == end


def test_smoothing_leaves_the_measured_values_pale_behind() -> None:
    y = noise(40)
    pale, line = curve_options([Line("loss", range(40), y.tolist())], smoothing=0.8)["series"]
    assert data(pale)[:, 1] == pytest.approx(y, rel=1e-5)
    assert pale["lineStyle"]["opacity"] < line["lineStyle"]["opacity"]
    assert data(line)[:, 1] == pytest.approx(smoothed(y, 0.8), rel=1e-5)
    assert not pale["tooltip"]["show"]


def test_small_values_keep_their_digits() -> None:
    (series,) = curve_options([Line("rate", [1, 2], [1.2345678e-7, 3e-12])])["series"]
    assert data(series)[:, 1] == pytest.approx([1.2345678e-7, 3e-12], rel=1e-5)


def test_a_logarithmic_scale_leaves_out_what_has_no_logarithm() -> None:
    options = curve_options([Line("kl", [1, 2, 3, 4], [0.0, 1e-6, -2.0, 5.0])], log=True)
    assert options["yAxis"]["type"] == "log"
    assert options["series"][0]["data"] == [[2, 1e-6], [4, 5.0]]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.7])
def test_a_band_reaches_from_low_to_high(log: bool, smoothing: float) -> None:
    y = noise(200)
    low, high = y - 1, y + 2
    if log:
        low, y, high = np.exp(low), np.exp(y), np.exp(high)
    lower, height, line = curve_options(
        [Line("seeds", range(200), y.tolist(), low.tolist(), high.tolist())], smoothing, log
    )["series"]
    if smoothing:
        low, y, high = (smoothed(edge, smoothing) for edge in (low, y, high))
    assert data(lower)[:, 1] == pytest.approx(low, rel=1e-5)
    assert data(lower)[:, 1] + data(height)[:, 1] == pytest.approx(high, rel=1e-4, abs=1e-4)
    assert data(line)[:, 1] == pytest.approx(y, rel=1e-5)
    # ECharts adds up only values of the same sign unless it is told otherwise
    assert lower["stackStrategy"] == height["stackStrategy"] == "all"
    assert lower["stack"] == height["stack"]
    assert lower["name"] == height["name"] == line["name"]  # the legend hides all three


def test_a_band_down_to_zero_has_a_lower_edge_on_a_logarithmic_scale() -> None:
    line = Line("seeds", [1, 2, 3], [0.5, 0.5, 0.0], [0.1, 0.0, 0.0], [0.9, 0.8, 0.0])
    lower, height, _ = curve_options([line], log=True)["series"]
    assert data(lower).tolist() == [[1, 0.1], [2, 0.1]]
    assert data(height)[:, 1] == pytest.approx([0.8, 0.7])


def test_bands_of_two_lines_do_not_stack_on_each_other() -> None:
    line = Line("seeds", [1, 2], [1, 1], [0, 0], [2, 2])
    stacks = [one.get("stack") for one in curve_options([line, line])["series"]]
    assert stacks[0] == stacks[1] != stacks[3] == stacks[4]


def test_long_curves_and_bands_stay_small_and_are_json() -> None:
    x, y = range(10_000), noise(10_000)
    line = Line("loss", x, y.tolist(), (y - 1).tolist(), (y + 1).tolist())
    options = curve_options([line, Line("other", x, y.tolist())], smoothing=0.9)
    assert all(len(one["data"]) <= MOST_POINTS for one in options["series"])
    assert len(json.dumps(options, allow_nan=False)) < 150_000
