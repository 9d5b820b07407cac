"""The tab Compare in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
from made_up_run import write_run

pytestmark = dashboard_browser.needs_browser


def test_runs_are_chosen_and_the_address_shows_the_same_again(
    served: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{served}/run/first/compare")
    page.get_by_text("Choose runs to compare this one with.").wait_for()
    page.get_by_label("compare with").click()
    page.get_by_role("option", name="second").click()
    page.keyboard.press("Escape")
    settings = page.locator("table.settings")
    settings.get_by_text("trainer.seed").wait_for()
    assert settings.locator("tr").count() == 2  # nothing else differs
    page.get_by_text("also those that are equal").click()
    settings.get_by_text("method.name").wait_for()

    chips = page.locator(".metric-choice .q-chip")
    chips.get_by_text("reward/accuracy", exact=True).wait_for()
    for _ in range(chips.count() - 1):
        chips.last.locator(".q-chip__icon--remove").click()
        page.wait_for_timeout(300)
    page.wait_for_url(re.compile(r"runs=second&metrics=reward%2Faccuracy&all=1$"))
    again = open_page(page.url)
    again.locator(".comparison .curve canvas").wait_for()
    assert again.locator(".comparison .curve .title").all_inner_texts() == ["reward/accuracy"]
    again.locator("table.settings").get_by_text("method.name").wait_for()
    # Runs with made-up numbers have kept no answers.
    again.get_by_text("The answers of first and second are not kept").wait_for()
    assert again.locator("table.compared:not(.settings) tr").count() > 2


def test_a_run_alone_says_that_there_is_no_other(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = write_run(tmp_path / "runs" / "alone", 12, 12, synthesis=False)
    with dashboard_browser.dashboard(tmp_path, run) as address:
        page = open_page(f"{address}/run/alone/compare")
        page.get_by_text("There is no other run in the folders of this dashboard.").wait_for()
        assert not page.get_by_label("compare with").is_visible()
