"""The public client does what the project's own trainer does, call by call."""

import asyncio
import json
import math
import re
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from rooms_client import SEEDS, describing, opened
from service_process import ServerProcess, serve, until
from watched_trainer import Step, watched_trainer

from syngrpo.data_server import painting_warnings
from syngrpo.data_server.client import (
    AsyncDataClient,
    DataClient,
    WrittenResponse,
    as_lists,
    shared_draw,
)
from syngrpo.data_server.remote_jobs import RemoteJobs
from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisOptions
from syngrpo.method.base import MethodOptions
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress
from syngrpo.serving.listening import listen

DIVERSITY = (
    *("response", "response_seed", "response_synthetic", "baseline", "reward"),
    *("zero_variance_groups", "zero_variance_groups_seed", "zero_variance_groups_synthetic"),
)
"""Metrics that the client has as the project's trainer has them."""


def replayed(client: DataClient, step: Step, tokenizer: object) -> list[tuple[str, float]]:
    """Do with the client what the trainer has done in a step; return jobs and rewards."""
    drawn = client.draw()
    assert [one.id for one in drawn] == [group.drawn.sample.id for group in step.scored]
    for sample, group in zip(drawn, step.scored, strict=True):
        assert client.observe(sample, group.accuracies).diversity == group.diversity
    for sample, group in zip(drawn, step.scored, strict=True):
        written = [
            WrittenResponse.of(tokenizer, one.token_ids.tolist(), one.logprobs.tolist())
            for one in group.responses
        ]
        client.submit(sample, written)
    return [(one.pending.job_id, one.reward) for one in client.outcomes()]


@pytest.mark.parametrize("credit", ["baseline", "siblings"])
def test_the_client_gives_what_our_trainer_gets(tmp_path: Path, credit: str) -> None:
    own, settled = tmp_path / "client", 0
    with watched_trainer(tmp_path / "trainer", method__credit=credit) as trainer:
        options = trainer.options
        client = opened(own, method=options.method, pool=options.pool)
        for number in range(4):
            step = trainer.watched_step()
            rewards = replayed(client, step, trainer.policy.tokenizer)
            assert rewards == [(one.pending.job_id, one.reward) for one in step.settled]
            for ours, theirs in zip(step.settled, trainer.seen[1], strict=True):
                assert (ours.advantages == theirs.advantages).all()
            settled += len(rewards)
            metrics = client.stats().metrics()
            for name in ("submitted", "dropped", "settled", "stale", "admitted", "rejected"):
                assert metrics[f"synthesis/{name}"] == step.record[f"synthesis/{name}"]
            for name in DIVERSITY:
                wanted = step.record[f"diversity/{name}"]
                assert (wanted is None) == (f"diversity/{name}" not in metrics)
                assert wanted is None or abs(metrics[f"diversity/{name}"] - wanted) < 1e-9
            if number == 1:  # resumed in the middle, from JSON
                state = json.loads(json.dumps(as_lists(client.state_dict())))
                client.close()
                client = opened(own, method=options.method, pool=options.pool)
                client.load_state_dict(state)
        client.close()
    assert settled > 0


