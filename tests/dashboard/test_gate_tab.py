"""The tab Gate as somebody uses it in a browser."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dashboard_browser
import httpx
import pytest
from made_up_run import write_run
from test_evolution_tab import HOSTILE

from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.refused_pictures import kept_pictures
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples

pytestmark = dashboard_browser.needs_browser
PLAIN = "plain red wall, blue concrete floor, soft daylight"


def refuse_all(run: Path, texts: list[str]) -> list[str]:
    """Paint children of seeds in a run whose gate refuses all of them; the ids of their jobs."""
    return paint(run, texts, GateThresholds(min_change=255, keep_refused=3))


def paint(run: Path, texts: list[str], gate: GateThresholds) -> list[str]:
    """Paint a child of one seed after the other; the ids of their jobs."""
    client = InlineClient(SynthesisSettings(run, gate=gate, generator="rooms"), SamplingPolicy())
    seeds = rooms_samples("train", len(texts))
    asked = [
        JobRequest(seed.id, text, 99, client.fingerprint)
        for seed, text in zip(seeds, texts, strict=True)
    ]
    for request in asked:
        client.submit([request])
    client.close()
    return [request.id for request in asked]


@pytest.fixture(scope="module")
def refused(run_with_refusals: tuple[Path, str]) -> Path:
    return run_with_refusals[0]


@pytest.fixture(scope="module")
def address(run_with_refusals: tuple[Path, str]) -> str:
    return run_with_refusals[1]


@pytest.fixture(scope="module")
def run_with_refusals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A run some of whose pictures were refused, one with a hostile description, and the address of
    a dashboard over it, over a run with an empty pool, and over one with a damaged pool."""
    folder = tmp_path_factory.mktemp("gate")
    run = write_run(folder / "runs" / "strict", 12, 12)
    Pool.open(write_run(folder / "runs" / "empty", 12, 12, synthesis=False)).close()
    damaged = write_run(folder / "runs" / "damaged", 12, 12, synthesis=False)
    (damaged / "pool.db").write_bytes(b"no database" * 1000)
    jobs = refuse_all(run, [f"{PLAIN}, {text}" for text in ("a rug", "a lamp", HOSTILE)])
    with sqlite3.connect(run / "pool.db") as database:
        assert database.execute(
            "SELECT COUNT(*) FROM jobs WHERE reason = 'background_unchanged' AND id IN (?, ?, ?)",
            jobs,
        ).fetchone() == (3,)
    with dashboard_browser.dashboard(folder, run.parent) as served:
        yield run, served


def test_reasons_scores_and_pictures_of_a_strict_gate(
    address: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{address}/run/strict/gate")
    page.get_by_text("the background has hardly changed").first.wait_for()
    row = page.locator(".gate-reasons tr", has_text="the background has hardly changed")
    assert row.locator("td").nth(1).inner_text() == "3"
    assert "synthesis.gate.min_change" in row.inner_text()
    chart = page.locator(".score-chart", has_text="change of the background")
    assert "at least 4 grey levels" in chart.inner_text()
    assert chart.locator("canvas").count() == 1

    cards = page.locator(".card.refused")
    cards.nth(2).wait_for()
    first = cards.first
    # The dashboard knows the thresholds of config.yaml, not those of this test's client.
    assert first.locator(".failed").inner_text() == "the background has hardly changed"
    text = first.locator(".description").inner_text()
    assert "<img src=x onerror=alert(1)>" in text and "␇" in text
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    loaded = "() => [...document.querySelectorAll('.refused image')].length >= 6"
    page.wait_for_function(loaded)
    first.locator("summary").click()
    first.locator("table.scores tr", has_text="change of the background").wait_for()

    page.get_by_role("combobox").last.click()
    page.get_by_role("option", name="the background has hardly changed (3)").click()
    page.wait_for_url("**reason=background_unchanged")
    page.wait_for_function("() => document.querySelectorAll('.card.refused').length == 3")
    cards.first.get_by_role("link", name="its family").click()
    page.wait_for_url("**/run/strict/evolution?sample=**")


def test_only_refused_pictures_are_sent(refused: Path, address: str) -> None:
    job = kept_pictures(refused)[0].job_id
    base = f"{address}/refused"
    answer = httpx.get(f"{base}?run=strict&job={job}", trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    for query in (
        f"run=strict&job={job}&side=7",
        f"run=other&job={job}",
        "run=strict&job=../../config",
        "run=strict&job=%2Fetc%2Fpasswd",
        f"run=strict&job={'0' * 64}",
    ):
        assert httpx.get(f"{base}?{query}", trust_env=False).status_code == 404, query
    kept = next(one for one in kept_pictures(refused) if one.job_id == job)
    content = kept.path.read_bytes()
    kept.path.write_bytes(content[:300])
    answer = httpx.get(f"{base}?run=strict&job={job}&side=160", trust_env=False)
    kept.path.write_bytes(content)
    assert answer.status_code == 404


def test_new_refusals_appear_while_the_run_goes_on(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = write_run(tmp_path / "runs" / "live", 12, 40, synthesis=False)
    with closing(Pool.open(run)) as pool:
        pool.add_seeds(rooms_samples("train", 2))
    paint(run, ["green wall, red carpet floor"], GateThresholds())
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/live/gate")
        page.get_by_text("The gate has refused no picture so far.").wait_for()
        assert not page.get_by_text("Refused pictures by reason").is_visible()
        assert page.get_by_text("the background has hardly changed").count() == 0
        refuse_all(run, [PLAIN + ", a rug", PLAIN + ", a lamp"])
        row = page.locator(".gate-reasons tr", has_text="the background has hardly changed")
        row.wait_for()
        assert row.locator("td").nth(1).inner_text() == "2"
        page.locator(".card.refused", has_text="a lamp").wait_for()
        chart = page.locator(".shares canvas")
        chart.wait_for()
        assert chart.bounding_box()["width"] > 500


@pytest.mark.parametrize("run", ["plain", "empty"])
def test_a_run_that_paints_nothing_says_so(
    served: str, address: str, open_page: Callable[..., Any], run: str
) -> None:
    page = open_page(f"{served if run == 'plain' else address}/run/{run}/gate")
    page.get_by_text("No picture has been painted in this run yet.").wait_for()


@pytest.mark.parametrize("tab", ["evolution", "gate", "data-server"])
def test_a_damaged_pool_is_a_line_on_the_page(
    address: str, open_page: Callable[..., Any], tab: str
) -> None:
    page = open_page(f"{address}/run/damaged/{tab}")
    page.get_by_text("The pool of this run cannot be read.").wait_for()
    page.get_by_text("is not a SQLite database").wait_for()
