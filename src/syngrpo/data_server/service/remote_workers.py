"""``syngrpo worker``: workers for a data server anywhere, on this host or on a Ray cluster."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from syngrpo.data_server.options import RemoteSettings
from syngrpo.data_server.ray_cluster import RayCluster
from syngrpo.data_server.ray_workers import RayWorkers
from syngrpo.data_server.service.connection import Connection
from syngrpo.data_server.supervisor import DataServer
from syngrpo.painting.generators.base import make_generator
from syngrpo.serving.http_client import Unavailable

log = logging.getLogger(__name__)


def painters(settings: RemoteSettings, cluster: RayCluster | None) -> DataServer | RayWorkers:
    """Processes of this host, or actors of a cluster."""
    return DataServer(settings) if cluster is None else RayWorkers(settings, cluster)


def run_workers(settings: RemoteSettings, cluster: RayCluster | None = None) -> None:
    """Until SIGTERM or SIGINT. Raises InputError for a generator that is unknown, a server that
    refuses, and a cluster that cannot be used; a server that does not answer yet is waited for."""
    fingerprint = make_generator(settings.generator, settings.options).fingerprint
    connection = Connection(settings.server)
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
    with painters(settings, cluster):
        print(f"{settings.workers} workers paint with {fingerprint}", flush=True)
        stopped.wait()
