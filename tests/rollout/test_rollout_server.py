"""Responses of a rollout server equal the native ones, also after restarts and cut off streams.

The server's engine is the native rollout here; ``make test-vllm`` does the same with vLLM.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from rollout_server import OneStepEngine, Server, outline, rollout_server
from service_process import until
from tiny_families import save_tiny
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout import RolloutOptions, make_rollout, remote_engine, server_engine
from syngrpo.rollout.base import Response, to_responses
from syngrpo.rollout.native import rollout
from syngrpo.rollout.server import engine_loop
from syngrpo.rollout.server_engine import ServerEngine
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.serving import http_client
from syngrpo.serving.listening import listen
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

GREEDY = Sampling(0, max_new_tokens=12)
SAMPLED = Sampling(0.8, 0.9, max_new_tokens=12)
SEEDS = [5, 2**61]

WITHOUT_VLLM = pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")

Connect = Callable[..., ServerEngine]


@pytest.fixture
def policy() -> Policy:
    return load_policy(STARTER_DIR)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    policy = load_policy(STARTER_DIR)
    samples = rooms_samples("test", 2)
    return [encode(policy, s, get_task(s.task).prompt(s, "brief")) for s in samples]


@pytest.fixture
def server() -> Iterator[Server]:
    with rollout_server() as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make a ``ServerEngine``; closed after the test."""
    with ExitStack() as stack:

        def connected(policy: Policy, url: str, **more: Any) -> ServerEngine:
            engine = ServerEngine(policy, RolloutOptions(server=url, **more))
            return stack.enter_context(closing(engine))

        yield connected


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(remote_engine, "LONGEST_PAUSE_S", 0.05)


def changed(policy: Policy, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * parameter.std(correction=0) * noise)


def assert_same(theirs: list[list[Response]], ours: list[list[Response]]) -> None:
    assert [len(group) for group in theirs] == [len(group) for group in ours]
    for a, b in zip(chain(*theirs), chain(*ours), strict=True):
        assert (a.text, a.finished) == (b.text, b.finished)
        assert torch.equal(a.token_ids, b.token_ids)
        torch.testing.assert_close(a.logprobs, b.logprobs, atol=1e-4, rtol=0)
        torch.testing.assert_close(a.entropy, b.entropy, atol=1e-4, rtol=0)


def ids(groups: list[list[Response]]) -> list[list[int]]:
    return [response.token_ids.tolist() for group in groups for response in group]


def test_responses_are_sampled_with_the_present_weights(
    server: Server, policy: Policy, prompts: list[Prompt]
) -> None:
    remotely = make_rollout(RolloutOptions(server=server.url), policy)
    assert isinstance(remotely, ServerEngine)
    seen = []
    for seed in range(3):
        for sampling in (GREEDY, SAMPLED):
            theirs = remotely(policy, prompts, 3, sampling, SEEDS)
            assert_same(theirs, rollout(policy, prompts, 3, sampling, SEEDS))
            seen.append(ids(theirs))
        changed(policy, seed)
    assert len({str(one) for one in seen}) == len(seen)
    assert server.request("GET", "/v1/state").json()["version"].endswith("-6")
    remotely.close()


def test_adapters_arrive_merged(server: Server, prompts: list[Prompt], connect: Connect) -> None:
    policy = load_policy(STARTER_DIR, lora=LoraOptions(4, 8))
    for parameter in policy.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    theirs = connect(policy, server.url)(policy, prompts, 2, GREEDY, SEEDS)
    ours = rollout(policy, prompts, 2, GREEDY, SEEDS)
    assert (
        ids(theirs)
        == ids(ours)
        != ids(rollout(load_policy(STARTER_DIR), prompts, 2, GREEDY, SEEDS))
    )


def test_a_process_without_prompts_sends_its_weights(
    server: Server, policy: Policy, connect: Connect
) -> None:
    assert connect(policy, server.url)(policy, [], 2, GREEDY, []) == []
    assert server.engine.told == ["weights"]


