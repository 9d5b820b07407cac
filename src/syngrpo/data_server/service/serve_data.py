"""``syngrpo serve``: the service in a process of its own, with workers beside it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from syngrpo.data_server.options import RemoteSettings
from syngrpo.data_server.ray_cluster import RayCluster
from syngrpo.data_server.ray_workers import RayWorkers
from syngrpo.data_server.service.app import create_app
from syngrpo.data_server.service.desk import Desk
from syngrpo.data_server.service.runs import Runs
from syngrpo.data_server.workers import LocalWorkers, make_workers
from syngrpo.serving.bearer_token import require_token_beyond_loopback
from syngrpo.serving.http_client import ServerAddress
from syngrpo.serving.listening import GRACE_S, listen, local_url, server_url

log = logging.getLogger(__name__)


def serve(
    directory: Path,
    host: str,
    port: int,
    token: str | None,
    workers: int,
    generator: str,
    options: Mapping[str, Any] | None = None,
    niceness: int = 5,
    cluster: RayCluster | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; prints one line with the address once it listens.

    Raises InputError for an address that cannot be had, or that others can reach without a token,
    for a directory that cannot be used, and for a Ray ``cluster``, where the workers are actors.
    """
    require_token_beyond_loopback(host, token)
    runs = Runs(directory)
    app = create_app(runs, token)
    listener = listen(host, port)
    url = server_url(host, listener)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S
    )
    for name in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has stopped
        signal.signal(name, lambda number, frame: None)
    print(f"serving {directory} on {url}", flush=True)
    own = ServerAddress(url if cluster else local_url(host, listener), token)
    settings = RemoteSettings(
        server=own,
        generator=generator,
        options=options or {},
        workers=workers,
        niceness=niceness,
    )
    with make_workers(settings, cluster) as beside:
        _Server(config, app.state.desk, beside).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells its workers, and those who wait for jobs or outcomes, when it is time to go."""

    def __init__(
        self, config: uvicorn.Config, desk: Desk, painters: LocalWorkers | RayWorkers
    ) -> None:
        super().__init__(config)
        self._desk = desk
        self._painters = painters

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._painters.stop_soon()
        self._desk.close_soon()
        super().handle_exit(sig, frame)
