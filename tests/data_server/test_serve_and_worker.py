"""Servers, workers and training runs as real processes, really killed."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
import warm_processes
from quick_runs import metrics, train_arguments
from service_process import ServerProcess, serve, until
from synthesis_generators import MARKS, started

from syngrpo.data_server import remote_jobs, server_sink
from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.job_exchange import SubmitCounts
from syngrpo.data_server.pool_access import open_pool_client
from syngrpo.data_server.remote_jobs import RemoteJobs
from syngrpo.data_server.sample_wire import PROTOCOL
from syngrpo.data_server.server_sink import ServerSink, namespace_of
from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisSettings
from syngrpo.painting.generators import make_generator
from syngrpo.pool.jobs import JobRequest, bundled
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress
from syngrpo_rooms.dataset import rooms_samples

SEEDS = rooms_samples("train", 8)
POLICY = SamplingPolicy()


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends what a test left running."""
    with ExitStack() as stack:
        yield stack


def start(processes: ExitStack, folder: Path, *options: str, **more: str) -> ServerProcess:
    server = serve(folder, *options, **more)
    processes.callback(server.command.kill)
    return server


def work(processes: ExitStack, folder: Path, *options: str, **env: str) -> warm_processes.Command:
    command = warm_processes.start(folder, "worker", *options, **env)
    processes.callback(command.kill)
    return command


def client(folder: Path, url: str, name: str, generator: str = "noop") -> AsyncClient:
    """A trainer's client with a pool of its own, of a run that shares the server."""
    with closing(Pool.open(folder)) as pool:
        pool.add_seeds(SEEDS)
    settings = SynthesisSettings(folder, generator=generator, lease_s=1.0)
    sink = ServerSink(ServerAddress(url), name, settings, POLICY)
    return AsyncClient(settings, POLICY, batch=4, sink=sink)


def requests(count: int, generator: str = "noop", text: str = "a green wall") -> list[JobRequest]:
    fingerprint = make_generator(generator).fingerprint
    return [JobRequest(SEEDS[n % 8].id, text, n, fingerprint, 3, "said") for n in range(count)]


def assert_one_line(command: warm_processes.Command, message: str) -> None:
    assert command.wait() == 2, command.stderr
    lines = command.stderr.splitlines()
    assert len(lines) == 1 and message in lines[0], lines


