"""Who may see the dashboard: without the token nobody, also no websocket and no picture."""

from __future__ import annotations

from pathlib import Path

import dashboard_browser
import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

PATHS = ("/", "/run/first/overview", "/picture?run=first&sample=x", "/_nicegui_ws/socket.io/")


def test_without_the_token_nothing_is_served(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-secret\n")
    with dashboard_browser.dashboard(
        tmp_path, run_folder, "--token-file", tmp_path / "token"
    ) as address:
        base = address.partition("/?")[0]
        for path in PATHS:
            answer = httpx.get(base + path, trust_env=False)
            assert answer.status_code == 401 and "token is needed" in answer.text
            assert "first" not in answer.text
        wrong = httpx.get(f"{base}/?token=a-guess", trust_env=False)
        assert wrong.status_code == 401 and not wrong.cookies
        socket = f"{base.replace('http', 'ws')}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
        with pytest.raises(InvalidStatus, match="403"):
            connect(socket)

        with httpx.Client(trust_env=False) as visitor:
            welcome = visitor.get(address)
            assert welcome.status_code == 303 and welcome.headers["location"] == "/"
            assert "a-secret" not in str(visitor.cookies)  # a cookie does not tell the token
            assert visitor.get(f"{base}/").status_code == 200
        program = httpx.get(
            f"{base}/", headers={"Authorization": "Bearer a-secret"}, trust_env=False
        )
        assert program.status_code == 200


def test_other_sites_cannot_read_a_dashboard_of_this_host(served: str) -> None:
    ours = served.removeprefix("http://")
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        answer = httpx.get(f"{served}/", headers=headers, trust_env=False)
        assert answer.status_code == 403, headers
    own = httpx.get(f"{served}/", headers={"Origin": f"http://{ours}"}, trust_env=False)
    assert own.status_code == 200


def test_no_file_outside_of_the_folders_can_be_read(served: str, run_folder: Path) -> None:
    (run_folder.parent / "secret.txt").write_text("secret")
    for path in (
        "/run/..%2f..%2fsecret.txt/overview",
        "/picture?run=..&sample=../secret.txt",
        "/picture?run=first&sample=../../secret.txt",
        "/..%2fsecret.txt",
    ):
        answer = httpx.get(served + path, trust_env=False)
        assert "secret\n" not in answer.text and answer.text != "secret"


def test_a_new_token_is_part_of_the_address_that_other_hosts_can_reach(
    run_folder: Path, tmp_path: Path
) -> None:
    with dashboard_browser.dashboard(tmp_path, run_folder, "--host", "0.0.0.0") as address:
        assert "/?token=" in address
        assert httpx.get(address, trust_env=False).status_code == 303
