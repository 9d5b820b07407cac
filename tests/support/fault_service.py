"""A data server in a fork that may kill itself, and a client that asks it for everything.

python fault_service.py DIRECTORY      # on a disk that fills up and is freed again
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import uvicorn
from fault_kills import fork, image_files
from pool_samples import seed

from syngrpo.data_server.data_connection import DataServerConnection
from syngrpo.data_server.job_exchange import run_job
from syngrpo.data_server.remote_jobs import RemoteJobs
from syngrpo.data_server.sample_wire import parent_data, requests_data
from syngrpo.data_server.serve_data import create_app
from syngrpo.data_server.server_runs import Runs
from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator
from syngrpo.painting.painter import Painter
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import EncodedImage, Sample
from syngrpo.serving.http_client import ServerAddress, Unavailable

NEVER = 1 << 60
SEEDS = [seed(number) for number in range(3)]
RUN = "/v1/runs/one"


class Picky(NoopGenerator):
    """Noise, which fills disks; raises for seed 1 and changes nothing for seed 2."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        (request,) = requests
        if request.seed == 1:
            raise RuntimeError("no luck")
        if request.seed == 2:
            return [SEEDS[2].image.decode()]
        shape = (request.size[1], request.size[0], 3)
        return [np.random.default_rng([7, request.seed]).integers(0, 256, shape, dtype=np.uint8)]


def serving(folder: Path, event: int = NEVER) -> tuple[int, str]:
    """Process id and address of a server that is killed before its n-th statement or file
    operation."""
    # The protocol is named, or asyncio would not turn off Nagle's algorithm.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = fork(partial(_serve, folder, listener), event)
        return process, f"http://127.0.0.1:{listener.getsockname()[1]}"


def _serve(folder: Path, listener: socket.socket) -> None:
    config = uvicorn.Config(create_app(Runs(folder)), log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def live(
    url: str, seeds: Sequence[Sample], jobs: int, hand_in: Callable[[Callable[[], bool]], object]
) -> None:
    """Opens a run, submits jobs, paints them, observes, until all have ended. Asked again after a
    crash it goes on. Raises Unavailable when the server dies. Each result is handed in by
    ``hand_in``, which is given what does it."""
    with ExitStack() as stack:
        connection = DataServerConnection(ServerAddress(url))
        stack.callback(connection.close)
        source = RemoteJobs(ServerAddress(url), "w", "noop-1")
        stack.callback(source._connection.close)
        _live(connection, source, seeds, jobs, hand_in)


def _live(
    connection: DataServerConnection,
    source: RemoteJobs,
    seeds: Sequence[Sample],
    jobs: int,
    hand_in: Callable[[Callable[[], bool]], object],
) -> None:
    gate = {"min_distance": 0.0}  # small pictures of noise are rather alike
    connection.send("PUT", RUN, {"lease_s": 0.5, "max_attempts": 3, "thresholds": gate})
    connection.send("POST", f"{RUN}/samples", {"samples": [parent_data(one) for one in seeds]})
    asked = [JobRequest(seeds[n % len(seeds)].id, "wall", n, "noop-1") for n in range(jobs)]
    connection.send("POST", f"{RUN}/jobs", {"jobs": requests_data(asked)})
    painter = Painter(Picky())
    while _open_jobs(connection):
        for leased in source.lease(2):
            hand_in(partial(run_job, painter, source, leased))
    visit = Observation(seeds[0].id, 1, 1, 0.5, 0.5)
    observed = {"observations": [visit.__dict__]}
    connection.send("POST", f"{RUN}/observations", observed)
    ended = connection.send("GET", f"{RUN}/outcomes", limit=256, images="true")["jobs"]
    assert {job["id"] for job in ended} == {one.id for one in asked}
    assert len(ended) == len(asked)


def _open_jobs(connection: DataServerConnection) -> int:
    jobs = connection.send("GET", f"{RUN}/stats")["jobs"]
    return int(jobs["queued"]) + int(jobs["leased"])


def main(directory: Path) -> None:
    """Fills the disk but for less than a picture, sees it refused, frees the disk, goes on."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    large = replace(SEEDS[0], image=EncodedImage.from_pixels(noise))
    ballast, handed_in = directory / "ballast", itertools.count(1)

    def hand_in(job: Callable[[], bool]) -> None:
        if next(handed_in) != 6:
            job()
            return
        space = os.statvfs(directory)
        ballast.write_bytes(bytes(space.f_bavail * space.f_bsize - 30_000))
        try:
            job()
        except Unavailable as error:
            unfinished = [one for one in image_files(directory / "runs" / "one") if "un" in one]
            print(unfinished, error)
            ballast.unlink()
            job()

    process, url = serving(directory / "runs")
    try:
        live(url, [replace(large, id=f"large-{n}") for n in range(4)], 16, hand_in)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
