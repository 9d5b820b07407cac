"""The tab Data as somebody uses it in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dashboard_browser
import httpx
from made_up_run import fill_pool
from service_process import until

from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples

pytestmark = dashboard_browser.needs_browser

HOSTILE = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\u202e\x07 עברית"
ROOMS = {"format": "rooms", "task": "rec", "split": "test", "count": 30}


def wait_for_run(served: str, name: str) -> None:
    address = f"{served}/run/{name}/data"
    until(lambda: "There is no run" not in httpx.get(address, trust_env=False).text, "the run")


def cards(page: Any, number: int) -> Any:
    """The cards of the page, when there are this many."""
    page.wait_for_function(
        f"() => document.querySelectorAll('.sample-grid .sample').length === {number}"
    )
    return page.locator(".sample-grid .sample")


def test_a_pool_is_browsed(served: str, run_folder: Path, open_page: Callable[..., Any]) -> None:
    with closing(Pool.open(run_folder / "first")) as pool:
        seeds, children = (len(list(pool.samples(kind))) for kind in ("seed", "synthetic"))  # type: ignore[arg-type]
    page = open_page(f"{served}/run/first/data")
    first = cards(page, 24)
    page.get_by_text(f"1 to 24 of {seeds + children}").wait_for()
    assert first.locator("svg rect.asked").count() == 24
    newest = first.first.inner_text()
    page.keyboard.press("ArrowRight")
    page.get_by_text("page 2 of").wait_for()
    page.wait_for_url("**page=2**")
    page.get_by_label("previous page").click()
    page.get_by_text("page 1 of").wait_for()
    assert cards(page, 24).first.inner_text() == newest
    page.get_by_label("pictures").click()
    page.get_by_text("seed only").click()
    cards(page, seeds)
    page.wait_for_url("**kind=seed**")
    page.get_by_label("search questions and answers").fill("nowhere to be found")
    page.get_by_text("No samples.").wait_for()


def test_a_sample_is_shown_large(served: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{served}/run/first/data?kind=synthetic")
    cards(page, 24).nth(1).click()
    large = page.locator(".sample-detail")
    large.locator("svg image.masks").wait_for()
    assert large.get_by_text("description", exact=True).count() == 1
    assert large.locator("table tr").count() > 1
    large.get_by_text("masks", exact=True).click()
    page.locator(".sample-detail .no-masks").wait_for()
    assert not large.locator("svg image.masks").is_visible()
    second = large.locator(".sample-head .id").inner_text()
    page.wait_for_url(f"**sample={second}")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "id => document.querySelector('.sample-head .id').innerText !== id", arg=second
    )
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**sample={second}")

    again = open_page(page.url)  # a link shows the same
    again.locator(".sample-detail svg image.masks").wait_for()
    assert again.locator(".sample-head .id").inner_text() == second
    again.get_by_label("close").click()
    again.wait_for_url(lambda url: "sample=" not in url)
    page.get_by_text("its responses").click()
    page.wait_for_url(f"**/responses?sample={second}**")


def test_evaluation_sets_and_what_cannot_be_read(
    served: str, run_folder: Path, open_page: Callable[..., Any]
) -> None:
    run = run_folder / "with-sets"
    run.mkdir()
    sets = {"rooms": ROOMS, "gone": {"path": "/no/such.jsonl"}, HOSTILE: 3}
    (run / "config.yaml").write_text(json.dumps({"evaluation": {"sets": sets}}))
    wait_for_run(served, run.name)
    page = open_page(f"{served}/run/{run.name}/data")
    page.get_by_text("There is no pool in this run directory").wait_for()
    page.get_by_text("evaluation: rooms").click()
    cards(page, 24)
    page.get_by_text("1 to 24 of 30").wait_for()
    loaded = "() => [...document.querySelectorAll('.sample-grid image')].length === 24"
    page.wait_for_function(loaded)
    address = page.locator(".sample-grid image").first.get_attribute("href")
    assert httpx.get(served + address, trust_env=False).headers["content-type"] == "image/jpeg"
    page.get_by_text("evaluation: gone").click()
    page.get_by_text("/no/such.jsonl").wait_for()
    assert page.evaluate("window.hit") is None
    shutil.rmtree(run)


def test_hostile_texts_new_pictures_and_a_broken_one(
    served: str, run_folder: Path, open_page: Callable[..., Any]
) -> None:
    run = run_folder / "hostile-data"
    fill_pool(run, families=1, children=1)
    (run / "config.yaml").write_text("trainer: {steps: 3}\n")
    odd, broken, later = (
        replace(one, id=name, question=question, columns={HOSTILE: HOSTILE * 20_000})
        for one, name, question in zip(
            rooms_samples("test", 3, task="rec"),
            (HOSTILE, "broken", "later"),
            (HOSTILE, "broken " + "x" * 1_000_000, "the later one"),
            strict=True,
        )
    )
    with closing(Pool.open(run)) as pool:
        pool.add_seeds([odd, broken])
        path = pool.get("broken").image.path
        assert path is not None
        path.write_bytes(b"no picture")
    wait_for_run(served, run.name)
    page = open_page(f"{served}/run/{run.name}/data?order=oldest&kind=seed")
    shown = cards(page, 3)
    assert len(page.locator(".sample-grid").inner_text()) < 10_000
    shown.nth(1).click()
    large = page.locator(".sample-detail")
    large.locator("dd").first.wait_for()
    assert large.locator("dd").first.inner_text().startswith("<script>window.hit = 1")
    page.keyboard.press("ArrowRight")
    large.locator(".problem", has_text="cannot be").wait_for()
    page.get_by_label("close").click()
    with closing(Pool.open(run)) as pool:
        pool.add_seeds([later])
    page.get_by_text("1 new picture: show").click()
    cards(page, 4)
    assert page.evaluate("window.hit") is None
    shutil.rmtree(run)
