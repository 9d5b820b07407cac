"""Who may see the dashboard: without the token nobody, also no websocket and no picture."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import dashboard_browser
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from syngrpo.dashboard.access import Access

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


@pytest.mark.parametrize("value", ["[", "[::1", "[127.0.0.1]", "http://[", "http://[zz]", "a@b"])
def test_hosts_and_origins_that_are_no_addresses_are_refused(served: str, value: str) -> None:
    for header in ("Host", "Origin"):
        answer = httpx.get(f"{served}/", headers={header: value}, trust_env=False)
        assert answer.status_code == 403, (header, answer.text)


def test_dashboards_on_one_host_do_not_take_each_others_cookie() -> None:
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("in"))])
    ports = {8001: Access(app, "one"), 8002: Access(app, "two")}

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        await ports[scope["server"][1]](scope, receive, send)

    visitor = TestClient(host)  # sends the cookies of a host to all of its ports, as browsers do
    addresses = "http://testserver:8001/", "http://testserver:8002/"
    for address, token in zip(addresses, ("one", "two"), strict=True):
        assert visitor.get(f"{address}?token={token}").text == "in"
    assert [visitor.get(address).text for address in addresses] == ["in", "in"]


def test_the_token_leaves_the_address_of_a_visitor_who_is_known_already() -> None:
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse(str(request.url)))])
    visitor = TestClient(Access(app, "secret"))
    for _ in range(2):
        assert visitor.get("/?token=secret&step=3").text.endswith("/?step=3")


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


@pytest.mark.parametrize("left", [True, False])
def test_somebody_who_leaves_before_the_answer_is_no_error(left: bool) -> None:
    async def unanswered(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("No response returned.")  # as Starlette's middleware does

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect" if left else "http.request"}

    headers = [(b"host", b"127.0.0.1:8430")]
    scope = {"type": "http", "path": "/", "headers": headers, "query_string": b""}
    call = Access(unanswered, None)(scope, receive, unanswered)
    if left:
        asyncio.run(call)
    else:
        with pytest.raises(RuntimeError, match="No response"):
            asyncio.run(call)
