"""Workers as actors of a real Ray cluster of this machine, really killed."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import warm_processes
from ray_cluster import QUIET, of_commands, ray_cluster
from service_process import ServerProcess, serve
from synthesis_generators import MARKS, started

from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.ray_cluster import TOKEN_MODE, RayCluster, needs
from syngrpo.data_server.server_sink import ServerSink
from syngrpo.data_server.synthesis_options import RemoteSettings, SynthesisSettings
from syngrpo.painting.generators import make_generator
from syngrpo.painting.judges.panel import JudgeOptions
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress
from syngrpo_rooms.dataset import rooms_samples

pytest.importorskip("ray", reason="Ray is not installed: pip install 'syngrpo[ray]'")

SEEDS = rooms_samples("train", 8)
POLICY = SamplingPolicy()
ENDED = ("admitted", "rejected", "dead")
UNREACHABLE = ["worker", "--server", "http://127.0.0.1:1", "--generator", "noop"]
TESTS = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def cluster(marks: Path) -> Iterator[str]:
    with ray_cluster(gpus=2, **{MARKS: str(marks), "PYTHONPATH": str(TESTS)}) as address:
        yield address


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends what a test left running."""
    with ExitStack() as stack:
        yield stack


def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for something that other processes do, some of which Ray has to start first."""
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def command(processes: ExitStack, folder: Path, *arguments: str) -> warm_processes.Command:
    started = warm_processes.start(folder, *arguments, **of_commands())
    processes.callback(started.kill)
    return started


def server_of(processes: ExitStack, folder: Path, *options: str) -> ServerProcess:
    server = serve(folder, *options, **of_commands())
    processes.callback(server.command.kill)
    return server


def submit(
    processes: ExitStack, folder: Path, server: ServerProcess, generator: str, count: int
) -> set[str]:
    """Jobs of a run that is named as its ``folder``; their ids."""
    with closing(Pool.open(folder)) as pool:
        pool.add_seeds(SEEDS)
    settings = SynthesisSettings(folder, generator=generator, lease_s=1.0)
    sink = ServerSink(ServerAddress(server.url), folder.name, settings, POLICY)
    client = AsyncClient(settings, POLICY, batch=4, sink=sink)
    processes.callback(client.close)
    fingerprint = make_generator(generator).fingerprint
    asked = [
        JobRequest(SEEDS[n % 8].id, f"a green wall, {n} lamps", n, fingerprint, 3, "said")
        for n in range(count)
    ]
    client.submit(asked)
    return {request.id for request in asked}


def endings(server: ServerProcess) -> list[dict[str, Any]]:
    """Every job that the server says has ended, as often as it says so."""
    if "one" not in server.get("/v1/runs")["runs"]:
        return []
    found: list[dict[str, Any]] = []
    after = 0
    while page := server.get(f"/v1/runs/one/outcomes?after={after}")["jobs"]:
        found += page
        after = page[-1]["cursor"]
    return found


@pytest.mark.slow
def test_an_actor_is_killed_in_the_middle_of_a_job_and_nothing_is_lost(
    tmp_path: Path, processes: ExitStack, cluster: str, marks: Path
) -> None:
    generator = "ray_generators:HangsThenSlow"
    server = server_of(processes, tmp_path, "--workers", "0")
    options = ["--generator", generator, "--workers", "2", "--ray", cluster]
    worker = command(processes, tmp_path / "host", "worker", "--server", server.url, *options)
    submitted = submit(processes, tmp_path / "one", server, generator, 12)
    until(lambda: len(started(marks)) == 1, "a job to begin")
    (victim,) = started(marks)
    assert b"SynGrpoWorker" in Path(f"/proc/{victim}/cmdline").read_bytes()
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(endings(server)) >= 12, "the jobs to end")
    ended = Counter(job["id"] for job in endings(server))
    assert set(ended) == submitted and set(ended.values()) == {1}
    assert sum(server.jobs("one").get(state, 0) for state in ENDED) == 12
    until(lambda: "replacing it" in worker.stderr, "the replacement")
    submit(processes, tmp_path / "two", server, generator, 40)
    until(lambda: server.jobs("two").get("admitted", 0) > 0, "jobs to be under way")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait() == 0, worker.stderr
    assert "Traceback" not in worker.stderr
    left = server.jobs("two")
    assert left["queued"] > 0 and left.keys() <= {"queued", *ENDED}, "each ended its job at hand"
    with Pool.open(tmp_path / "runs" / "one").database.read() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_server_puts_its_workers_on_the_cluster_and_each_gets_a_gpu(
    tmp_path: Path, processes: ExitStack, cluster: str, marks: Path
) -> None:
    generator = "ray_generators:NamesItsGpu"
    options = ["--generator", generator, "--workers", "2", "--ray", cluster]
    server = server_of(processes, tmp_path, *options)
    submit(processes, tmp_path / "one", server, generator, 16)
    until(lambda: len(list(marks.glob("gpu-*"))) == 2, "two actors at work")
    assert sorted(path.name for path in marks.glob("gpu-*")) == ["gpu-0", "gpu-1"]
    os.kill(server.command.pid, signal.SIGINT)
    assert server.command.wait() in (0, -signal.SIGINT, 130), server.command.stderr


def test_what_a_worker_reserves() -> None:
    def of(generator: str, gpus: float | None = None, owned: int = 4, **more: Any) -> float:
        settings = RemoteSettings(server=ServerAddress("http://a:1"), generator=generator, **more)
        reserved = needs(settings, RayCluster("auto", gpus), {"CPU": 8, "GPU": owned})
        assert reserved["num_cpus"] == 1
        return reserved["num_gpus"]

    assert [of("rooms"), of("http"), of("sdxl-inpaint"), of("ray_generators:NamesItsGpu")] == [
        0,
        0,
        1,
        1,
    ]
    assert of("sdxl-inpaint", owned=0) == of("sdxl-inpaint", options={"device": "cpu"}) == 0
    assert of("rooms", judges=JudgeOptions(device="cuda")) == 1
    assert [of("rooms", 0.25), of("sdxl-inpaint", 2), of("sdxl-inpaint", 0)] == [0.25, 2, 0]
    for wrong in (1.5, -1):
        with pytest.raises(InputError, match="whole GPUs, or a share of one"):
            of("rooms", wrong)


def test_a_cluster_that_asks_for_a_token_is_one_line(
    tmp_path: Path, processes: ExitStack, cluster: str
) -> None:
    assert os.environ[TOKEN_MODE] == "token", "Ray's default"
    arguments = [*UNREACHABLE, "--ray", cluster]
    impatient = {"RAY_gcs_server_port_wait_time_s": "1", TOKEN_MODE: "disabled"}
    started = warm_processes.start(tmp_path, *arguments, **QUIET, **impatient)
    processes.callback(started.kill)
    assert started.wait() == 2, started.stderr
    assert "if it asks for a token, set RAY_AUTH_MODE=token" in started.stderr.splitlines()[-1]


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, processes: ExitStack) -> None:
    for more, message in (
        (("--ray", "127.0.0.1:1"), "no Ray cluster answers at 127.0.0.1:1 (Connection refused)"),
        (("--ray", "banana"), "write auto, HOST:PORT or ray://HOST:PORT"),
        (("--gpus-per-worker", "1"), "give --ray ADDRESS"),
        (("--ray", "auto", "--devices", "0"), "with --ray give --gpus-per-worker"),
    ):
        refused = command(processes, tmp_path, *UNREACHABLE, *more)
        assert refused.wait() == 2, refused.stderr
        assert message in refused.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr
