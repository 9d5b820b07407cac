"""A client that is called wrongly, or opened where it cannot be: one line, and nothing changes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rooms_client import INLINE, SEEDS, describing, opened

from syngrpo.data_server import server_sink
from syngrpo.data_server.client import (
    AsyncDataClient,
    DataClient,
    ServerOptions,
    SynthesisOptions,
    WrittenResponse,
    as_lists,
)
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import refusal
from syngrpo_rooms.dataset import rooms_samples

AWAY = {
    "synthesis": SynthesisOptions(generator="rooms"),
    "server": ServerOptions(url="http://127.0.0.1:9"),
}
MODES = pytest.mark.parametrize("mode", [{}, AWAY], ids=["inline", "async"])


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sink, "CLOSE_S", 0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups_per_step": 0}, "groups_per_step is 0; give a whole number of at least 1"),
        ({"groups_per_step": 2.5}, r"groups_per_step is 2\.5"),
        ({"updates_per_step": 0}, "updates_per_step is 0"),
        ({"seed": -1}, "seed is -1; give a whole number of at least 0"),
        ({"weights": {"streets": 1.0}}, "weights are given for streets, but the samples are of"),
        ({"weights": {"": float("nan")}}, "dataset '' has weight nan; it must be above 0"),
        ({"weights": {"": -1.0}}, r"dataset '' has weight -1\.0; it must be above 0"),
        ({"samples": iter(SEEDS)}, r"samples are a list_iterator, not a list; pass list\(samples"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    options = {"samples": SEEDS, "groups_per_step": 4, "synthesis": INLINE} | given
    with pytest.raises(InputError, match=message):
        DataClient.open(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@MODES
def test_wrong_calls_are_one_line_and_the_client_goes_on(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    (stranger,) = rooms_samples("test", 1)
    with opened(tmp_path / "run", **mode) as client:
        first, second = client.draw(2)
        for count in (-1, 2.5):
            with pytest.raises(InputError, match="number of samples to draw is"):
                client.draw(count)  # type: ignore[arg-type]
        for accuracies in ([None, 1.0], [[0, 1], [1, 0]], 1):
            with pytest.raises(InputError, match=f"{first.id}: accuracies .* are not numbers in"):
                client.observe(first, accuracies)  # type: ignore[arg-type]
        foreign = type(first)(stranger, 0, None, 0.0, stranger.id)
        with pytest.raises(InputError, match=f"has no sample {stranger.id}"):
            client.observe(foreign, [0.0, 1.0])
        client.observe(first, [0.0, 1.0])
        striped = describing(first, "a red wall")
        striped.scene_mask[::2] = False
        with pytest.raises(InputError, match="marked tokens are not one contiguous run"):
            client.submit(first, [striped])
        assert client.submit(first, [describing(first, "a red wall")]) == 1
        client.observe(second, [0.0, 1.0])
        client.outcomes()
        client.draw()
    for call in (client.draw, client.outcomes, client.stats):
        with pytest.raises(InputError, match="the client is closed; open another one to go on"):
            call()
    with Pool.open(tmp_path / "run").database.read() as rows:
        assert rows.execute("SELECT COUNT(*) FROM observations").fetchone() == (2,)


def test_arrays_that_do_not_fit_together_are_one_line() -> None:
    good = describing(None, "a red wall")
    size = len(good.token_ids)
    with pytest.raises(InputError, match=f"{size} tokens, 3 log-probabilities and a scene_mask of"):
        WrittenResponse(good.text, good.token_ids, good.logprobs[:3], good.scene_mask)
    with pytest.raises(InputError, match=f"a scene_mask of {size + 1}; give one"):
        WrittenResponse(good.text, good.token_ids, good.logprobs, np.ones(size + 1, bool))


@MODES
def test_text_that_is_no_unicode_is_stored(tmp_path: Path, mode: dict[str, Any]) -> None:
    for _ in range(2):  # the second client passes on what the first has left
        with opened(tmp_path, **mode) as client:
            for sample in client.draw():
                client.observe(sample, [0.0, 1.0])
                good = describing(sample, "a red wall")
                odd = WrittenResponse(
                    good.text.replace("<think>t", "<think>\ud800\0"),
                    *(good.token_ids, good.logprobs, good.scene_mask),
                )
                assert client.submit(sample, [odd]) == (not sample.synthetic)
            client.outcomes()
            client.draw()


def test_without_log_probabilities_a_description_is_painted_and_not_learned(tmp_path: Path) -> None:
    settled = []
    with opened(tmp_path) as client:
        for number in range(6):
            for place, sample in enumerate(client.draw()):
                client.observe(sample, [0.0, 1.0])
                one = describing(sample, "a red wall" if number % 2 else "a blue floor")
                if place % 2:
                    one.logprobs[-1] = np.nan
                client.submit(sample, [one])
            settled += client.outcomes()
        assert client.stats().pool.synthetic > 0
    assert settled and all(np.isfinite(one.logprobs).all() for one in settled)


@MODES
def test_a_second_trainer_changes_nothing(tmp_path: Path, mode: dict[str, Any]) -> None:
    with opened(tmp_path, **mode) as client:
        with pytest.raises(InputError, match=rf"in use by another trainer \(process {os.getpid()}"):
            DataClient.open(
                tmp_path, rooms_samples("test", 30), groups_per_step=4, synthesis=INLINE
            )
        assert client.pool_stats().seed == len(SEEDS)
    opened(tmp_path, **mode).close()


class Locked(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        status, message = refusal("correct", (self.headers["Authorization"] or "").encode()) or ()
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("token", "message"), [(None, "a token is needed; .*"), ("wrong", "the token is wrong ")]
)
def test_a_refused_token_says_which_key_to_set(
    tmp_path: Path, token: str | None, message: str
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Locked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if token is not None:
        (tmp_path / "token").write_text(token)
    address = ServerOptions(
        url=f"http://127.0.0.1:{server.server_port}",
        token_file=None if token is None else tmp_path / "token",
    )
    client = opened(tmp_path / "run", **AWAY | {"server": address})
    with pytest.raises(InputError, match=rf"{message}\(status 40[13]\); give server\.token_file"):
        while True:
            client.draw()
            client.outcomes()
    client.close()
    server.shutdown()
    server.server_close()


WAITING = b"\x40" + bytes(63)  # the head of a spill file
OF_NOBODY = {"sample_id": "r", "step": 1, "policy_version": 0, "diversity": 0.5, "accuracy": 0.5}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "spill.jsonl",
            WAITING + b'{"job": {"x": 1}}\n',
            "1 are no records of this version; to",
        ),
        (
            "outbox.jsonl",
            WAITING + b'{"job": {"x": 1}}\n',
            "1 are no records of this version; to",
        ),
        (
            "spill.jsonl",
            WAITING + json.dumps({"observation": OF_NOBODY}).encode() + b"\n",
            "1 are about samples that the pool has lost; to go on with the others, run: syngrpo p",
        ),
        ("namespace.json", b'{"namespace": "../other"}', "is damaged; set server.namespace"),
    ],
)
def test_a_directory_with_strange_files_is_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    opened(tmp_path, **AWAY).close()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        opened(tmp_path, **AWAY)


FORKED = """
import os, sys
from rooms_client import opened
from syngrpo.data_server.client import ServerOptions, SynthesisOptions
away = ServerOptions(url="http://127.0.0.1:9")
client = opened(sys.argv[1], synthesis=SynthesisOptions(generator="rooms"), server=away)
if os.fork() == 0:
    try:
        client.draw()
    except ValueError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
