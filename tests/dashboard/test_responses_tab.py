"""The tab Responses as somebody uses it in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
import httpx
from kept_responses import made_up, texts_of, write_answers
from service_process import until

from syngrpo.pool.store import Pool
from syngrpo.responses.response_writer import ResponseWriter

pytestmark = dashboard_browser.needs_browser

HOSTILE = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\u202e\x07 עברית"


def opacities(page: Any) -> list[float]:
    """The opacity of each answer on the picture, in the order of the responses."""
    return page.evaluate(
        "() => [...document.querySelectorAll('.kept-group svg [data-answer]')]"
        ".sort((a, b) => a.dataset.answer - b.dataset.answer)"
        ".map(mark => Number(getComputedStyle(mark).opacity))"
    )


def until_opacities(page: Any, expected: list[float]) -> None:
    for _ in range(50):
        if opacities(page) == expected:
            return
        page.wait_for_timeout(50)
    assert opacities(page) == expected


def open_tab(open_page: Callable[..., Any], served: str, query: str = "", **options: Any) -> Any:
    page = open_page(f"{served}/run/first/responses{query}", **options)
    page.locator(".answers .answer").first.wait_for()
    return page


def test_an_answer_under_the_pointer_is_seen_alone(
    served: str, open_page: Callable[..., Any]
) -> None:
    page = open_tab(open_page, served)
    assert page.locator(".group-list .group").count() == 4
    assert page.locator(".answers .answer").count() == 8
    assert page.locator(".kept-group svg rect.truth").count() == 1
    assert opacities(page) == [1.0] * 8
    only_second = [1.0 if n == 1 else 0.1 for n in range(8)]
    page.locator(".answers .answer").nth(1).hover()
    until_opacities(page, only_second)
    page.mouse.move(5, 5)
    until_opacities(page, [1.0] * 8)
    page.locator(".kept-group svg rect[data-answer='1']").dispatch_event("click")
    until_opacities(page, [1.0 if n == 1 else 0.18 for n in range(8)])
    page.get_by_text("Response 2", exact=True).wait_for()
    assert page.locator(".answer[aria-pressed=true] .number").inner_text() == "2"
    page.wait_for_url("**response=1**")

    again = open_page(page.url)  # a link shows the same
    again.get_by_text("Response 2", exact=True).wait_for()
    until_opacities(again, [1.0 if n == 1 else 0.18 for n in range(8)])
    again.locator(".answers .answer").nth(1).click()
    again.mouse.move(5, 5)
    until_opacities(again, [1.0] * 8)


def test_keys_go_through_groups_and_responses(served: str, open_page: Callable[..., Any]) -> None:
    page = open_tab(open_page, served, "?sort=order&step=60")
    page.wait_for_url("**group=0**")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**group=1**")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**group=2**")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**group=1**")
    for key, number in (("j", 1), ("ArrowDown", 2), ("ArrowDown", 3), ("k", 2), ("ArrowUp", 1)):
        page.keyboard.press(key)
        page.get_by_text(f"Response {number}", exact=True).wait_for()
    assert "response=0" in page.url
    page.keyboard.press("Escape")
    page.wait_for_function("() => !location.search.includes('response=')")
    assert page.evaluate("scrollY") == 0
    page.get_by_label("search texts").fill("cup")
    page.keyboard.press("ArrowLeft")  # in a text, arrow keys move the cursor
    page.wait_for_timeout(300)
    assert "group=0" not in page.url


def test_steps_are_chosen_and_found_again(served: str, open_page: Callable[..., Any]) -> None:
    page = open_tab(open_page, served, "?step=3")
    page.get_by_text("There are no responses of step 3; these are the nearest.").wait_for()
    page.wait_for_url("**step=59**")
    page.get_by_label("next step with responses").click()
    page.wait_for_url("**step=60**")
    page.get_by_label("previous step with responses").click()
    page.wait_for_url("**step=59**")
    page.get_by_label("step", exact=True).first.fill("60")
    page.wait_for_url("**step=60**")
    page.get_by_text("all responses to this picture").click()
    page.get_by_text("back to the step").wait_for()
    page.locator(".answers .answer").first.wait_for()
    assert page.locator(".group-list .title").all_inner_texts() == ["step 59", "step 60"]
    page.get_by_text("back to the step").click()
    page.wait_for_url(lambda url: "sample=" not in url and "step=60" in url)


def test_tokens_have_the_colour_and_say_their_values(
    served: str, open_page: Callable[..., Any]
) -> None:
    page = open_tab(open_page, served)
    page.get_by_text("Entropy", exact=True).click()
    page.locator(".token.amount").first.wait_for()
    tokens = page.locator(".token")
    assert tokens.all_inner_texts()[1:3] == ["a cup", "</think>"] and tokens.count() == 6
    tokens.nth(1).hover()
    said = tokens.nth(1).evaluate("token => getComputedStyle(token, '::after').content")
    assert "entropy 0.125" in said and "mismatch -0.12500" in said
    page.wait_for_url("**overlay=entropy**")
    page.get_by_text("Part", exact=True).click()
    page.locator(".token.part-answer").first.wait_for()


def test_filters(served: str, open_page: Callable[..., Any]) -> None:
    page = open_tab(open_page, served)
    page.get_by_label("search texts").fill("nowhere to be found")
    page.get_by_text("The filters take none of the 4 groups.").wait_for()
    page.wait_for_url("**search=nowhere**")
    page.get_by_label("search texts").fill("A CUP")
    page.wait_for_function("() => document.querySelectorAll('.group-list .group').length === 4")
    page.get_by_label("pictures").click()
    page.get_by_text("seed only").click()
    page.get_by_text("The filters take none of the 4 groups.").wait_for()


def test_hostile_texts_are_shown_and_a_missing_picture_is_explained(
    served: str, run_folder: Path, open_page: Callable[..., Any]
) -> None:
    run = run_folder / "hostile-responses"
    run.mkdir()
    (run / "config.yaml").write_text("trainer: {steps: 3}\n")
    text = f"<think>{HOSTILE}</think>" + "x" * 1_000_000
    odd = {"text": text, "question": HOSTILE, "sample_id": HOSTILE, "answer": HOSTILE}
    more = {"boxes": [(HOSTILE, 1.0, 2.0, -3.0, float("inf"))], "task": HOSTILE}
    writer = ResponseWriter(run / "responses", texts_of, [])
    writer.add([made_up(1, 0, n, rewards={}, **odd, **more, tokens=None) for n in range(2)])
    writer.close()
    wait_for_run(served, run.name)
    page = open_page(f"{served}/run/{run.name}/responses")
    page.locator(".answers .answer").first.wait_for()
    assert HOSTILE.split("\u202e")[0] in page.locator(".kept-group .question").inner_text()
    page.get_by_text("the pool of this run is not here").wait_for()
    assert len(page.locator(".response").inner_text()) < 50_000
    page.get_by_text("Show all of it (1,0").click()
    page.wait_for_function("() => document.querySelector('.response').innerText.length > 1e6")
    assert page.evaluate("window.hit") is None
    shutil.rmtree(run)
    page.get_by_text("is gone; what was read before is shown").wait_for()


def test_a_run_without_responses_is_told_and_shows_the_first_that_come(
    served: str, run_folder: Path, open_page: Callable[..., Any]
) -> None:
    run = run_folder / "no-responses"
    run.mkdir()
    (run / "config.yaml").write_text("logging: {responses: {keep: none}}\n")
    wait_for_run(served, run.name)
    page = open_page(f"{served}/run/{run.name}/responses")
    page.get_by_text("This run keeps no responses").wait_for()
    source = Pool.open(run_folder / "first")
    source.backup(run / "pool.db")
    source.close()
    (run / "images").symlink_to(run_folder / "first" / "images")
    write_answers(run, steps=(4,), groups=1, size=2)
    page.locator(".kept-group svg image").wait_for()
    assert page.locator(".answers .answer").count() == 2
    write_answers(run, steps=(5,), groups=1, size=2)
    page.get_by_text("newest: 5").wait_for()
    assert "step=4" in page.url  # what somebody looks at stays
    shutil.rmtree(run)


def wait_for_run(served: str, name: str) -> None:
    address = f"{served}/run/{name}/responses"
    until(lambda: "There is no run" not in httpx.get(address, trust_env=False).text, "the run")
