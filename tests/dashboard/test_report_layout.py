"""The report of a run in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
from made_up_run import write_run

from syngrpo.pages.run_report import write_report

pytestmark = dashboard_browser.needs_browser


@pytest.mark.parametrize("width", [1180, 400])
def test_what_is_said_of_a_child_stays_below_its_picture(
    tmp_path: Path, open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    said = "size 0.67 at 12, 40 of 128 × 128 px · brightness 0.27 · glare 0.40 · cast -0.80"
    monkeypatch.setattr("syngrpo.pages.pool_gallery.view_words", lambda frame, light: said)
    run = write_run(tmp_path / "run", 12, 12)
    write_report(run)
    page = open_page((run / "report.html").as_uri(), viewport={"width": width, "height": 900})
    assert page.get_by_text(said).count() > 4
    beyond = "facts => facts.filter(f => f.getBoundingClientRect().right > 1 + " + (
        "f.closest('figure').getBoundingClientRect().right).length"
    )
    assert page.locator(".children .fact").evaluate_all(beyond) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
