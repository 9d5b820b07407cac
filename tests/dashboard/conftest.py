"""One run directory and one dashboard over it for all tests of the dashboard, and a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
from kept_responses import write_answers
from made_up_run import write_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs. ``first``: 60 steps, a pool, responses of its last steps.
    ``second`` differs from it only in the seed, and has 50 steps; ``plain`` has another method."""
    folder = tmp_path_factory.mktemp("dashboard") / "runs"
    write_run(folder / "first", 60, 100)
    write_answers(folder / "first", steps=(59, 60))
    write_run(folder / "second", 50, 100, synthesis=False)
    config = (folder / "first" / "config.yaml").read_text()
    (folder / "second" / "config.yaml").write_text(config.replace("seed: 0", "seed: 1"))
    write_run(folder / "plain", 60, 60, synthesis=False)
    return folder


@pytest.fixture(scope="session")
def served(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over ``run_folder``."""
    with dashboard_browser.dashboard(tmp_path_factory.mktemp("served"), run_folder) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One for each file: while playwright is open, its event loop counts as running in this thread,
    and tests of other files that start one of their own would fail."""
    with dashboard_browser.browser() as started:
        yield started


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address in a browser of its own; options as those of playwright's ``new_context``.
    At its end nothing may have been asked of another host, and the page may have had no error."""
    contexts, foreign, errors = [], [], []

    def open_address(address: str, **options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        host = address.split("/")[2]
        page.on("request", lambda r: foreign.append(r.url) if _foreign(r.url, host) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert not foreign and not errors, (foreign, errors)


def _foreign(url: str, host: str) -> bool:
    return not url.startswith(("data:", "blob:")) and url.split("/")[2] != host
