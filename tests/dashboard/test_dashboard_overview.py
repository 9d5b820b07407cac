"""The overview as somebody sees it in a browser, while the run goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
from made_up_run import write_run

pytestmark = dashboard_browser.needs_browser


def test_tiles_change_while_the_run_goes_on(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "live", 30, 40, synthesis=False)
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/")
        lines = page.locator(".card.run .lines")
        lines.get_by_text("grpo").wait_for()
        method, measured, *sets = lines.inner_text().splitlines()
        assert method == "grpo" and re.fullmatch(r"accuracy 0\.\d{3} · D 0\.\d{3}", measured)
        assert len(sets) == 2 and sets[0].startswith("test, ") and sets[0].endswith(" at step 0")
        page.get_by_text("live", exact=True).click()
        page.wait_for_url("**/run/live/overview")
        page.get_by_text("step 30 of 40").wait_for()
        _bar_has_two_lines(page)
        tops = page.locator(".tile .value").evaluate_all("all => all.map(v => v.offsetTop)")
        assert len(tops) > 7 and len(set(tops)) == 1, "values stand beside each other"
        lines = (run / "metrics.jsonl").read_text().splitlines()
        row = json.loads(lines[-1]) | {"step": 31, "time/step_s": 77.0}
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row)[:40])  # half a line
            file.flush()
            page.wait_for_timeout(2500)
            assert page.get_by_text("step 30 of 40").is_visible()
            file.write(json.dumps(row)[40:] + "\n")
        page.get_by_text("step 31 of 40").wait_for()
        tile = page.locator(".tile", has_text="seconds a step").locator(".value")
        page.wait_for_function("value => Number(value.innerText) > 20", arg=tile.element_handle())


def _bar_has_two_lines(page: Any) -> None:
    """The run and its state, which changes its length all the time, are above the tabs, so that
    nothing moves."""
    state, button, tabs = (
        page.locator(f"header {part}").bounding_box() for part in (".state", "button", "nav")
    )
    assert state["y"] + state["height"] <= tabs["y"] and button["x"] > state["x"]
    assert button["y"] + button["height"] <= tabs["y"] + 1


def test_a_damaged_or_deleted_run_is_a_line_on_the_page(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = write_run(tmp_path / "runs" / "odd", 20, 20, synthesis=False)
    (run / "pool.db").write_bytes(b"no database" * 1000)
    with (run / "metrics.jsonl").open("a") as file:
        file.write("no json\n[1]\n")
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/odd/overview")
        page.get_by_text("lines that are no JSON object are left out").wait_for()
        page.get_by_text("step 20 of 20").wait_for()
        run.rename(tmp_path / "elsewhere")
        page.get_by_text("is gone; what was read before is shown").wait_for()
        assert page.locator(".tile").count() >= 5


def test_names_of_folders_and_settings_are_shown_as_text(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    name = '<img src=x onerror="document.title=1"> & ‮rtl\u202c'
    run = write_run(tmp_path / "runs" / name, 12, 12, synthesis=False)
    (run / "config.yaml").write_text(
        "method: {name: '<script>alert(1)</script>'}\ntrainer: {steps: x}\n"
    )
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/")
        page.get_by_text("<script>alert(1)</script>").wait_for()
        page.get_by_text("<img src=x").click()
        page.get_by_text("step 12").first.wait_for()
        assert page.title() != "1" and page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_button_changes_between_light_and_dark(
    served: str, open_page: Callable[..., Any], scheme: str
) -> None:
    page = open_page(f"{served}/run/plain/overview", color_scheme=scheme)
    page.locator(".tile").first.wait_for()
    other = "dark" if scheme == "light" else "light"
    for expected in (other, scheme):
        page.get_by_label("light or dark").click()
        page.locator(f"body.body--{expected}").wait_for()
