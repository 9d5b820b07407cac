"""Requests to a server: their errors, and repeating them until it answers."""

import logging
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from syngrpo.sample import InputError
from syngrpo.serving.http_client import (
    HttpClient,
    ServerAddress,
    Stopped,
    Unavailable,
    call_until_available,
    check_url,
)


class Taken(Exception):  # noqa: N818
    """What the client below raises for status 409."""


def client(answer: Callable[[httpx.Request], httpx.Response]) -> HttpClient:
    made = HttpClient(
        ServerAddress("http://server:1/", "secret"),
        "test server",
        key="server.url",
        check="the port",
        answer_s=1.0,
        later=(503,),
        refusals={409: Taken},
    )
    made._client = httpx.Client(
        base_url="http://server:1",
        headers=made._client.headers,
        transport=httpx.MockTransport(answer),
    )
    return made


def test_a_request_carries_the_token_and_its_options() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret"
        return httpx.Response(
            200, json=[request.method, str(request.url), request.content.decode()]
        )

    made = client(answer)
    found = made.request("PUT", "/v1/thing", params={"a": 1}, content=b"x").json()
    assert found == ["PUT", "http://server:1/v1/thing?a=1", "x"]
    assert made.url == "http://server:1"
    assert "secret" not in repr(ServerAddress("http://server:1", "secret"))
    made.close()


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (503, {"error": "busy"}, Unavailable, "test server http://server:1: busy (status 503)"),
        (409, {"error": "no"}, Taken, "test server http://server:1: no (status 409)"),
        (400, {"error": "bad"}, InputError, "test server http://server:1: bad (status 400)"),
        (404, {"detail": "?"}, InputError, "an answer that is not a test server's; check the port"),
    ],
)
def test_what_a_status_raises(
    status: int, body: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        client(lambda request: httpx.Response(status, json=body)).request("GET", "/")
    assert type(caught.value) is error and message in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection\nrefused")

    with pytest.raises(Unavailable, match=r"does not answer \(Connection refused\)"):
        client(answer).request("GET", "/")


def test_an_url_of_a_server() -> None:
    for right in ("http://a:1", "https://a.b", "http://[::1]:8420/"):
        check_url(right)
    for wrong in ("a:1", "ftp://a:1", "http://", "http://a b", "http://a:1/path"):
        with pytest.raises(ValueError, match="write it as http://host:port"):
            check_url(wrong)


def test_an_address_that_is_no_url_names_its_option() -> None:
    with pytest.raises(InputError, match=r"server\.url http://a:b: .*; write http://host:port"):
        HttpClient(
            ServerAddress("http://a:b"),
            "test server",
            key="server.url",
            check="",
            answer_s=1,
            later=(),
            refusals={},
        )


class Failing:
    """Raises Unavailable so many times, then returns 7."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> int:
        if self.left:
            self.left -= 1
            raise Unavailable("the server is away")
        return 7


def test_a_call_is_repeated_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert call_until_available(Failing(0), "the server", "waiting") == 7
    assert caplog.messages == []
    began = time.monotonic()
    assert call_until_available(Failing(3), "the server", "waiting", longest_pause_s=0.3) == 7
    assert 0.25 + 0.3 + 0.3 < time.monotonic() - began < 5
    assert caplog.messages == ["the server is away; waiting", "the server answers again"]


def test_patience_begins_with_the_first_failure() -> None:
    def slow() -> None:
        time.sleep(0.4)
        raise Unavailable("the server is away")

    began = time.monotonic()
    with pytest.raises(Unavailable, match="is away"):
        call_until_available(slow, "the server", "waiting", patience_s=0.3)
    assert 0.7 < time.monotonic() - began < 5


def test_another_error_is_not_repeated() -> None:
    def wrong() -> None:
        raise InputError("wrong")

    with pytest.raises(InputError, match="wrong"):
        call_until_available(wrong, "the server", "waiting")


def test_a_pause_ends_when_the_caller_stops() -> None:
    stopping = threading.Event()
    threading.Timer(0.3, stopping.set).start()
    with pytest.raises(Stopped):
        call_until_available(Failing(1000), "the server", "waiting", stopping=stopping)
