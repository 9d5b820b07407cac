"""``syngrpo rollout-server``: the engine in this thread, HTTP in another."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import uvicorn

from syngrpo.rollout.sampled import Engine
from syngrpo.rollout.server.blueprint import Blueprint, Expected, load_blueprint
from syngrpo.rollout.server.engine_loop import EngineLoop
from syngrpo.rollout.server.rollout_app import Desk, create_app
from syngrpo.serving.bearer_token import require_token_beyond_loopback
from syngrpo.serving.listening import GRACE_S, listen, server_url

log = logging.getLogger(__name__)


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
    require_token_beyond_loopback(host, token)
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
    print(f"rollouts of {model} on {server_url(host, listener)}", flush=True)
    try:
        # Until HTTP has ended: an exchange under way is read to its end, or broken off, there.
        loop.run(thread.is_alive)
    finally:
        http.should_exit = True
        thread.join(2 * GRACE_S)
