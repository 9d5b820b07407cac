"""A real server and clients that wait, stall or leave, and a client whose server freezes."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from pool_samples import seed
from service_process import serve, until
from starlette.types import ASGIApp, Receive, Scope, Send

from syngrpo.data_server import request_checks, server_sink
from syngrpo.data_server.sample_wire import parent_data
from syngrpo.data_server.serve_data import create_app
from syngrpo.data_server.server_runs import Runs
from syngrpo.data_server.server_sink import ServerSink
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.serving import http_server
from syngrpo.serving.http_client import ServerAddress
from syngrpo.serving.http_server import HttpServer
from syngrpo.serving.listening import GRACE_S, listen
from syngrpo_rooms.dataset import rooms_samples

WAITING = 50
HALF_A_BODY = b'POST /v1/lease HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"worker": '
UPLOAD = (
    b"POST /v1/runs/one/samples HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)


def test_all_who_wait_are_told_when_the_server_stops(tmp_path: Path) -> None:
    server = serve(tmp_path, "--workers", "0")
    with ExitStack() as stack:
        stack.callback(server.command.kill)

        def wait(number: int) -> httpx.Response:
            wanted = {"worker": f"w-{number}", "generator": "noop-1", "wait_s": 30}
            return httpx.post(f"{server.url}/v1/lease", json=wanted, timeout=60, trust_env=False)

        def all_wait() -> bool:
            metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
            return f"syngrpo_workers {WAITING}.0" in metrics

        threads = stack.enter_context(ThreadPoolExecutor(WAITING))
        answers = threads.map(wait, range(WAITING))
        until(all_wait, "the clients")
        assert server.stop() == 0
        told = {(one.status_code, one.text, one.headers.get("retry-after")) for one in answers}
        assert told == {(503, '{"error":"the server stops; send the request again"}', "5")}, (
            server.command.stderr
        )
    assert server.command.stderr == ""


def test_who_leaves_before_the_answers_to_many_requests_makes_no_noise(tmp_path: Path) -> None:
    server = serve(tmp_path, "--workers", "0")
    with ExitStack() as stack:
        stack.callback(server.command.kill)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", int(server.port)), 60) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert server.get("/healthz") == {"status": "ok"}
        assert server.stop() == 0
    assert server.command.stderr == ""


def test_who_sends_half_a_body_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    server = serve(tmp_path, "--workers", "0")
    with ExitStack() as stack:
        stack.callback(server.command.kill)
        connection = stack.enter_context(
            socket.create_connection(("127.0.0.1", int(server.port)), 60)
        )
        connection.sendall(HALF_A_BODY)
        server.get("/healthz")  # the half has arrived before this
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < GRACE_S, "the server waited for the rest"
        answer = connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"\nretry-after: 5\r\n" in answer
    assert server.command.stderr == ""


def test_a_sample_whose_check_does_not_end_does_not_keep_the_server_from_stopping(
    tmp_path: Path,
) -> None:
    server = serve(tmp_path, "--workers", "0", "--task", "failing_task:Endless")
    with ExitStack() as stack:
        stack.callback(server.command.kill)
        run = f"{server.url}/v1/runs/one"
        httpx.put(run, json={}, trust_env=False).raise_for_status()
        row = parent_data(rooms_samples("train", 1)[0]) | {"task": "endless"}

        connections = []
        for number in range(3):  # one more than the server has threads for them
            body = json.dumps({"samples": [row | {"id": f"s-{number}"}]}).encode()
            address = ("127.0.0.1", int(server.port))
            connections.append(stack.enter_context(socket.create_connection(address, 60)))
            connections[-1].sendall(UPLOAD % len(body) + body)
        server.get("/healthz")  # the uploads have arrived before this
        until((tmp_path / "begun").exists, "the check")
        assert server.stop() == 0
        assert [one.recv(1000)[:13] for one in connections] == [b"HTTP/1.1 503 "] * 3
    assert server.command.stderr == ""


def test_who_does_not_read_or_waits_too_long_is_cut_off_when_the_server_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http_server, "STALLED_S", 0.2)
    monkeypatch.setattr(http_server, "GRACE_S", 5)
    begun = threading.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise AssertionError("no lifespan")
        begun.release()
        if scope["path"] == "/wait":
            await receive()
            assert await receive() == {"type": "http.disconnect"}
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})

    with ExitStack() as stack, in_a_thread(app) as address:  # the clients stay
        for path in ("/large", "/wait"):
            client = stack.enter_context(socket.create_connection(address))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert begun.acquire(timeout=60)
    assert capsys.readouterr().err == ""


@contextmanager
def in_a_thread(app: ASGIApp) -> Iterator[tuple[str, int]]:
    listener = listen("127.0.0.1", 0)
    server = HttpServer(app, answer_s=60)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    "begun", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"]
)
def test_a_request_whose_headers_do_not_come_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(http_server, "HEADERS_S", 0.2)
    with (
        in_a_thread(create_app(Runs(tmp_path))) as address,
        socket.create_connection(address) as connection,
    ):
        connection.sendall(begun)
        connection.settimeout(60)
        with suppress(ConnectionResetError):
            assert connection.recv(1000) == b""


def test_a_body_that_does_not_come_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_checks, "PART_S", 0.2)
    with (
        in_a_thread(create_app(Runs(tmp_path))) as address,
        socket.create_connection(address) as connection,
    ):
        connection.sendall(HALF_A_BODY)
        connection.settimeout(60)
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_frozen_server_does_not_keep_a_run_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_sink, "CLOSE_S", 0.2)
    server = serve(tmp_path, "--workers", "0")
    with ExitStack() as stack:
        stack.callback(server.command.kill)
        run = tmp_path / "run"
        with closing(Pool.open(run)) as pool:
            pool.add_seeds([seed(0)])
        settings = SynthesisSettings(run, generator="noop")
        sink = ServerSink(ServerAddress(server.url), "one", settings, SamplingPolicy())
        sink.send([], [JobRequest("seed-0", "wall", 0, "noop-1")])
        until(lambda: server.jobs("one") == {"queued": 1}, "the job")
        os.kill(server.command.pid, signal.SIGSTOP)
        sink.send([], [JobRequest("seed-0", "wall", 1, "noop-1")])
        sink.close()
        assert "has not answered for 0.2 s; the run ends without it" in caplog.text
        assert "are still in outbox.jsonl; the resumed run sends them" in caplog.text
        os.kill(server.command.pid, signal.SIGCONT)
        again = ServerSink(ServerAddress(server.url), "one", settings, SamplingPolicy())
        until(lambda: server.jobs("one") == {"queued": 2}, "the other job")
        monkeypatch.setattr(server_sink, "CLOSE_S", 60)
        again.close()