def test_a_sample_says_all_that_a_trainer_needs(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        (sample,) = client.draw(1)
    seed = next(one for one in SEEDS if one.id == sample.id)
    assert (sample.question, sample.answer, sample.task) == (seed.question, seed.answer, "rec")
    assert sample.family == sample.id and not sample.synthetic
    pixels = seed.image.decode()
    assert (np.asarray(sample.picture()) == pixels).all()
    assert (sample.tensor().permute(1, 2, 0).numpy() == pixels).all()
    assert sample.encoded() == seed.image.read()
    assert seed.question in sample.prompt("brief") and "<scene>" in sample.prompt()
    height, width = pixels.shape[:2]
    thousandths = [
        round(1000 * value / side)
        for value, side in zip(seed.answer, (width, height) * 2, strict=True)
    ]
    assert sample.scored(str(list(seed.answer))).accuracy > 0.99
    assert sample.scored(str(thousandths), "0-1000").accuracy > 0.9
    assert sample.scored(None).accuracy == 0
    with pytest.raises(InputError, match="coordinates 'cm' are not known; use 0-1000"):
        sample.scored("[1, 2, 3, 4]", "cm")  # type: ignore[arg-type]


def test_grandchildren_belong_to_the_seed_of_their_family(tmp_path: Path) -> None:
    rules = SamplingPolicy(max_depth=3, synthetic_ratio=1.0, max_unmeasured=64)
    seen: dict[int, set[str]] = {}
    with opened(tmp_path, pool=rules) as client:
        for number in range(4):
            for sample in client.draw():
                seen.setdefault(sample.sample.depth, set()).add(sample.family)
                client.observe(sample, [0.0, 1.0])
                client.submit(sample, [describing(sample, f"a red wall number {number}")])
            client.outcomes()
    assert max(seen) >= 2
    assert {family for families in seen.values() for family in families} <= {
        one.id for one in SEEDS
    }


def test_wrong_calls_are_one_line_and_change_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        first, second = client.draw(2)
        with pytest.raises(InputError, match=f"sample {first.id}: accuracy reward nan is outside"):
            client.observe(first, [0.5, math.nan])
        with pytest.raises(InputError, match=f"{first.id}: response diversity of an empty group"):
            client.observe(first, [])
        with pytest.raises(InputError, match="was not observed in step 1; call observe before"):
            client.submit(first, [describing(first, "a red wall")])
        assert client.observe(first, [0.0, 1.0]).diversity == 1.0
        with pytest.raises(InputError, match=f"{first.id} is observed twice in step 1; pass the"):
            client.observe(first, [0.0, 1.0])
        assert client.outcomes() == []
        # Drawn by a process that died before it observed: nothing is lost, nothing counted twice.
        assert second.id in {one.id for one in client.draw(24)}
        client.observe(first, [1.0, 1.0])
        client.outcomes()
        visits = {one.id: one.visits for one in client.draw(24)}
        assert visits[first.id] == 2 and visits[second.id] == 0
    with pytest.raises(InputError, match="24 samples are fewer than groups_per_step 25"):
        opened(tmp_path / "more", groups_per_step=25)
    with pytest.raises(InputError, match="no generator is set"):
        opened(tmp_path / "none", synthesis=SynthesisOptions())
    with pytest.raises(InputError, match=r"server\.url does not go with synthesis\.mode inline"):
        opened(tmp_path / "none", server=ServerOptions(url="http://127.0.0.1:1"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="fingerprint names the generator of workers elsewhere"):
        opened(tmp_path / "none", synthesis=SynthesisOptions(), fingerprint="rooms-9")
    siblings = MethodOptions(credit="siblings", descriptions_per_group=3)
    with pytest.raises(InputError, match="one batch, which has 2 places for synthetic"):
        opened(tmp_path / "none", method=siblings)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="3 tokens and 2 log-probabilities"):
        WrittenResponse.of(None, [1, 2, 3], [0.0, 0.0])


def test_new_images_are_dropped_while_enough_wait_to_be_measured(tmp_path: Path) -> None:
    """As with ``syngrpo train``: the default is the number that four batches draw, here 8."""
    walls = [f"a {color} wall" for color in ("red", "green", "blue", "white")]
    found = []
    with opened(tmp_path, method=MethodOptions(descriptions_per_group=4)) as client:
        for _ in range(2):
            for sample in client.draw():
                client.observe(sample, [0.0, 1.0])
                client.submit(sample, [describing(sample, text) for text in walls])
            client.outcomes()
            counts = client.stats().counts
            found.append((counts["synthesis/submitted"], counts["synthesis/dropped"]))
    assert found[0][0] > 8 and found[0][1] == 0
    assert found[1][0] == 0 and found[1][1] > 0


def test_training_goes_on_without_the_server_and_says_so(tmp_path: Path) -> None:
    nobody = listen("127.0.0.1", 0)
    port = nobody.getsockname()[1]
    nobody.close()
    options = {
        "synthesis": SynthesisOptions(generator="rooms"),
        "server": ServerOptions(url=f"http://127.0.0.1:{port}"),
    }
    with opened(tmp_path, **options) as client:
        away = False
        while not away:  # the thread finds out beside
            for sample in client.draw():
                client.observe(sample, [0.0, 1.0])
                client.submit(sample, [describing(sample, "a red wall")])
            assert client.outcomes() == []
            away = client.stats().metrics()["synthesis/server_away"] == 1
        waiting = client.stats().waiting
    assert waiting > 0
    assert b"a red wall" in (tmp_path / "outbox.jsonl").read_bytes()


def test_a_client_whose_descriptions_nobody_paints_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting_warnings, "IDLE_S", 0.0)
    server = serve(tmp_path / "server", "--workers", "0")
    options = {
        "synthesis": SynthesisOptions(generator="rooms"),
        "server": ServerOptions(url=server.url),
    }

    def step(number: int) -> None:
        (sample,) = client.draw(1)
        client.observe(sample, [0.0, 1.0])
        client.submit(sample, [describing(sample, f"a red wall number {number}")])
        client.outcomes()

    try:
        with opened(tmp_path / "run", **options) as client:
            for number in range(9):
                step(number)
            until(lambda: sum(server.jobs(name).get("queued", 0) for name in names(server)), "jobs")
            for number in range(9, 60):
                step(number)
            fingerprint = client.pool.fingerprint
    finally:
        server.command.kill()
    (told,) = [one.getMessage() for one in caplog.records if "no worker" in one.getMessage()]
    assert re.search(r"no worker has painted anything for 20 steps \(\d+ s\), and \d+ desc", told)
    assert f"check that workers of {server.url} run and paint with {fingerprint} (" in told


