"""What somebody does with the dashboard: a real run is looked at while it goes on, in every tab."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
import quick_runs
import warm_processes
from service_process import until

from syngrpo.dashboard.pages import TABS

pytestmark = [dashboard_browser.needs_browser, pytest.mark.slow, pytest.mark.timeout(600)]

SHOWN = (
    ".page :is(canvas, svg, img, table, .tile, .setting):visible, "
    ":text('Choose runs to compare this one with')"
)
"""What a tab has when it shows something of the run, or of a single run."""


def answers_of(run: Path) -> list[Path]:
    return list((run / "responses").glob("steps-*.parquet"))


def test_a_run_is_looked_at_while_it_goes_on(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    runs = tmp_path / "runs"
    test_set = "{test: {format: rooms, split: test, task: rec, count: 8}}"
    arguments = quick_runs.train_arguments(
        runs / "live",
        trainer__steps=100_000,
        trainer__checkpoint_every=4,
        evaluation__sets=test_set,
        logging__responses__tokens=1,
    )
    training = warm_processes.start(tmp_path, *arguments)
    try:
        until(lambda: answers_of(runs / "live"), "kept responses")
        with dashboard_browser.dashboard(tmp_path / "served", runs) as address:
            page = open_page(f"{address}/")
            page.get_by_text("live", exact=True).click()
            page.wait_for_url("**/run/live/overview")
            _see_the_step_change(page)
            for tab in TABS:
                page.get_by_role("link", name=tab.title, exact=True).click()
                page.wait_for_url(f"**/run/live/{tab.name}**")
                if tab.name == "compare":
                    page.get_by_text("There is no other run").wait_for()
                else:
                    _wait_for_content(page, tab.title)
                assert page.locator(".problem:visible").count() == 0, page.inner_text("body")
            page.get_by_role("link", name="Overview", exact=True).click()
            _click_a_step_and_hover_an_answer(page)
            link = page.url
            other = open_page(link)  # somebody gets the link
            other.locator(".answers .answer").first.wait_for()
            assert other.url == link
            assert training.process.is_alive(), training.stderr
    finally:
        training.kill()


def _wait_for_content(page: Any, title: str) -> None:
    from playwright.sync_api import TimeoutError as WaitedInVain

    try:
        page.locator(SHOWN).first.wait_for(timeout=30_000)
    except WaitedInVain:
        pytest.fail(f"{title} shows nothing: {page.inner_text('body')}")


def _see_the_step_change(page: Any) -> None:
    state = page.locator("header .state")
    state.get_by_text("step").wait_for()
    before = state.inner_text()
    page.wait_for_function(
        "([element, before]) => element.innerText.match(/step [0-9,]+/)[0] !== before",
        arg=[state.element_handle(), before.split(" · ")[1].split(" of ")[0]],
        timeout=60_000,
    )


def _click_a_step_and_hover_an_answer(page: Any) -> None:
    bar = page.locator(".stepbar canvas").first
    bar.wait_for()
    page.wait_for_timeout(1000)  # it is drawn when the data is there
    box = bar.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 12, box["y"] + 12)
    page.wait_for_url("**/responses?step=**")
    answer = page.locator(".answers .answer").first
    answer.wait_for()
    answer.hover()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.kept-group svg [data-answer]')]"
        ".some(mark => Number(getComputedStyle(mark).opacity) < 0.5)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_tab_fits_the_window(
    served: str, open_page: Callable[..., Any], width: int, scheme: str, tmp_path: Path
) -> None:
    """No tab is wider than the window. Where SYNGRPO_SCREENSHOTS names a folder, pictures of all
    tabs are written there, to be looked at."""
    folder = Path(os.environ.get("SYNGRPO_SCREENSHOTS", tmp_path))
    for tab in TABS:
        page = open_page(
            f"{served}/run/first/{tab.name}",
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
        )
        page.wait_for_timeout(1500)
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        page.screenshot(path=folder / f"{tab.name}-{width}-{scheme}.png", full_page=True)
        assert wide <= width, f"{tab.title} is {wide} pixels wide"
        page.close()
