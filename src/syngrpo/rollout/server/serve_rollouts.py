"""``syngrpo rollout-server``: the engine in this thread, HTTP in another."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import uvicorn

from syngrpo.rollout.sampled import Engine
from syngrpo.rollout.server.blueprint import Blueprint, Expected, load_blueprint
from syngrpo.rollout.server.engine_loop import EngineLoop
from syngrpo.rollout.server.rollout_app import Desk, create_app
from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import refuse_open_door

log = logging.getLogger(__name__)

GRACE_S = 5
"""How long requests may take to end when the server is told to stop, in seconds."""


def serve(
    model: str | Path,
    dtype: str,
    device: str,
    host: str,
    port: int,
    token: str | None,
    make_engine: Callable[[Blueprint], Engine],
) -> None:
    """Serves until SIGTERM or SIGINT; prints one line with the address once it can sample.

    Raises InputError for an address that cannot be had, or that others can reach without a token,
    and as ``load_blueprint`` and ``make_engine`` do.
    """
    refuse_open_door(host, token)
    listener = listen(host, port)
    blueprint = load_blueprint(model, dtype, device)
    loop = EngineLoop(make_engine(blueprint))
    app = create_app(Desk(loop, blueprint, Expected(blueprint), str(model)), token)
    http = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S
        )
    )

    def stop(number: int, frame: object) -> None:
        http.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    thread = Thread(target=http.run, args=([listener],), name="http", daemon=True)
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    print(f"rollouts of {model} on http://{shown}:{listener.getsockname()[1]}", flush=True)
    try:
        # Until HTTP has ended: an exchange under way is read to its end, or broken off, there.
        loop.run(thread.is_alive)
    finally:
        http.should_exit = True
        thread.join(2 * GRACE_S)


def listen(host: str, port: int) -> socket.socket:
    """A socket that others connect to. Raises InputError for an address that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot listen on {host}:{port} ({reason}); choose another") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return listener
