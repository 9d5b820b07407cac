"""Connects to a running Ray cluster, and computes what each worker reserves on it."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from syngrpo.data_server.synthesis_options import RemoteSettings
from syngrpo.painting.generators import wants_gpu
from syngrpo.sample import InputError
from syngrpo.serving.wording import one_line

CONNECT_S = 5.0
"""Seconds within which the cluster must accept a connection. Ray itself would try for minutes."""
TOKEN_MODE = "RAY_AUTH_MODE"
"""The environment variable that says whether Ray sends a token."""


@dataclass(frozen=True)
class RayCluster:
    """A running cluster.

    ``address`` is "auto" or "HOST:PORT" on a node of the cluster, "ray://HOST:PORT" on another
    host. ``gpus_per_worker`` is the number of GPUs that each worker reserves; below 1 it is a share
    of one. None means one if the cluster has GPUs and the generator or a judge wants one, else 0.
    """

    address: str
    gpus_per_worker: float | None = None


def needs(
    settings: RemoteSettings, cluster: RayCluster, resources: dict[str, float]
) -> dict[str, float]:
    """Return what each worker reserves, as options of a Ray actor. ``resources`` are those of the
    cluster, by Ray's names.

    Raises InputError for a number of GPUs that Ray cannot reserve.
    """
    gpus = cluster.gpus_per_worker
    if gpus is None:
        name = settings.generator
        paints = name is not None and wants_gpu(name, settings.options)
        wants = paints or settings.judges.device != "cpu"
        gpus = 1.0 if wants and resources.get("GPU", 0) > 0 else 0.0
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise InputError(f"--gpus-per-worker {gpus:g}: Ray reserves whole GPUs, or a share of one")
    return {"num_cpus": 1.0, "num_gpus": gpus}


def reachable(url: str) -> str:
    """Return the URL by which the cluster's nodes reach the server at ``url``.

    Raises InputError when ``url`` is a loopback address and the cluster has other hosts.
    """
    parts = urlsplit(url)
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return url
    ray = import_ray()
    own = ray.util.get_node_ip_address()
    if address.is_unspecified:
        return f"{parts.scheme}://{own}:{parts.port}"
    nodes = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if address.is_loopback and (others := nodes - {own, "127.0.0.1"}):
        raise InputError(
            f"{url} is not reachable from the Ray cluster's other hosts ({min(others)}, …); serve "
            "with --host and --token-file, and name that address"
        )
    return url


def import_ray() -> Any:
    """Return the library ``ray``. Raises InputError when it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("Ray is not installed; run: pip install 'syngrpo[ray]'") from None
    return ray


def connect(address: str) -> None:
    """Make this process a driver of the cluster. Ray's log is off, and signal handlers stay.

    Raises InputError when there is no cluster at ``address``.
    """
    ray = import_ray()
    if address != "auto":
        _require_listener(address)
    with _signal_handlers_kept():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = one_line(error)
            raise InputError(
                f"cannot use the Ray cluster at {address} ({reason}){_token_hint()}"
            ) from error


def _token_hint() -> str:
    """Return the end of the message about a failed connection. It names the token mode: Ray sends a
    token to a given address only if the environment says so."""
    if os.environ.get(TOKEN_MODE) == "token":
        return ""
    return f"; if it asks for a token, set {TOKEN_MODE}=token in the environment"


def _require_listener(address: str) -> None:
    """Raise InputError when nothing listens at the address."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise InputError(f"Ray address {address} is none; write auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"no Ray cluster answers at {address} ({reason}); start one with: ray start --head"
        ) from None


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Restore the signal handlers after the block. Ray replaces them, but our workers must finish
    their jobs on SIGTERM."""
    names = (signal.SIGTERM, signal.SIGINT)
    kept = [signal.getsignal(name) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, kept, strict=True):
            signal.signal(name, handler)