client.draw()
client.close()
"""


def test_a_forked_process_cannot_draw(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parents[1] / "support"), *sys.path])
    found = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "call it there, without worker processes of the data loader" in found.stdout


def state_of(folder: Path, mode: dict[str, Any]) -> dict[str, Any]:
    """The state of a client with descriptions that wait for their reward, from JSON."""
    with opened(folder, **mode) as client:
        for sample in client.draw():
            client.observe(sample, [0.0, 1.0])
            client.submit(sample, [describing(sample, "a red wall")])
        client.outcomes()
        return json.loads(json.dumps(as_lists(client.state_dict())))  # type: ignore[no-any-return]


@MODES
def test_a_state_that_is_none_is_one_line_and_changes_nothing(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    good = state_of(tmp_path, mode)
    ledger = good["ledger"]
    wrong: list[Any] = [
        *({}, None, [], {"steps": 1, "version": 1}, good | {"steps": "many"}),
        *(good | {"pool": {"draws": None, "cursor": 0}}, good | {"method": {"rec": 5}}),
        *(good | {"ledger": ledger | {"lengths": [1]}}, good | {"ledger": ledger | {"rows": [{}]}}),
    ]
    with opened(tmp_path, **mode) as client:
        for state in wrong:
            with pytest.raises(InputError, match="the state is not one that a client has") as told:
                client.load_state_dict(state)
            assert "\n" not in str(told.value)
            assert (client.steps, client.version, len(client.ledger)) == (0, 0, 0)
        client.load_state_dict(good)
        assert (client.steps, len(client.ledger)) == (1, 4)


def test_the_state_of_another_run_gives_up_its_descriptions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = state_of(tmp_path / "one", {})
    samples = rooms_samples("test", 8)
    with (
        DataClient.open(tmp_path / "two", samples, groups_per_step=4, synthesis=INLINE) as client,
        caplog.at_level(logging.WARNING),
    ):
        client.load_state_dict(state)
        assert len(client.ledger) == 0 and client.steps == 1
    assert "4 waiting descriptions of the checkpoint are given up" in caplog.text


def test_a_cancelled_call_ends_before_the_next_one(tmp_path: Path) -> None:
    async def steps(client: DataClient) -> list[str]:
        begun, go_on, order = threading.Event(), threading.Event(), []
        draw = client.draw

        def slow(*asked: Any) -> Any:
            begun.set()
            go_on.wait(20)
            order.append("draw")
            return draw(*asked)

        client.draw = slow  # type: ignore[method-assign]
        calls = AsyncDataClient(client)
        drawing = asyncio.create_task(calls.draw())
        await asyncio.to_thread(begun.wait, 20)
        drawing.cancel()
        told = asyncio.create_task(calls.stats())
        await asyncio.sleep(0.05)
        assert not told.done()
        go_on.set()
        await told
        await calls.close()
        return order

    assert asyncio.run(steps(opened(tmp_path))) == ["draw"]
