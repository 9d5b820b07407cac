"""The tab Data server as somebody uses it in a browser, and who may requeue jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_browser
import pytest
from made_up_run import write_run

from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.queue.requeue import requeue
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError

LEASE_S = 3000.0
HOSTILE = "ValueError: <script>alert(1)</script> \u202e\x07 " + "x" * 300_000
TRACEBACK = f'Traceback (most recent call last):\n  File "<b>", line 1, in f\n    g()\n{HOSTILE}'


def queue_of(run: Path) -> tuple[Pool, JobQueue]:
    pool = Pool.open(run)
    policy = SamplingPolicy(max_children=999)
    return pool, JobQueue(pool, 999, LEASE_S, max_attempts=1, sampling=policy)


def busy_run(run: Path) -> list[str]:
    """A run with two jobs that are dead, one that is painted and one that waits; the dead ones."""
    write_run(run, 12, 40)
    config = (run / "config.yaml").read_text()
    changed = config.replace("generator: rooms", f"generator: rooms, lease_s: {LEASE_S}")
    (run / "config.yaml").write_text(changed)
    pool, queue = queue_of(run)
    parents = pool.seed_ids()
    asked = [JobRequest(parents[n % len(parents)], f"wall {n}", n, "noop") for n in range(4)]
    queue.submit(asked)
    for job in queue.lease("w", 2):
        queue.fail(job.id, "w", TRACEBACK)
    queue.lease("node7:4242:0a1b2c3d:3", 1)
    pool.close()
    return [one.id for one in asked[:2]]


def states(run: Path, names: list[str]) -> list[str]:
    with sqlite3.connect(run / "pool.db") as database:
        query = "SELECT state FROM jobs WHERE id = ?"
        return [database.execute(query, (name,)).fetchone()[0] for name in names]


def test_the_queue_its_workers_and_its_errors(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = tmp_path / "runs" / "busy"
    dead = busy_run(run)
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/busy/data-server")

        def tile(what: str) -> str:
            shown = page.locator(".tile", has=page.get_by_text(what, exact=True))
            return str(shown.locator(".value").inner_text())

        page.locator(".workers").first.wait_for()
        assert (tile("waiting"), tile("being painted"), tile("given up")) == ("1", "1", "2")
        workers = page.locator(".workers:not(.leases) tr")
        painting = workers.nth(1).locator("td").all_inner_texts()
        assert painting == ["node7, process 4242", "3", "1 job", "0", "0", "0", "–"]
        own = workers.filter(has=page.get_by_text("w", exact=True))
        assert own.locator("td").all_inner_texts() == ["w", "–", "–", "0", "0", "2", "–"]
        row = page.locator(".leases tr").nth(1).inner_text()
        assert "node7, process 4242" in row and "wall 2" in row
        assert "s ago" in row and "expired" not in row
        assert page.locator(".queue-curves canvas").count() == 4

        failure = page.locator(".failure")
        assert "2 jobs" in failure.inner_text() and "<script>" in failure.inner_text()
        assert not failure.locator(".traceback").is_visible()
        failure.locator("summary").click()
        failure.locator(".traceback").wait_for()
        assert len(failure.locator(".traceback").inner_text()) < 21_000
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.get_by_role("button", name="Try again").count() == 0
        page.get_by_text("with syngrpo dashboard --allow-actions").wait_for()
        assert states(run, dead) == ["dead", "dead"]

        pool, queue = queue_of(run)
        (job,) = queue.lease("node7:4242:0a1b2c3d:3", 1)
        queue.fail(job.id, "node7:4242:0a1b2c3d:3", "no memory")
        pool.close()
        page.locator(".failure", has_text="no memory").wait_for()
        assert tile("given up") == "3"
        assert failure.first.locator(".traceback").is_visible(), "what was opened stays open"


def test_dead_jobs_are_requeued_with_a_token_beside_a_trainer_that_has_the_pool_open(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = tmp_path / "runs" / "busy"
    dead = busy_run(run)
    trainer, queue = queue_of(run)
    with dashboard_browser.dashboard(tmp_path, run.parent, "--allow-actions") as address:
        assert "/?token=" in address, "on this host, too"
        base, _, token = address.partition("/?")
        assert open_page(f"{base}/run/busy/data-server").get_by_text("token is needed").count()
        page = open_page(f"{base}/run/busy/data-server?{token}")
        page.get_by_role("button", name="Try again").click()
        page.get_by_text("2 jobs wait in the queue again").wait_for()
        assert states(run, dead) == ["queued", "queued"]
        page.get_by_text("Given up", exact=True).wait_for(state="hidden")
        assert not page.get_by_text("Failed, and to be tried again").is_visible()
        assert page.get_by_role("button", name="Try again").count() == 0
    assert {job.id for job in queue.lease("w", 9)} >= set(dead)
    trainer.close()


@pytest.mark.parametrize("actions", [True, False])
def test_the_server_side_refuses_without_permission(tmp_path: Path, actions: bool) -> None:
    """Whatever the page shows."""
    run = tmp_path / "busy"
    dead = busy_run(run)
    view = View(FollowedRuns([run]), FollowedRun("busy", run), "data-server", "", {}, actions)
    if actions:
        assert requeue(view, dead) == 2 and requeue(view, dead) == 0
    else:
        with pytest.raises(PermissionError, match="--allow-actions"):
            requeue(view, dead)
        assert states(run, dead) == ["dead", "dead"]


def test_a_pool_that_is_gone_or_locked_is_not_made_anew(tmp_path: Path) -> None:
    run = tmp_path / "busy"
    dead = busy_run(run)
    view = View(FollowedRuns([run]), FollowedRun("busy", run), "data-server", "", {}, True)
    (run / "pool.db").rename(tmp_path / "elsewhere.db")
    with pytest.raises(InputError, match="missing or empty"):
        requeue(view, dead)
    assert not (run / "pool.db").exists()


def test_a_run_that_paints_nothing_says_so(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "plain", 12, 12, synthesis=False)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("generator:", "mode: 'off', generator:"))
    Pool.open(run).close()
    with dashboard_browser.dashboard(tmp_path, run.parent) as address:
        page = open_page(f"{address}/run/plain/data-server")
        page.get_by_text("This run paints no pictures: its method is grpo.").wait_for()
        assert page.locator(".tile:visible").count() == 0


def test_a_run_without_a_queue_says_so(served: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{served}/run/plain/data-server")
    page.get_by_text("This run has no queue of jobs yet.").wait_for()