def test_banned_tokens_and_stop_tokens_are_those_of_the_policy(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, server.url)
    usual = ids(rollout(policy, prompts, 1, GREEDY, SEEDS))
    policy.stop_ids = (usual[0][3],)
    ended = remotely(policy, prompts, 1, GREEDY, SEEDS)
    assert_same(ended, rollout(policy, prompts, 1, GREEDY, SEEDS))
    assert len(ids(ended)[0]) <= 4 and ended[0][0].finished
    policy.banned = torch.cat([policy.banned, torch.tensor(usual[0][:1])])
    others = remotely(policy, prompts, 1, GREEDY, SEEDS)
    assert_same(others, rollout(policy, prompts, 1, GREEDY, SEEDS))
    assert ids(others)[0][0] != usual[0][0]


def test_processes_share_the_weights_that_the_first_sends(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    """The second process asks first, waits for the weights, and both are sampled together."""
    first, second = (connect(policy, server.url) for _ in range(2))
    second._run, second._sends = first._run, False
    first(policy, [], 2, SAMPLED, [])
    second(policy, [], 2, SAMPLED, [])
    for seed in range(2):
        changed(policy, seed)
        with ThreadPoolExecutor() as threads:
            theirs = threads.submit(second, policy, prompts[1:], 2, SAMPLED, SEEDS[1:])
            until(lambda: server.loop._waiting, "the second")
            ours = first(policy, prompts[:1], 2, SAMPLED, SEEDS[:1])
            assert_same([*ours, *theirs.result()], rollout(policy, prompts, 2, SAMPLED, SEEDS))
    assert server.engine.told.count("weights") == 3


def test_requests_of_other_temperature_are_not_mixed(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    first, second, third = (connect(policy, server.url) for _ in range(3))
    for other in (second, third):
        other._run, other._sends = first._run, False
    warm = Sampling(1.3, max_new_tokens=12)
    server.engine.goes_on.clear()
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(first, policy, prompts, 2, SAMPLED, SEEDS)]
        until(lambda: len(server.loop._running) == 2, "the first")
        asked.append(threads.submit(second, policy, prompts, 2, warm, SEEDS))
        until(lambda: len(server.loop._waiting) == 1, "the second")
        asked.append(threads.submit(third, policy, prompts, 2, SAMPLED, SEEDS))
        until(lambda: len(server.loop._running) == 4, "the third")
        server.engine.goes_on.set()
        for sampling, future in zip((SAMPLED, warm, SAMPLED), asked, strict=True):
            assert_same(future.result(), rollout(policy, prompts, 2, sampling, SEEDS))
    assert server.engine.told.count("begin 0.8") == server.engine.told.count("begin 1.3") == 1


def test_a_restarted_server_gets_the_weights_again(
    policy: Policy, prompts: list[Prompt], caplog: pytest.LogCaptureFixture, connect: Connect
) -> None:
    caplog.set_level(logging.WARNING, "syngrpo")
    with rollout_server() as server:
        remotely = connect(policy, server.url)
        before = remotely(policy, prompts, 2, SAMPLED, SEEDS)
        server.engine.goes_on.clear()  # it will stop in the middle of a rollout
        threads = ThreadPoolExecutor()
        coming = threads.submit(remotely, policy, prompts, 2, SAMPLED, SEEDS)
        until(lambda: server.loop._running, "the rollout")
    with rollout_server(server.port) as server:
        assert_same(coming.result(), before)
        assert server.engine.told[0] == "weights"
    threads.shutdown()
    lines = [record.getMessage() for record in caplog.records]
    assert any("trying again for 600 s" in line for line in lines)
    assert any(f"rollout server {server.url} answers again" in line for line in lines)


def test_any_process_sends_the_weights_to_a_restarted_server(
    policy: Policy, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    """The server restarts after the first process, which sent the weights, has its responses."""
    monkeypatch.setattr(engine_loop, "WEIGHTS_S", 0.1)
    with rollout_server() as server:
        first, second = (connect(policy, server.url) for _ in range(2))
        second._run, second._sends = first._run, False
        first(policy, prompts, 2, SAMPLED, SEEDS)
    with rollout_server(server.port):
        theirs = second(policy, prompts, 2, SAMPLED, SEEDS)
    assert_same(theirs, rollout(policy, prompts, 2, SAMPLED, SEEDS))


def test_any_process_sends_the_weights_of_a_batch_that_was_begun(
    server: Server,
    policy: Policy,
    prompts: list[Prompt],
    monkeypatch: pytest.MonkeyPatch,
    connect: Connect,
) -> None:
    """The first process sends the weights of the next batch before the second asks."""
    monkeypatch.setattr(engine_loop, "WEIGHTS_S", 0.1)
    first, second = (connect(policy, server.url, server_patience_s=5.0) for _ in range(2))
    second._run, second._sends = first._run, False
    newer = load_policy(STARTER_DIR)
    changed(newer, 1)
    for version in (policy, newer):
        first.start(version, [], 2, SAMPLED, [])()
    for version in (policy, newer):
        theirs = second.start(version, prompts, 2, SAMPLED, SEEDS)()
        assert_same(theirs, rollout(version, prompts, 2, SAMPLED, SEEDS))


class CancelledAfterTheCheck(Future[Any]):
    """Is cancelled by another thread right after it was asked whether it is."""

    def cancelled(self) -> bool:
        known = super().cancelled()
        self.cancel()
        return known


def test_a_request_that_is_cancelled_while_it_is_refused_does_not_end_the_server(
    policy: Policy, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_loop, "WEIGHTS_S", -1.0)
    request = server_engine.Request(
        "x-1", prompts, 2, GREEDY, SEEDS, policy.banned, policy.stop_ids
    )
    loop, passes = engine_loop.EngineLoop(OneStepEngine()), iter([True, False])
    loop.put(engine_loop.PendingRollout(request, outline(), CancelledAfterTheCheck()))
    loop.run(lambda: next(passes))


def test_a_server_that_does_not_come_back_is_an_error_of_one_line(
    policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    with rollout_server() as server:
        remotely = connect(policy, server.url, server_patience_s=0.2)
    with pytest.raises(InputError) as stopped:
        remotely(policy, prompts, 2, SAMPLED, SEEDS)
    assert "does not answer" in str(stopped.value) and "syngrpo rollout-server" in str(
        stopped.value
    )
    assert "\n" not in str(stopped.value)
    with pytest.raises(InputError, match="does not answer"):
        connect(policy, server.url, server_patience_s=0)


def test_requests_need_the_token(
    policy: Policy, prompts: list[Prompt], connect: Connect, tmp_path: Path
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct-horse\n")
    wrong.write_text("battery\n")
    with rollout_server(token="correct-horse") as server:
        for token, message in ((None, "a token is needed"), (wrong, "the token is wrong")):
            with pytest.raises(InputError, match=f"rollout server {server.url}: {message}"):
                connect(policy, server.url, server_token_file=token)
        for method, path in (("PUT", "/v1/weights/a-1"), ("POST", "/v1/rollouts"), ("GET", "/x")):
            assert server.request(method, path, content=b"x").status_code == 401
        assert server.request("GET", "/healthz").json() == {"status": "ok"}
        known = connect(policy, server.url, server_token_file=right)
        assert len(known(policy, prompts, 2, GREEDY, SEEDS)) == 2


def test_another_model_or_type_is_an_error(
    server: Server, policy: Policy, prompts: list[Prompt], tmp_path: Path, connect: Connect
) -> None:
    other = load_policy(save_tiny(tmp_path, "qwen2_5_vl"))
    with pytest.raises(InputError, match="run server and trainer with the same model"):
        connect(other, server.url)(other, [], 2, GREEDY, [])
    assert server.loop.version is None
    half = load_policy(STARTER_DIR, "bfloat16")
    with pytest.raises(InputError, match="start it with --dtype bfloat16"):
        connect(half, server.url)
    remotely = connect(policy, server.url)
    with pytest.raises(InputError, match="--max-length 512; set it to"):
        remotely(policy, prompts, 2, Sampling(max_new_tokens=450), SEEDS)
    with pytest.raises(ValueError, match="as many seeds"):
        remotely(policy, prompts, 2, GREEDY, SEEDS[:1])
    assert_same(
        remotely(policy, prompts, 2, GREEDY, SEEDS), rollout(policy, prompts, 2, GREEDY, SEEDS)
    )


def test_weights_that_arrive_in_part_or_damaged_are_not_used(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, server.url)
    expected = remotely(policy, prompts, 2, GREEDY, SEEDS)
    whole = b"".join(server_engine.frame(server_engine._pieces(policy)))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"PUT /v1/weights/x-1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(whole)}\r\n\r\n"
        connection.sendall(head.encode() + whole[: len(whole) // 2])
        until(lambda: server.loop.version is None, "the first of the weights")
    spoiled = bytearray(whole)
    spoiled[len(whole) // 2] ^= 255
    for data, status in (
        (bytes(spoiled), 400),
        (whole[:-30], 400),
        (whole + b"x", 422),
        (b"\xff" * 50, 422),
        (b"".join(server_engine.frame([b"no tensors"])), 422),
        (b"".join(server_engine.frame([])), 422),
        (b"", 400),
    ):
        answer = server.request("PUT", "/v1/weights/x-1", content=data, timeout=60)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"] and server.loop.version is None
    assert_same(remotely(policy, prompts, 2, GREEDY, SEEDS), expected)


def test_bad_requests_get_a_status_of_400_and_one_line(
    server: Server, policy: Policy, connect: Connect
) -> None:
    connect(policy, server.url)(policy, [], 2, GREEDY, [])
    requests: list[tuple[str, str, bytes, int]] = [
        ("POST", "/v1/rollouts", b"", 422),
        ("POST", "/v1/rollouts", b"\x10\0\0\0\0\0\0\0nonsense", 422),
        ("PUT", "/v1/weights/UPPER", b"", 422),
        ("PUT", "/v1/weights/" + "a" * 65, b"", 422),
        ("GET", "/v1/rollouts", b"", 405),
        ("POST", "/v1/state", b"", 405),
        ("GET", "/nothing", b"", 404),
    ]
    for method, path, body, status in requests:
        answer = server.request(method, path, content=body)
        assert answer.status_code == status, (method, path, answer.text)
        assert "\n" not in answer.json()["error"]
    assert server.loop.version is not None


def test_the_prompts_of_a_disconnected_client_are_dropped(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, server.url)
    remotely(policy, [], 2, GREEDY, [])
    server.engine.goes_on.clear()
    request = server_engine.pack_request(
        server_engine.Request(
            str(server.loop.version), prompts, 2, GREEDY, SEEDS, policy.banned, (1,)
        )
    )
    with pytest.raises(httpx.ReadTimeout):
        server.request("POST", "/v1/rollouts", content=request, timeout=0.3)
    until(lambda: server.engine.told.count("drop") == 2, "its prompts to be dropped")
    server.engine.goes_on.set()
    assert len(remotely(policy, prompts, 2, GREEDY, SEEDS)) == 2


def test_new_weights_wait_for_unfinished_responses(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    """Two runs that share a server each get responses of their own weights."""
    mine, theirs = (connect(policy, server.url) for _ in range(2))
    other = load_policy(STARTER_DIR)
    changed(other, 1)
    server.engine.goes_on.clear()
    with ThreadPoolExecutor() as threads:
        first = threads.submit(mine, policy, prompts, 2, SAMPLED, SEEDS)
        until(lambda: server.loop._running, "the first")
        second = threads.submit(theirs, other, prompts, 2, SAMPLED, SEEDS)
        until(lambda: server.loop._waiting, "the second's weights")
        server.engine.goes_on.set()
        assert_same(first.result(), rollout(policy, prompts, 2, SAMPLED, SEEDS))
        assert_same(second.result(), rollout(other, prompts, 2, SAMPLED, SEEDS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "give a --token-file, or stay on 127.0.0.1"),
        (["--token-file", "nowhere"], "token file nowhere cannot be read"),
        pytest.param([], "vLLM is not installed; run: pip install", marks=WITHOUT_VLLM),
    ],
)
def test_wrong_options_of_the_command_are_errors(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["rollout-server", "--model", "starter", *options])
    assert isinstance(result.exception, InputError) and message in str(result.exception)


def test_the_help_of_the_command_shows_how_to_use_it() -> None:
    said = CliRunner().invoke(app, ["rollout-server", "--help"]).output
    assert "rollout.server=http://127.0.0.1:8421" in said and "--max-length" in said


def test_a_port_in_use_is_an_error(server: Server) -> None:
    with pytest.raises(InputError, match=rf"cannot listen on 127.0.0.1:{server.port}"):
        listen("127.0.0.1", server.port)


def test_a_rollout_that_was_started_is_of_the_weights_of_then(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely, wanted, waiting = connect(policy, server.url), [], []
    server.engine.goes_on.clear()
    for seed in range(3):
        wanted.append(rollout(policy, prompts, 3, SAMPLED, SEEDS))
        waiting.append(remotely.start(policy, prompts, 3, SAMPLED, SEEDS))
        changed(policy, seed)
    server.engine.goes_on.set()
    for started, ours in zip(waiting, wanted, strict=True):
        assert_same(started(), ours)
    assert len({str(ids(one)) for one in wanted}) == 3


def test_closing_does_not_wait_for_a_server_that_samples(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    """A run that is interrupted ends at once, also where its last answer would take an hour."""
    remotely = connect(policy, server.url)
    server.engine.goes_on.clear()
    waiting = [remotely.start(policy, prompts, 2, SAMPLED, SEEDS) for _ in range(2)]
    until(lambda: "add" in server.engine.told, "the request")
    closing = threading.Thread(target=remotely.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    threads = [one for one in threading.enumerate() if one.name == "rollouts"]
    assert threads and all(one.daemon for one in threads)  # the end of the process waits for others
    server.engine.goes_on.set()
    for started in waiting:
        with pytest.raises(RuntimeError, match="closed"):  # they are given up
            started()


def test_a_restarted_server_gets_the_weights_of_then_again(
    policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    wanted = rollout(policy, prompts, 2, SAMPLED, SEEDS)
    with rollout_server() as first:
        remotely = connect(policy, first.url)
        first.engine.goes_on.clear()
        waiting = remotely.start(policy, prompts, 2, SAMPLED, SEEDS)
        until(lambda: "add" in first.engine.told, "the request")
        changed(policy, 0)
    with rollout_server(first.port):
        assert_same(waiting(), wanted)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_the_server_itself_ends_responses_that_describe_nothing(
    server: Server, policy: Policy, prompts: list[Prompt], connect: Connect, temperature: float
) -> None:
    """They are what the trainer makes of whole responses by cutting them."""
    whole, size = Sampling(temperature, max_new_tokens=64), 4
    ending = replace(whole, stop_at="</answer>")
    asked = [replace(prompt, going_on=n) for n, prompt in enumerate(prompts)]
    groups = rollout(policy, prompts, size, whole, SEEDS)
    cut = [to_responses(policy, *pair, size, ending) for pair in zip(asked, groups, strict=True)]
    theirs = connect(policy, server.url)(policy, asked, size, ending, SEEDS)
    assert_same(theirs, cut)
    assert [r.text.count("</scene>") for group in theirs for r in group] == [0] * 4 + [1, 0, 0, 0]
    lengths = [len(r.token_ids) for group in theirs for r in group]
    if temperature:
        assert server.engine.sampled == sum(lengths)
    else:  # one response a group, which is repeated
        assert server.engine.sampled == lengths[0] + lengths[size]
    assert sum(lengths) < sum(len(r.token_ids) for group in groups for r in group)


def test_only_an_engine_with_weights_of_its_own_samples_ahead(policy: Policy) -> None:
    with pytest.raises(
        InputError, match=r"engine native samples with the weights .*async_steps 1 cannot"
    ):
        make_rollout(RolloutOptions(async_steps=1), policy)
