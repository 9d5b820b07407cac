"""The pictures of a run as a browser gets them."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from starlette.testclient import TestClient

from syngrpo.dashboard.pictures import picture_routes
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples


def write_pool(run: Path, place: int) -> None:
    """A run with a pool of one sample, ``mine``, whose picture is the one at ``place``."""
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text("")
    with closing(Pool.open(run)) as pool:
        pool.add_seeds([replace(rooms_samples("test", 2, task="rec")[place], id="mine")])


def test_a_run_that_was_started_anew_shows_its_own_pictures(tmp_path: Path) -> None:
    run, runs = tmp_path / "runs" / "first", FollowedRuns([tmp_path])
    write_pool(run, 0)
    app = FastAPI()
    app.include_router(picture_routes(runs))
    visitor, address = TestClient(app), "/picture?run=runs~first&sample=mine&side=480"
    before = visitor.get(address)
    assert before.status_code == 200 and before.headers["cache-control"] == "private, no-cache"
    known = {"If-None-Match": before.headers["etag"]}
    assert visitor.get(address, headers=known).status_code == 304
    assert visitor.get(address.replace("480", "160"), headers=known).status_code == 200
    shutil.rmtree(run)
    write_pool(run, 1)
    after = visitor.get(address, headers=known)
    assert after.status_code == 200 and after.content != before.content
    runs.close()
