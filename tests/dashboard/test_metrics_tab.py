"""The tab Metrics in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
from made_up_run import write_run

pytestmark = dashboard_browser.needs_browser

ENDLESS = r"(?:(\w+)\1*(\w*)\2*)+\d$"
"""Tries very many ways to take a long name apart."""


def titles(page: Any) -> list[str]:
    return page.locator(".metric .title:visible").all_inner_texts()


def test_metrics_are_filtered_and_the_address_shows_the_same_again(
    served: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{served}/run/first/metrics")
    page.locator(".metric canvas").first.wait_for()
    page.get_by_text("100 metrics").wait_for()
    assert page.locator(".metric canvas").count() < 20  # only what is in view
    group = page.locator(".metric-group", has_text="time · 4")
    assert group.locator(".metric").count() == 0
    group.scroll_into_view_if_needed()
    group.locator("canvas").nth(3).wait_for()

    page.get_by_label("filter metrics").fill("ENTROPY|^kl$")
    page.get_by_text(re.compile(r"^\d of \d+ metrics$")).wait_for()
    assert titles(page) == ["kl", "entropy/token", "entropy/token/rec"]
    page.get_by_label("filter metrics").fill("(")
    page.get_by_text("This is no regular expression").wait_for()
    page.get_by_label("filter metrics").fill(ENDLESS)
    page.get_by_text("This regular expression takes too long").wait_for()
    page.get_by_label("filter metrics").fill("entropy|kl")
    page.get_by_text(re.compile(r"^\d of \d+ metrics$")).wait_for()

    page.get_by_text("log scale").click()
    page.locator(".metric-group", has_text="general").locator(".q-item").click()
    page.locator(".metric", has_text="entropy/token/rec").get_by_role("button").click()
    page.wait_for_url(re.compile(r"filter=entropy%7Ckl&log=1&toggled=general&large=entropy"))
    again = open_page(page.url)
    again.locator(".metric.large canvas").wait_for()
    assert titles(again) == titles(page) == ["entropy/token", "entropy/token/rec"]
    assert again.get_by_label("filter metrics").input_value() == "entropy|kl"
    page.get_by_label("filter metrics").fill("nothing is called so")
    page.get_by_text("0 of 100 metrics").wait_for()
    none = open_page(page.url)
    none.get_by_text("0 of 100 metrics").wait_for()
    assert page.locator(".metric-group:visible").count() == 0
    assert none.locator(".metric-group:visible").count() == 0


def test_runs_lie_over_each_other_and_seeds_are_joined(
    served: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{served}/run/first/metrics?runs=second,plain,gone&filter=^loss$&x=time")
    legend = page.locator(".run-legend > *")
    legend.get_by_text("2 seeds").wait_for()
    assert legend.all_inner_texts() == ["first … (2 seeds)", "plain"]
    page.get_by_text("join seeds").click()
    legend.get_by_text("second").wait_for()
    assert legend.all_inner_texts() == ["first", "plain", "second"]
    page.locator(".metric canvas").wait_for()


def test_a_chart_follows_the_run(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "live", 30, 40, synthesis=False)
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/live/metrics?filter=loss|hostile")
        page.locator(".metric canvas").wait_for()
        row = {"step": 31, "loss": 123.25, "hostile/<b>x</b>\x00": 1, "hostile/\u202e": 2}
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        page.locator(".metric .last", has_text="123.2").wait_for()
        page.locator(".metric canvas").nth(2).wait_for()
        assert "hostile/<b>x</b>␀" in titles(page)
