"""Starts the workers of a data server. ``run_workers`` is the command ``syngrpo worker``."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from syngrpo.data_server.data_connection import DataServerConnection
from syngrpo.data_server.ray_cluster import RayCluster
from syngrpo.data_server.ray_workers import RayWorkers
from syngrpo.data_server.synthesis_options import (
    RemoteSettings,
    SynthesisSettings,
    WorkerSettings,
)
from syngrpo.data_server.worker_process import work
from syngrpo.serving.http_client import Unavailable
from syngrpo.serving.supervision import Supervisor, WorkerProcess
from syngrpo.serving.wording import count

log = logging.getLogger(__name__)


class LocalWorkers(Supervisor[WorkerProcess]):
    """Keeps ``settings.workers`` worker processes running on this host.

    They take jobs from the pool in ``settings.directory``, or from the data server at
    ``settings.server``. They may be stopped and started at any time. They end when the process that
    started them dies.
    """

    def __init__(self, settings: SynthesisSettings | RemoteSettings) -> None:
        super().__init__(lambda place: WorkerProcess(work, (settings, place)), settings.workers)

    def worker_pids(self) -> list[int]:
        """Return the process ids of the running workers."""
        return [worker.pid for worker in self.workers() if worker.is_alive()]


def make_workers(settings: RemoteSettings, cluster: RayCluster | None) -> LocalWorkers | RayWorkers:
    """Make workers: processes of this host, or actors of a cluster. They are not started yet."""
    return LocalWorkers(settings) if cluster is None else RayWorkers(settings, cluster)


def started_line(settings: WorkerSettings) -> str:
    """Return the line that says which workers run. It ends with the fingerprint of their generator,
    which a trainer without this generator gives its client (``DataClient.open``)."""
    fingerprint = settings.make_generator().fingerprint
    return f"{count(settings.workers, 'worker')} started, painting with {fingerprint}"


def run_workers(settings: RemoteSettings, cluster: RayCluster | None = None) -> None:
    """Run workers until SIGTERM or SIGINT.

    Raises InputError when the generator is unknown, the server refuses a request, or the cluster
    cannot be used. If the server does not answer yet, the workers wait for it.
    """
    settings.load_tasks()
    settings.make_generator()  # raises InputError before anything starts
    connection = DataServerConnection(settings.server)
    try:
        connection.send("GET", "/v1/runs")
    except Unavailable as error:
        log.warning("%s; the workers keep trying", error)
    finally:
        connection.close()
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    with make_workers(settings, cluster):
        print(started_line(settings), flush=True)
        stopped.wait()