def test_an_open_address_and_a_wrong_token_are_one_line(
    tmp_path: Path, processes: ExitStack
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct-horse\n")
    wrong.write_text("battery\n")
    folder = tmp_path / "server"
    arguments = ["serve", "--pool", str(tmp_path / "x"), "--port", "0", "--host", "0.0.0.0"]
    without_token = warm_processes.start(folder, *arguments)
    assert_one_line(without_token, "give a --token-file, or stay on 127.0.0.1")
    assert not (tmp_path / "x").exists()
    token = ["--token-file", str(right), "--workers", "0"]
    server = start(processes, folder, "--host", "0.0.0.0", *token)
    url = f"http://127.0.0.1:{server.port}"
    taken = warm_processes.start(folder, *arguments, *token, "--port", server.port)
    assert_one_line(taken, "Address already in use")
    for more, message in (((), "a token is needed"), (("--token-file", str(wrong)), "is wrong")):
        options = ["--server", url, "--generator", "noop", *more]
        refused = warm_processes.start(tmp_path / "worker", "worker", *options)
        assert_one_line(refused, message)
    assert "refused with status 403" in server.command.stderr
    assert server.stop() == 0


def test_two_runs_share_a_server_and_its_workers(tmp_path: Path, processes: ExitStack) -> None:
    server = start(processes, tmp_path, "--generator", "noop", "--workers", "1")
    fingerprint = make_generator("noop").fingerprint
    painting, _ = server.command.output.read_text().splitlines()
    assert painting == f"1 worker started, painting with {fingerprint}"
    runs = {name: client(tmp_path / name, server.url, name) for name in ("one", "two")}
    for run in runs.values():
        processes.callback(run.close)
    asked = requests(12)
    for name, run in runs.items():
        run.submit(asked if name == "one" else asked[:5])
        run.observe([Observation(SEEDS[0].id, 1, 1, 0.5, 0.5)])
    outcomes = {name: [] for name in runs}

    def ended() -> bool:
        for name, run in runs.items():
            outcomes[name] += run.outcomes()
        return [len(found) for found in outcomes.values()] == [12, 5]

    until(ended, "the outcomes")
    for name, run in runs.items():
        counts = run.submit([])
        assert counts == SubmitCounts(len(outcomes[name]))
        admitted = {one.sample_id for one in outcomes[name] if one.state == "admitted"}
        assert run.stats().synthetic == len(admitted) > 0
        drawn = [item for _ in range(4) for item in run.draw(4) if item.job_id is not None]
        assert {item.sample.id for item in drawn} <= admitted
        theirs = Pool.open(tmp_path / "runs" / name)
        for item in drawn:
            assert theirs.get(item.sample.id).image.read() == item.sample.image.read()
    assert server.stop() == 0


def test_a_remote_worker_is_killed_and_nothing_is_lost(
    tmp_path: Path, processes: ExitStack
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    generator, environment = "synthesis_generators:HangsAtFirst", {MARKS: str(marks)}
    server = start(processes, tmp_path, "--workers", "0")
    options = ["--server", server.url, "--generator", generator]
    first = work(processes, tmp_path / "host", *options, **environment)
    run = client(tmp_path / "one", server.url, "one", generator)
    processes.callback(run.close)
    run.submit(requests(4, generator))
    until(lambda: len(started(marks)) == 1, "a job to begin")
    os.kill(started(marks)[0], signal.SIGKILL)
    until(lambda: server.jobs("one") == {"admitted": 4}, "the jobs to end")
    until(lambda: run.stats().synthetic == 4, "the samples")
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait() == 0, first.stderr


def test_a_poisonous_job_dies_and_its_remote_worker_lives(
    tmp_path: Path, processes: ExitStack
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    generator, environment = "synthesis_generators:Poisonous", {MARKS: str(marks)}
    server = start(processes, tmp_path, "--workers", "0")
    work(processes, tmp_path / "a", "--server", server.url, "--generator", generator, **environment)
    run = client(tmp_path / "one", server.url, "one", generator)
    processes.callback(run.close)
    run.submit([*requests(1, generator, "poison"), *requests(4, generator)])
    until(lambda: server.jobs("one") == {"admitted": 4, "dead": 1}, "the jobs to end")
    assert len(started(marks)) == 1
    (dead,) = [job for job in server.get("/v1/runs/one/outcomes")["jobs"] if job["state"] == "dead"]
    assert "Traceback" in dead["error"] and "choked on poison" in dead["error"]
    assert dead["attempts"] == 3
    until(lambda: run.stats().jobs["dead"] == 1, "the dead letter")


def test_a_server_that_lost_its_directory_is_a_new_one(
    tmp_path: Path, processes: ExitStack
) -> None:
    server = start(processes, tmp_path, "--generator", "noop")
    run = client(tmp_path / "one", server.url, "one")
    processes.callback(run.close)
    run.submit(requests(3))
    until(lambda: run.stats().jobs["admitted"] == 3, "the first samples")
    server.command.kill()
    shutil.rmtree(tmp_path / "runs")
    server = start(processes, tmp_path, "--generator", "noop", port=server.port)
    run.submit(requests(6)[3:])
    until(lambda: run.stats().jobs["admitted"] == 6, "the later samples")
    assert server.jobs("one") == {"admitted": 3}


def test_a_server_that_lost_its_last_jobs_delivers_the_next_ones(
    tmp_path: Path, processes: ExitStack
) -> None:
    """It was set back to a copy of its pool. What ends then gets cursors that the run has seen."""
    server = start(processes, tmp_path, "--generator", "noop")
    run = client(tmp_path / "one", server.url, "one")
    processes.callback(run.close)
    folder, copy = tmp_path / "runs" / "one", tmp_path / "copy.db"
    run.submit(requests(2))
    until(lambda: run.stats().jobs["admitted"] == 2, "the samples in the copy")
    with closing(Pool.open(folder)) as pool:
        pool.backup(copy)
    run.submit(requests(6)[2:])
    until(lambda: run.stats().jobs["admitted"] == 6, "the samples that the server will lose")
    server.command.kill()
    Pool.restore(folder, copy).close()
    server = start(processes, tmp_path, "--generator", "noop", port=server.port)
    until(lambda: not run.server_away(), "an answer")
    run.submit(requests(8)[6:])
    until(lambda: run.stats().jobs["admitted"] == 8, "the samples with the same cursors")
    assert server.jobs("one") == {"admitted": 4}


def test_what_the_server_refuses_does_not_end_the_run(
    tmp_path: Path, processes: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """A seed whose image file is too large for a request, and a description that is too long: the
    other jobs of the same request are painted."""
    server = start(processes, tmp_path, "--generator", "noop")
    content = SEEDS[0].image.read() + bytes(50 << 20)  # bytes after the image's own end
    large = replace(SEEDS[0], id="large", image=replace(SEEDS[0].image, data=content, path=None))
    with closing(Pool.open(tmp_path / "one")) as pool:
        pool.add_seeds([large])
    run = client(tmp_path / "one", server.url, "one")
    processes.callback(run.close)
    kept = requests(3)
    refused = [
        replace(kept[0], parent_id="large"),
        replace(kept[1], description="wall " * 1000),
        *bundled([replace(kept[2], seed=9), replace(kept[2], description="wall " * 1000)]),
    ]
    counts = run.submit([*kept, *refused])

    def all_counted() -> bool:
        nonlocal counts
        counts += run.submit([])
        return counts.submitted + counts.dropped == 7

    until(all_counted, "what became of the jobs")
    assert set(counts.dropped_ids) == {one.id for one in refused}
    until(lambda: run.stats().jobs["admitted"] == 3, "the others")
    assert "nothing is painted from sample large: " in caplog.text
    assert "2 jobs dropped: " in caplog.text and "1 job dropped: " in caplog.text


def test_a_bundle_that_the_outbox_would_cut_is_sent_whole(
    tmp_path: Path, processes: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request carries a few hundred bytes of the outbox; a bundle has more."""
    monkeypatch.setattr(server_sink, "SENT_BYTES", 600)
    server = start(processes, tmp_path, "--workers", "0")
    with closing(Pool.open(tmp_path / "one")) as pool:
        pool.add_seeds(SEEDS)
    settings = SynthesisSettings(tmp_path / "one", generator="noop", queue_limit=7)
    sink = ServerSink(ServerAddress(server.url), "one", settings, POLICY)
    run = AsyncClient(settings, POLICY, batch=4, sink=sink)
    processes.callback(run.close)
    asked = requests(2)
    bundles = [bundled([replace(asked[at], seed=n) for n in range(4)]) for at in range(2)]
    counts = run.submit([*bundles[0], *bundles[1]])

    def all_counted() -> bool:
        nonlocal counts
        counts += run.submit([])
        return counts.submitted + counts.dropped == 8

    until(all_counted, "what became of the bundles")
    assert set(counts.dropped_ids) == {one.id for one in bundles[1]}, "all of it or nothing"


def test_a_worker_of_another_version_takes_no_job(
    tmp_path: Path, processes: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(processes, tmp_path, "--workers", "0")
    jobs = RemoteJobs(ServerAddress(server.url), "w", make_generator("noop").fingerprint)
    processes.callback(jobs._connection.close)
    monkeypatch.setattr(remote_jobs, "PROTOCOL", PROTOCOL + 1)
    message = f"has version {PROTOCOL} of the API, worker w version {PROTOCOL + 1}; install the"
    with pytest.raises(InputError, match=message):
        jobs.lease(1)


def test_jobs_that_nobody_will_paint_are_named(
    tmp_path: Path, processes: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """A run goes on with a data server, then without, each time with jobs for the other."""
    folder = tmp_path / "one"
    with closing(Pool.open(folder)) as pool:
        pool.add_seeds(SEEDS)
    settings = SynthesisSettings(folder, generator="noop", mode="async")
    with closing(AsyncClient(settings, POLICY, batch=4)) as alone:  # no worker paints
        alone.submit(requests(3))
    away = ServerOptions(url="http://127.0.0.1:9")
    for server in (away, ServerOptions()):
        with ExitStack() as stack:
            run = open_pool_client(stack, settings, server, POLICY, batch=4, seed=0)
            run.submit(requests(8)[3:])
    assert "3 jobs in the pool for workers of this host will not be painted" in caplog.text
    assert "5 jobs in outbox.jsonl for a data server will not be painted" in caplog.text


@pytest.mark.slow
def test_training_goes_on_while_the_server_is_down_killed_and_back(
    tmp_path: Path, processes: ExitStack
) -> None:
    """The server is not there at the start, then comes, is killed in the middle of its work, and
    comes back: the run ends as any other, and everything it submitted has ended once."""
    idle = start(processes, tmp_path, "--workers", "0")  # only to find a free port
    port = idle.port
    idle.command.kill()
    run = tmp_path / "run"
    changed = {"synthesis__mode": "async", "server__url": f"http://127.0.0.1:{port}"}
    changed |= {"trainer__steps": 24, "trainer__checkpoint_every": 12, "synthesis__lease_s": 1}
    changed |= {"data__max_image_pixels": 300_000}
    training = warm_processes.start(tmp_path, *train_arguments(run, **changed))
    processes.callback(training.kill)
    until(lambda: len(metrics(run)) >= 2, "steps without a server")
    options = ["--generator", "rooms", "--workers", "1"]
    server = start(processes, tmp_path, *options, port=port)
    name = namespace_of(run)

    def mirrored() -> int:
        return Pool.open(run).stats().synthetic

    until(lambda: mirrored() >= 2, "the first samples")
    before = len(metrics(run))
    server.command.kill()
    until(lambda: len(metrics(run)) >= before + 2, "steps after the server was killed")
    server = start(processes, tmp_path, *options, port=port)
    assert training.wait() == 0, training.stderr
    assert "training goes on without it" in (run / "log.txt").read_text()
    records = metrics(run)
    assert [record["step"] for record in records] == list(range(1, 25))
    assert max(record["pool/synthetic"] for record in records) > 0
    kept = json.loads((tmp_path / "runs" / name / "run.json").read_text())["options"]
    assert kept["max_image_pixels"] == 300_000, "the trainer sends the limit of its seeds"
    # The run is over; whoever goes on with it gets what has come since.
    settings = SynthesisSettings(run, generator="rooms")
    sink = ServerSink(ServerAddress(server.url), name, settings, POLICY)
    with closing(AsyncClient(settings, POLICY, batch=1, sink=sink)) as again:

        def settled() -> bool:
            there, here = server.jobs(name), again.stats().jobs
            ended = sum(there.get(state, 0) for state in ("admitted", "rejected", "dead"))
            open_jobs = there.get("queued", 0) + there.get("leased", 0)
            return not open_jobs and ended == sum(here.values())

        until(settled, "the rest")
        assert again.stats().jobs["admitted"] == mirrored() > 2
    for folder in (run, tmp_path / "runs" / name):
        with Pool.open(folder).database.read() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
