"""A data server that is killed before any of its writes, and one whose disk is full."""

import operator
import os
import signal
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import pytest
from fault_kills import image_files, image_rows
from fault_service import NEVER, SEEDS, live, serving
from pool_integrity import check_consistent
from small_disk import run_on_a_small_disk

from syngrpo.data_server import remote_jobs
from syngrpo.data_server.serve_data import create_app
from syngrpo.data_server.server_runs import Runs
from syngrpo.serving.http_client import Unavailable

JOBS = 6


def end(process: int) -> int:
    """Return the signal that ended the server. If it runs, it is ended now, by SIGTERM."""
    ended, status = os.waitpid(process, os.WNOHANG)
    if not ended:
        os.kill(process, signal.SIGTERM)
        _, status = os.waitpid(process, 0)
    return -os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("stride", [97, pytest.param(37, marks=pytest.mark.slow)])
def test_a_server_killed_before_any_write_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    """The client gets no answer, asks the next server everything again, and nothing is lost or
    there twice. The server is killed before every ``stride``-th write."""
    monkeypatch.setattr(remote_jobs, "WAIT_S", 0.05)
    create_app(Runs(tmp_path / "warm"))  # what it imports is no file operation of the forks
    places = 0
    for event in range(1, NEVER, stride):
        folder = tmp_path / str(event)
        process, url = serving(folder, event)
        try:
            live(url, SEEDS, JOBS, operator.call)
        except Unavailable:
            assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        else:
            assert end(process) in (0, signal.SIGTERM)
            break
        places += 1
        if (folder / "one" / "pool.db").exists() and has_tables(folder / "one"):
            check_consistent(folder / "one")
        process, url = serving(folder)
        try:
            live(url, SEEDS, JOBS, operator.call)
        finally:
            end(process)
        check_consistent(folder / "one")
        assert image_rows(folder / "one") == image_files(folder / "one")
        assert states(folder / "one") == {"admitted": JOBS - 2, "rejected": 1, "dead": 1}
    assert places * stride > 200, "writes before which a server was killed"


def has_tables(folder: Path) -> bool:
    with sqlite3.connect(folder / "pool.db") as db:
        return db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] > 0


def states(folder: Path) -> Counter[str]:
    with sqlite3.connect(folder / "pool.db") as db:
        return Counter(state for (state,) in db.execute("SELECT state FROM jobs"))


def test_a_disk_that_is_full_when_an_image_is_written(tmp_path: Path) -> None:
    """The worker keeps its result until there is room: no job is lost or fails for it, and no part
    of an image stays."""
    script = str(Path(__file__).parents[1] / "support" / "fault_service.py")
    keep = f'cp -r "$0/runs" {tmp_path}-kept'
    done = run_on_a_small_disk(tmp_path, "8m", [sys.executable, script, str(tmp_path)], keep)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("[] data server") and line.endswith("run again (status 507)")
    assert "disk full while writing to pool" in line
    kept = Path(f"{tmp_path}-kept") / "one"
    check_consistent(kept)
    assert image_rows(kept) == image_files(kept)
    assert states(kept) == {"admitted": 15, "dead": 1}
