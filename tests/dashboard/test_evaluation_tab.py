"""The tab Evaluation in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    keep_answers(folder / "hostile", (5,), lambda step, place: 0.5, HOSTILE)
    return folder


def test_answers_are_compared_and_the_address_shows_the_same_again(
    judged: Path, tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    with dashboard_browser.dashboard(tmp_path, judged) as address:
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

        hostile = open_page(f"{address}/run/hostile/evaluation")
        hostile.locator(".case pre", has_text="onerror").first.wait_for()
        assert hostile.title() != "taken" and hostile.locator(".case pre img").count() == 0
        assert len(hostile.content()) < 3_000_000