def names(server: ServerProcess) -> list[str]:
    return list(server.get("/v1/runs")["runs"])


class OfAnotherVersion(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        answer = json.dumps({"run": "x", "identity": "y"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_server_of_another_version_is_one_line(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OfAnotherVersion)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    options = {"synthesis": SynthesisOptions(generator="rooms"), "server": ServerOptions(url=url)}
    client = opened(tmp_path, **options)
    message = f"data server {url} has version None of the API, this client version 2; install"
    with pytest.raises(InputError, match=re.escape(message)):
        while True:
            client.draw()
            client.outcomes()
    client.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b"\xff\xfe", b"[]", b"[" * 50_000, b"", b"{}", b'{"leases": 5}']
)
def test_what_is_no_data_server_is_one_line(body: bytes) -> None:
    jobs = RemoteJobs(ServerAddress("http://server:1"), "w", "noop-1")
    with closing(jobs._connection):
        jobs._connection._http._client = httpx.Client(
            base_url="http://server:1",
            transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body)),
        )
        with pytest.raises(InputError) as caught:
            jobs.lease(1)
    assert str(caught.value) == (
        "http://server:1 answers POST /v1/lease as no data server does; check the URL"
    )


def test_the_same_by_an_event_loop(tmp_path: Path) -> None:
    async def steps(client: AsyncDataClient) -> list[str]:
        seen = []
        for _ in range(3):
            drawn = await client.draw()
            seen += [one.id for one in drawn]
            await asyncio.gather(*(client.observe(one, [0.0, 1.0]) for one in drawn))
            for one in drawn:
                await client.submit(one, [describing(one, "a red wall")])
            await client.outcomes()
        assert (await client.stats()).steps == 3
        assert (await client.get(seen[0])).id == seen[0]
        return seen

    async def opened_and_closed() -> list[str]:
        async with AsyncDataClient(opened(tmp_path / "async")) as client:
            return await steps(client)

    found = asyncio.run(opened_and_closed())
    opened(tmp_path / "async").close()  # the directory is free again
    again = []
    with opened(tmp_path / "sync") as client:
        for _ in range(3):
            drawn = client.draw()
            again += [one.id for one in drawn]
            for one in drawn:
                client.observe(one, [0.0, 1.0])
            for one in drawn:
                client.submit(one, [describing(one, "a red wall")])
            client.outcomes()
    assert found == again


def test_the_processes_of_a_run_get_the_same_samples(tmp_path: Path) -> None:
    sent = []
    with opened(tmp_path) as client:
        main = shared_draw(client, 4, lambda drawn: sent.append(drawn) or drawn)
    other = shared_draw(None, 4, lambda nothing: sent[0] if nothing is None else nothing)
    assert [one.id for one in main] == [one.id for one in other]


def test_random_descriptions_have_no_reward(tmp_path: Path) -> None:
    method = MethodOptions(name="random-scene")
    with opened(
        tmp_path,
        method=method,
        synthesis=SynthesisOptions(generator="rooms", mode="inline", describer="rooms"),
    ) as client:
        for _ in range(3):
            for sample in client.draw():
                client.observe(sample, [0.0, 1.0])
            assert client.outcomes() == []
        assert client.stats().pool.synthetic > 0
