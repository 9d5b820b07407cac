"""What ``OpenAIServer`` makes of answers that neither vLLM nor SGLang gives: one line each, or
another attempt."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from syngrpo.rollout.openai_server import SGLANG, VLLM, OpenAIServer, completions
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress, Unavailable

OTHER_FORM = "answers a chat completion in another form than OpenAI's; check rollout.server"


def answer(ids: Any = (1, 2), logprobs: Any = (-1.0, -2.0), **more: Any) -> dict[str, Any]:
    content = [{"token": "word", "logprob": one} for one in logprobs]
    choice = {"index": 0, "token_ids": list(ids), "logprobs": {"content": content}}
    return {"choices": [choice], "prompt_token_ids": [1, 2]} | more


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, OTHER_FORM),
        ([], OTHER_FORM),
        ({"choices": [None]}, OTHER_FORM),
        (answer(ids=(1.5, 2)), OTHER_FORM),
        (answer(ids=("1", "2")), OTHER_FORM),
        (answer(ids=([1], [2])), OTHER_FORM),
        (answer(ids=(-5, 1)), OTHER_FORM),
        (answer(ids=(2**70, 1)), OTHER_FORM),
        (answer(logprobs=("x", 0)), OTHER_FORM),
        (answer(prompt_token_ids=7), OTHER_FORM),
        (answer(prompt_token_ids="tokens"), OTHER_FORM),
        (answer(usage=[1]), OTHER_FORM),
        (answer(ids=(), logprobs=()), "returns no log-probabilities"),
        (answer(ids=(1,)), "returns 2 log-probabilities for 1 tokens"),
        (answer(logprobs=(3.0, -1.0)), "returns the log-probability 3 for a token, and none is ab"),
        (answer(logprobs=(math.inf, -1.0)), "returns the log-probability inf for a token"),
        (answer() | {"choices": answer()["choices"] * 2}, "answers n: 1 with 2 responses; use a"),
    ],
)
def test_another_answer_is_one_line(body: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        completions(body, 1, "server http://host:1")
    assert "\n" not in str(raised.value)


def test_an_unknown_log_probability_is_nan() -> None:
    (response,) = completions(answer(logprobs=(None, -1.0)), 1, "server").responses
    assert math.isnan(response.logprobs[0]) and response.logprobs[1] == -1


class Answering(BaseHTTPRequestHandler):
    """Gives ``server.answer``, a status and a body, to every request."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body, headers = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def strange() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def calls(url: str, route: str) -> Iterator[tuple[str, Any]]:
    """Every kind of request, on a connection of its own."""
    for name, call in {
        "models": lambda one: one.model(None, "starter"),
        "route": lambda one: one.find_route(),
        "weights": lambda one: one.load_weights(Path("weights"), "v"),
        "version": lambda one: one.require_version("v", []),
        "complete": lambda one: one.complete({"n": 1, "max_tokens": 2}),
    }.items():
        server = OpenAIServer(ServerAddress(url))
        server.route, server._knows_version = route, True
        with closing(server):
            yield name, lambda call=call, server=server: call(server)


@pytest.mark.parametrize("route", [VLLM, SGLANG])
@pytest.mark.parametrize(
    "body", [b"<html>Maintenance</html>", b"\xff\xfe\0", b"[" * 50_000, b"[]", b"null", b'"x"']
)
def test_what_is_no_json_object_is_one_line(
    strange: ThreadingHTTPServer, body: bytes, route: str
) -> None:
    strange.answer = 200, body, {}  # type: ignore[attr-defined]
    for _, call in calls(f"http://127.0.0.1:{strange.server_port}", route):
        with pytest.raises(InputError, match=r"server http://127.0.0.1:\d+ ") as raised:
            call()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (429, b"<html>slow down</html>", {}),
        (500, b'{"error": {"message": "out of\\nmemory"}}', {}),
        (503, b"", {}),
        (200, b"no gzip", {"Content-Encoding": "gzip"}),
    ],
)
def test_what_may_pass_is_tried_again(
    strange: ThreadingHTTPServer, status: int, body: bytes, headers: dict[str, str]
) -> None:
    strange.answer = status, body, headers  # type: ignore[attr-defined]
    for name, call in calls(f"http://127.0.0.1:{strange.server_port}", VLLM):
        if (status, name) == (500, "weights"):  # a path that the server does not see
            with pytest.raises(InputError, match=r"cannot load the weights .*out of memory"):
                call()
            continue
        with pytest.raises(Unavailable) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_more_tokens_than_were_asked_for_are_one_line(strange: ThreadingHTTPServer) -> None:
    strange.answer = 200, json.dumps(answer((1, 2, 3), (-1, -1, -1))).encode(), {}  # type: ignore[attr-defined]
    server = OpenAIServer(ServerAddress(f"http://127.0.0.1:{strange.server_port}"))
    with (
        closing(server),
        pytest.raises(InputError, match="answers max_tokens: 2 with a response of 3 tokens; use"),
    ):
        server.complete({"n": 1, "max_tokens": 2})
