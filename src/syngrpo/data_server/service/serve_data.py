"""``syngrpo serve``: the service in a process of its own, with workers beside it."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
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
from syngrpo.data_server.service.remote_workers import painters
from syngrpo.data_server.service.runs import Runs
from syngrpo.data_server.supervisor import DataServer
from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import refuse_open_door
from syngrpo.serving.server_address import ServerAddress

log = logging.getLogger(__name__)

GRACE_S = 5
"""How long requests may take to end when the server is told to stop, in seconds."""
BACKLOG = 128


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
    refuse_open_door(host, token)
    runs = Runs(directory)
    app = create_app(runs, token)
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S
    )
    for name in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has stopped
        signal.signal(name, lambda number, frame: None)
    shown = f"[{host}]" if ":" in host else host
    print(f"serving {directory} on http://{shown}:{port}", flush=True)
    url = f"http://{shown}:{port}" if cluster else _own_url(host, port)
    own = ServerAddress(url, token)
    settings = RemoteSettings(
        server=own,
        generator=generator,
        options=options or {},
        workers=workers,
        niceness=niceness,
    )
    with painters(settings, cluster) as beside:
        _Server(config, app.state.desk, beside).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells its workers, and those who wait for jobs or outcomes, when it is time to go."""

    def __init__(
        self, config: uvicorn.Config, desk: Desk, painters: DataServer | RayWorkers
    ) -> None:
        super().__init__(config)
        self._desk = desk
        self._painters = painters

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._painters.stop_soon()
        self._desk.close_soon()
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio would not turn off Nagle's algorithm: 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise InputError(f"cannot listen on {host}:{port} ({reason}); choose another") from None
    return listener


def _own_url(host: str, port: int) -> str:
    """Where the server's own workers find it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        return f"http://127.0.0.1:{port}" if address.version == 4 else f"http://[::1]:{port}"
    return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"
