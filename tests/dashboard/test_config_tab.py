"""The tab Config & logs in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
from made_up_run import write_run

pytestmark = dashboard_browser.needs_browser


def line(level: str, text: str) -> str:
    return f"2026-11-29 14:49:06,464 {level} syngrpo.workflow.run: {text}\n"


def test_settings_attempts_and_the_log_of_a_run(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = write_run(tmp_path / "runs" / "live", 30, 40, synthesis=False)
    log = run / "log.txt"
    log.write_text("".join(line("INFO", f"number {n}") for n in range(1000)))
    attempt = {"time": "2026-11-29T14:46:25+00:00", "step": 0, "steps": 40, "host": "<i>h</i>"}
    (run / "attempts.jsonl").write_text(json.dumps(attempt) + "\n{half")
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/live/config")
        page.get_by_text("1–30 of 40").wait_for()
        page.get_by_text("<i>h</i>").wait_for()
        messages = page.locator(".log-message")
        page.wait_for_function("document.querySelectorAll('.log-message').length == 200")
        assert messages.last.is_visible() and "number 999" in messages.last.inner_text()
        page.get_by_role("button", name="earlier").click()
        page.wait_for_function("document.querySelectorAll('.log-message').length == 400")
        assert "number 600" in messages.first.inner_text()

        with log.open("a") as file:
            file.write(line("ERROR", "it broke: <script>document.title='taken'</script>\x00\u202e"))
        page.get_by_text("it broke").wait_for()
        page.get_by_label("find messages").fill("BROKE")
        page.wait_for_function("document.querySelectorAll('.log-message').length == 1")
        assert page.title() != "taken"

        page.get_by_label("find settings").fill("steps")
        page.get_by_text("only those that are not the default").click()
        settings = page.locator("table.config-keys tr.differs")
        page.wait_for_function("document.querySelectorAll('.config-keys tr.differs').length == 1")
        assert settings.inner_text().split()[:2] == ["trainer.steps", "40"]
        page.wait_for_url(re.compile(r"text=steps&changed=1&log=BROKE$"))
        again = open_page(page.url)
        again.get_by_text("it broke").wait_for()
        assert again.locator(".log-message").count() == 1
        assert again.locator("table.config-keys tr.differs").count() == 1

        log.unlink()
        again.get_by_text("There is no log yet.").wait_for()


def test_the_log_of_one_attempt(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "live", 30, 40, synthesis=False)
    log = run / "log.txt"
    first = "".join(line("INFO", f"early {n}") for n in range(500))
    log.write_text(first + "".join(line("INFO", f"late {n}") for n in range(3)))
    rows = [{"step": 0, "steps": 40, "log_from": 0}]
    rows += [{"step": 20, "steps": 40, "log_from": len(first)}]
    (run / "attempts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    count = "number => document.querySelectorAll('.log-message').length == number"
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/live/config?attempt=2")
        page.wait_for_function(count, arg=3)
        page.get_by_text("These are all messages of this attempt").wait_for()
        with log.open("a") as file:
            file.write(line("INFO", "late 3"))
        page.wait_for_function(count, arg=4)
        page.get_by_role("combobox", name="attempt").click()
        page.get_by_role("option", name="1", exact=True).click()
        page.wait_for_function(count, arg=200)
        assert "early 499" in page.locator(".log-message").last.inner_text()
        page.wait_for_url("**/config?attempt=1")
        for shown in (400, 500):
            page.get_by_role("button", name="earlier").click()
            page.wait_for_function(count, arg=shown)
        page.get_by_text("These are all messages of this attempt").wait_for()
        page.get_by_role("combobox", name="attempt").click()
        page.get_by_role("option", name="all").click()
        page.get_by_text("late 3").wait_for()
