"""The server of the dashboard: ``syngrpo dashboard`` runs it, and ``syngrpo serve`` mounts it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi import FastAPI
from nicegui import app as nicegui_app

from syngrpo.dashboard.access import PARAMETER, Access
from syngrpo.dashboard.pages import add_pages
from syngrpo.dashboard.pictures import picture_routes
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.serving.bearer_token import is_loopback
from syngrpo.serving.http_server import HttpServer
from syngrpo.serving.listening import listen, server_url

logger = logging.getLogger(__name__)


def add_dashboard(
    app: FastAPI, runs: FollowedRuns, token: str | None, at: str = "", actions: bool = False
) -> None:
    """Add the dashboard to an application, below the path ``at``. NiceGUI can be part of only one
    application in a process. ``actions``: whether visitors may change something in a run; without a
    ``token`` nobody may.

    The runs are closed when the server stops. The caller cannot: on SIGTERM, uvicorn ends the
    process as soon as the server has stopped.
    """
    app.include_router(picture_routes(runs), prefix=at)
    add_pages(app, runs, at, actions and token is not None)
    app.add_middleware(Access, token=token, at=at)
    nicegui_app.on_shutdown(runs.close)


def serve_dashboard(
    paths: Sequence[Path],
    host: str,
    port: int,
    token: str | None,
    say: Callable[[str], None],
    actions: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT. ``say`` one line with the address when the server listens.

    An address that other hosts can reach, and one with ``actions``, gets a new token if none is
    given; it is part of the printed address. Raises InputError for a path that is no folder and an
    address in use.
    """
    token = token_for(host, token, always=actions)
    runs = FollowedRuns(paths)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_dashboard(app, runs, token, actions=actions)
    shown = ", ".join(str(path) for path in paths)
    run_server(app, host, port, token, f"dashboard of {shown}", say)


def token_for(host: str, token: str | None, always: bool = False) -> str | None:
    """Return the token that visitors must give: a new one if none is given and other hosts can
    reach the address, or ``always``; None if no token is needed."""
    if token is None and (always or not is_loopback(host)):
        return secrets.token_urlsafe(16)
    return token


def run_server(
    app: FastAPI, host: str, port: int, token: str | None, what: str, say: Callable[[str], None]
) -> None:
    """Serve an application until SIGTERM or SIGINT. ``say`` in one line ``what`` it is, and its
    address with the token, when it listens. Raises InputError for an address in use."""
    listener = listen(host, port)
    address = server_url(host, listener) + "/"
    if token is not None:
        address += f"?{PARAMETER}={token}"
    say(f"{what} on {address}")
    HttpServer(app).run(sockets=[listener])
