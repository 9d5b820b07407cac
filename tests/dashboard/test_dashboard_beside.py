"""The dashboard beside a training run and as a part of the data server."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import dashboard_browser
import httpx
import pytest
import quick_runs
import warm_processes
from made_up_run import write_run
from service_process import serve, until


def address_in(command: warm_processes.Command) -> str:
    """The address that a training command prints; it may not end before."""

    def lines() -> list[str]:
        assert command.process.is_alive(), command.stderr
        return [line for line in command.output.read_text().splitlines() if "dashboard of" in line]

    until(lambda: command.output.exists() and lines(), "the address")
    return lines()[0].split()[-1].rstrip("/")


def answers(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_a_run_shows_itself_and_its_dashboard_ends_with_it(tmp_path: Path) -> None:
    arguments = quick_runs.train_arguments(tmp_path / "run", "--dashboard", trainer__steps=1000)
    command = warm_processes.start(tmp_path, *arguments)
    try:
        address = address_in(command)
        assert "step" in httpx.get(f"{address}/run/run/overview", trust_env=False).text
    finally:
        command.kill()
    until(lambda: not answers(address), "the end of the dashboard of a killed run")


def test_the_data_server_shows_its_runs_below_dashboard(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "painted", 20, 20)
    for name in ("config.yaml", "metrics.jsonl", "evaluation.jsonl"):
        (tmp_path / "runs" / "painted" / name).unlink()  # a server's folder has the pool alone
    (tmp_path / "token").write_text("a-secret\n")
    server = serve(
        tmp_path, "--workers", "0", "--dashboard", "--token-file", str(tmp_path / "token")
    )
    try:
        url = f"{server.url}/dashboard"
        assert f"dashboard on {url}/\n" in server.command.output.read_text()
        assert httpx.get(f"{url}/", trust_env=False).status_code == 401
        with httpx.Client(trust_env=False) as visitor:
            welcome = visitor.get(f"{url}/?token=a-secret")
            assert welcome.status_code == 303 and welcome.headers["location"] == "/dashboard/"
            assert "painted" in visitor.get(f"{url}/run/painted/overview").text
            # What opens the dashboard does not open the API.
            assert visitor.get(f"{server.url}/v1/runs").status_code == 401
        bearer = {"Authorization": "Bearer a-secret"}
        assert httpx.get(f"{server.url}/v1/runs", headers=bearer, trust_env=False).is_success
    finally:
        assert server.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in server.command.stderr


@dashboard_browser.needs_browser
def test_links_of_the_data_servers_dashboard_lead_there(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = write_run(tmp_path / "runs" / "painted", 20, 20)
    for name in ("config.yaml", "metrics.jsonl", "evaluation.jsonl"):
        (run / name).unlink()
    (run / "run.json").write_text('{"identity": "x", "options": {}}')
    server = serve(tmp_path, "--workers", "0", "--dashboard")
    try:
        base = f"{server.url}/dashboard"
        page = open_page(f"{base}/")
        page.get_by_text("painted", exact=True).click()
        page.wait_for_url(f"{base}/run/painted/data-server")
        page.get_by_text("pool of a data server").wait_for()
        shown = ["Evolution", "Gate", "Data server", "Data"]
        assert page.locator("header nav a").all_inner_texts() == shown
        assert page.locator(".problem:visible").count() == 0
        page.get_by_role("link", name="Evolution", exact=True).click()
        page.locator(".tree .member").nth(1).click()
        page.wait_for_url(f"{base}/run/painted/evolution?sample=**")
        loaded = "image => image.href.baseVal.startsWith('/dashboard/picture?')"
        assert page.locator(".relative image").first.evaluate(loaded)
        page.get_by_role("link", name="Syn-GRPO", exact=True).click()
        page.wait_for_url(f"{base}/")
        page.goto(f"{base}/run/painted/overview")
        page.get_by_text("This is the pool of a run on this data server.").wait_for()
    finally:
        server.stop()


def test_a_copy_of_a_pool_is_removed_when_the_dashboard_ends(tmp_path: Path) -> None:
    run, temporary = write_run(tmp_path / "old", 20, 20), tmp_path / "temporary"
    temporary.mkdir()
    with closing(sqlite3.connect(run / "pool.db")) as database:
        database.executescript(
            "ALTER TABLE jobs DROP COLUMN reward; ALTER TABLE jobs DROP COLUMN settled;"
            "PRAGMA user_version = 4;"  # a pool of an earlier version is read from a copy
        )
    command = warm_processes.start(tmp_path, "dashboard", run, "--port", "0", TMPDIR=str(temporary))
    address = address_in(command)
    httpx.get(f"{address}/picture?run=old&sample=x", trust_env=False)
    assert list(temporary.glob("syngrpo-pool-*"))
    os.kill(command.pid, signal.SIGTERM)
    assert command.wait() in (0, -signal.SIGTERM)
    assert not list(temporary.glob("syngrpo-pool-*"))


@dashboard_browser.needs_browser
@pytest.mark.slow
def test_an_open_page_keeps_its_connection(served: str, open_page: Callable[..., Any]) -> None:
    """The server closes connections that send nothing for ten seconds; a page's websocket stays."""
    closed = []
    page = open_page(f"{served}/")
    page.on("websocket", lambda socket: socket.on("close", lambda _: closed.append(socket.url)))
    page.reload()
    page.get_by_text("first", exact=True).wait_for()
    page.wait_for_timeout(14_000)
    assert not closed


def test_a_connection_that_sends_nothing_is_closed(served: str) -> None:
    host, _, port = served.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as half_open:
        half_open.settimeout(30)
        begun = time.monotonic()
        assert half_open.recv(1) == b""
        assert time.monotonic() - begun > 5
