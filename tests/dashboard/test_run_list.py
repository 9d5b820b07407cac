"""The list of the runs: sorted, searched, and with the runs that begin while it is open."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
from made_up_run import write_run

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.run_list import facts_of, in_order, is_found


def three_runs(folder: Path) -> list[Path]:
    """Runs of which the first has the highest accuracy and the last the highest D, each written
    later than the one before; and one without a step, written long ago."""
    for place, name in enumerate(("alpha", "beta", "gamma")):
        run = write_run(folder / name, 10, 10, synthesis=False)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        changed = {"reward/accuracy": 0.9 - 0.2 * place, "diversity/response": 0.1 + 0.2 * place}
        lines = [json.dumps(row | changed) for row in rows]
        (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "new").mkdir()
    (folder / "new" / "config.yaml").write_text("method: {name: random-scene}\n")
    for age, name in enumerate(("gamma", "beta", "alpha", "new")):
        then = time.time() - 1000 * (age + 1)
        for file in (path for path in (folder / name).rglob("*") if path.is_file()):
            os.utime(file, (then, then))
    return [folder / name for name in ("alpha", "beta", "gamma", "new")]


def test_orders_and_what_is_found(tmp_path: Path) -> None:
    facts = [facts_of(FollowedRun(run.name, run)) for run in three_runs(tmp_path)]
    assert facts[1].accuracy == pytest.approx(0.7) and facts[1].diversity == pytest.approx(0.3)
    assert math.isnan(facts[3].accuracy)

    def names(order: str) -> list[str]:
        return [one.name for one in in_order(facts[::-1], order)]

    assert names("name") == ["alpha", "beta", "gamma", "new"]
    assert names("accuracy") == ["alpha", "beta", "gamma", "new"]
    assert names("diversity") == ["gamma", "beta", "alpha", "new"]
    assert names("latest") == ["gamma", "beta", "alpha", "new"]
    assert [one.name for one in facts if is_found(one, "RANDOM")] == ["new"]
    assert [one.name for one in facts if is_found(one, "amm")] == ["gamma"]


def test_a_metric_that_the_last_evaluation_does_not_have_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 10, 10, synthesis=False)
    file = run / "evaluation.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1]["metrics"] = {"sampled/format": 0.9}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert facts_of(FollowedRun("run", run)).name == "run"


@dashboard_browser.needs_browser
def test_runs_are_sorted_and_found_and_later_ones_can_be_chosen(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    runs = tmp_path / "runs"
    three_runs(runs)

    def shown(page: Any) -> list[str]:
        cards = page.locator(".card.run:visible")
        places = cards.evaluate_all("all => all.map(c => [c.offsetTop, c.offsetLeft])")
        names = cards.locator(".name").all_inner_texts()
        return [name for _, name in sorted(zip(places, names, strict=True))]

    with dashboard_browser.dashboard(tmp_path, runs) as address:
        page = open_page(f"{address}/?sort=diversity")
        page.get_by_label("find runs").wait_for()
        assert shown(page) == ["gamma", "beta", "alpha", "new"]
        page.get_by_label("sorted by").click()
        page.get_by_role("option", name="accuracy").click()
        page.wait_for_url("**/?sort=accuracy")
        page.get_by_label("find runs").fill("ALPHA")
        page.wait_for_url("**/?find=ALPHA&sort=accuracy")
        assert shown(page) == ["alpha"]
        page.get_by_label("find runs").fill("<b>none")
        page.get_by_text("No run has '<b>none' in its name or method.").wait_for()
        page.reload()
        page.get_by_text("No run has '<b>none' in its name or method.").wait_for()
        assert page.get_by_label("find runs").input_value() == "<b>none"

        page.goto(f"{address}/run/alpha/compare")
        page.get_by_text("Choose runs to compare this one with.").wait_for()
        write_run(runs / "later", 10, 10, synthesis=False)
        page.wait_for_timeout(8000)  # the folders are searched every 5 s
        page.get_by_label("compare with").click()
        page.get_by_role("option", name="later").click()
        page.wait_for_url("**/run/alpha/compare?runs=later")
        page.get_by_text("Settings").wait_for()
