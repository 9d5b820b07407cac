"""The tabs Evaluation and Compare in a browser, with answers that runs have kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
from kept_evaluations import COUNT, keep_answers

pytestmark = dashboard_browser.needs_browser

HOSTILE = "<img src=x onerror=\"document.title='taken'\">\u202e\x00" + "long " * 200_000


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "runs"
    keep_answers(folder / "mine", (0, 40), lambda step, place: float(place % (2 + step // 20) == 1))
    hostile = folder / "hostile"
    hostile.mkdir()
    (hostile / "config.yaml").write_text(
        json.dumps({"method": {"name": HOSTILE}, HOSTILE[:90]: {"key": 1}})
    )
    keep_answers(hostile, (40,), lambda step, place: 0.5, HOSTILE)
    return folder


@pytest.fixture(scope="module")
def address(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard_browser.dashboard(tmp_path_factory.mktemp("served"), judged) as served:
        yield served


def test_answers_are_compared_and_the_address_shows_the_same_again(
    address: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{address}/run/mine/evaluation")
    page.locator(".case image").first.wait_for()
    loaded = "image => image.href.baseVal.includes('set=test')"
    assert page.locator(".case image").first.evaluate(loaded)
    assert page.locator(".case rect.found").count() == 24
    page.get_by_text(f"1–24 of {COUNT}").wait_for()
    page.get_by_role("button", name="next").click()
    page.get_by_text(f"25–{COUNT} of {COUNT}").wait_for()

    page.get_by_label("against those of").click()
    page.get_by_role("option", name="mine, step 0").click()
    tile = page.locator("button.tile", has_text="right → wrong")
    tile.click()
    page.locator("button.tile[aria-pressed=true]").wait_for()
    lost = int(tile.locator(".value").inner_text())
    page.wait_for_function(
        "number => document.querySelectorAll('.case').length == number", arg=lost
    )
    page.locator("table.compared td.n.down").first.wait_for()
    page.wait_for_url(re.compile(r"before=mine%400&change="))

    again = open_page(page.url)
    again.locator(".case image").first.wait_for()
    assert again.locator(".case .id").all_inner_texts() == (
        page.locator(".case .id").all_inner_texts()
    )
    assert again.locator(".case rect.second").count() == lost


def test_a_narrow_window_shows_metrics_with_their_intervals(
    address: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{address}/run/mine/evaluation", viewport={"width": 400, "height": 900})
    page.locator(".case image").first.wait_for()
    interval = page.locator(".side-by-side td").get_by_text(re.compile(r"^\d.\d+ – \d.\d+$")).first
    box = interval.bounding_box()
    assert box["x"] + box["width"] < 400
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_hostile_texts_are_shown_as_text(address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{address}/run/hostile/evaluation")
    page.locator(".case pre", has_text="onerror").first.wait_for()
    assert page.title() != "taken" and page.locator(".case pre img").count() == 0
    assert len(page.content()) < 3_000_000


def test_runs_are_compared_sample_by_sample(address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{address}/run/mine/compare?runs=hostile")
    # Accuracies are 0 and 1 in one run, and 0.5 in the other: every interval is there.
    evaluation = page.locator("table.compared:not(.settings)")
    evaluation.get_by_text(re.compile(r"^[+-]\d.\d{3} … [+-]\d.\d{3}$")).first.wait_for()
    page.locator("table.settings").get_by_text("onerror").first.wait_for()
    assert page.title() != "taken" and page.locator("table.settings img").count() == 0
    assert len(page.content()) < 3_000_000
