"""The tab Evolution as somebody uses it in a browser."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
from made_up_run import write_run

from syngrpo.dashboard.evolution.pool_families import family_of, seed_page
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation

pytestmark = dashboard_browser.needs_browser
HOSTILE = "<img src=x onerror=alert(1)> \u202etfel ot thgir\u202c \x07 " + "wall " * 400


@pytest.fixture(scope="module")
def pool(run_folder: Path) -> Pool:
    return Pool(run_folder / "first")


def test_a_family_with_rewards_before_and_after(
    served: str, open_page: Callable[..., Any], pool: Pool
) -> None:
    page = open_page(f"{served}/run/first/evolution")
    page.locator(".tree .member").first.wait_for()
    seed_id = seed_page(pool, "", "children", 0, 1).lines[0].sample_id
    family = family_of(pool, seed_id)
    assert page.locator(".tree .member").count() == len(family.members)
    earned = [f"ρ {one.reward:+.2f}" for one in family.members if one.reward is not None]
    assert page.locator(".earned").all_inner_texts()[1:] == earned
    chosen = page.locator(".tree .member[aria-current]")
    best = max(earned, key=lambda text: float(text[2:]))
    assert chosen.locator(".earned").inner_text() == best

    page.locator(".tree .member").nth(1).click()
    page.get_by_text("Painted from the description").wait_for()
    first = family.members[1]
    page.wait_for_url(f"**sample={first.sample.id}**")
    shown = page.locator(".relative")
    shown.locator(".description", has_text=str(first.sample.description)).wait_for()
    assert f"ρ {first.reward:+.2f} at step {first.settled}" in shown.inner_text()
    sources = shown.locator(".compare svg image").evaluate_all(
        "all => all.map(i => i.href.baseVal)"
    )
    assert seed_id in sources[0] and first.sample.id in sources[1]
    before = shown.locator(".compare .q-splitter__before")
    half = before.bounding_box()["width"]
    shown.get_by_role("slider").locator("[tabindex]").focus()
    for width in (1.01, 1.03):
        page.keyboard.press("ArrowRight")
        wider = "args => args[0].clientWidth > args[1]"
        page.wait_for_function(wider, arg=[before.element_handle(), half * width])
    shown.get_by_text("of the gate").click()
    row = shown.locator("tr", has_text="contrast of the least visible object")
    assert "at least 6 grey levels" in row.inner_text()


def test_a_link_shows_the_same_and_keys_go_through_the_family(
    served: str, open_page: Callable[..., Any], pool: Pool
) -> None:
    seed_id = seed_page(pool, "", "data", 3, 1).lines[0].sample_id
    family = family_of(pool, seed_id)
    page = open_page(f"{served}/run/first/evolution?sample={family.members[2].sample.id}")
    chosen = page.locator(".tree .member[aria-current] .title")
    chosen.wait_for()
    page.keyboard.press("ArrowUp")
    page.wait_for_url(f"**sample={family.members[1].sample.id}**")
    shown = page.locator(".relative .description")
    shown.filter(has_text=str(family.members[1].sample.description)).wait_for()
    assert chosen.inner_text() == family.members[1].sample.description
    page.keyboard.press("ArrowUp")
    page.get_by_text("A seed: a picture of the training data.").wait_for()
    page.get_by_role("link", name="its responses").click()
    page.wait_for_url(f"**/run/first/responses?sample={seed_id}**")


def test_seeds_are_searched_and_turned_over(served: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{served}/run/first/evolution?order=data")
    page.get_by_text("1 – 12").wait_for()
    question = page.locator(".seed .title").nth(5).inner_text()
    page.get_by_label("search id or question").fill(question)
    page.wait_for_url("**search=**")
    page.wait_for_function("() => document.querySelectorAll('.seed').length < 12")
    assert set(page.locator(".seed .title").all_inner_texts()) == {question}
    page.locator(".seed").first.click()
    page.locator(".tree-column .question", has_text=question).wait_for()
    page.get_by_label("search id or question").fill("no such question")
    page.get_by_text("no seed", exact=True).wait_for()


def test_words_are_shown_with_what_they_earn(served: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{served}/run/first/evolution")
    page.get_by_text("Words that earn most").wait_for()
    page.get_by_text("Said early and late").wait_for()
    page.get_by_role("button", name="D of the picture").click()
    page.wait_for_url("**value=diversity**")
    page.get_by_text("mean D").first.wait_for()


def test_texts_are_shown_as_texts_and_new_visits_appear(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = write_run(tmp_path / "runs" / "odd", 12, 12)
    with sqlite3.connect(run / "pool.db") as database:
        (body, name), *_ = database.execute(
            "SELECT body, id FROM samples WHERE parent IS NOT NULL ORDER BY number"
        ).fetchall()
        changed = json.loads(body) | {"description": HOSTILE, "question": HOSTILE}
        database.execute("UPDATE samples SET body = ? WHERE id = ?", (json.dumps(changed), name))
        database.execute("UPDATE jobs SET description = ?", (HOSTILE,))
        database.execute("UPDATE samples SET image = 'gone' WHERE id = ?", (name,))
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/odd/evolution?sample={name}")
        shown = page.locator(".relative .description")
        shown.wait_for()
        assert "<img src=x onerror=alert(1)>" in shown.inner_text()
        assert "␇" in shown.inner_text() and len(shown.inner_text()) < 1600
        page.get_by_role("button", name="Show all of it").click()
        page.wait_for_function(
            "n => document.querySelector('.description').innerText.length > n", arg=1900
        )
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        pool = Pool(run)
        pool.observe([Observation(name, 9, 9, 0.75, 0.125)])
        pool.close()
        page.get_by_text("2 visits").first.wait_for()
        other = open_page(f"{address}/run/odd/evolution?sample=nobody")
        other.get_by_text("no sample nobody").wait_for()
        (run / "pool.db").rename(run / "elsewhere.db")  # what was opened stays readable
        other = open_page(f"{address}/run/odd/evolution?sample=nobody")
        other.get_by_text("no sample nobody").wait_for()


def test_a_run_without_a_pool_says_so(served: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{served}/run/plain/evolution")
    page.get_by_text("This run has no pool of pictures yet.").wait_for()
