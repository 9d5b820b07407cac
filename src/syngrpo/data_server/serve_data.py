"""Builds and runs the data server (``syngrpo serve``).

``create_app`` builds the application from the routes, the checks of requests, and the answers to
refused requests. ``serve`` runs this application in this process, and starts workers beside it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from syngrpo.data_server.api_schemas import Health, Problem
from syngrpo.data_server.ray_cluster import RayCluster
from syngrpo.data_server.ray_workers import RayWorkers
from syngrpo.data_server.request_checks import Limits, RequestChecks
from syngrpo.data_server.routes import ServiceState, trainer_routes, worker_routes
from syngrpo.data_server.server_runs import Runs
from syngrpo.data_server.status_page import status_page
from syngrpo.data_server.synthesis_options import RemoteSettings, WorkerSettings
from syngrpo.data_server.workers import LocalWorkers, make_workers, started_line
from syngrpo.pool.filesystem import PoolStorageError
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import DiskFull
from syngrpo.serving.bearer_token import require_token_beyond_loopback
from syngrpo.serving.http_client import ServerAddress
from syngrpo.serving.http_server import HttpServer
from syngrpo.serving.listening import listen, local_url, server_url
from syngrpo.serving.refusals import Refused, refusal_response

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "not JSON, or a path with .."},
    401: {"model": Problem, "description": "no token"},
    403: {"model": Problem, "description": "the wrong token"},
    404: {"model": Problem, "description": "no such run, image or path"},
    408: {"model": Problem, "description": "a body that did not arrive in time"},
    409: {"model": Problem, "description": "the id is taken by other content"},
    413: {"model": Problem, "description": "a body or an image that is too large"},
    422: {"model": Problem, "description": "a value that is not allowed"},
    429: {"model": Problem, "description": "the queue is full; see Retry-After"},
    503: {"model": Problem, "description": "a run that is offline, or the server stops"},
    507: {"model": Problem, "description": "the server's disk is full"},
}
DIGITS = 640
"""Most digits of a whole number in a request, the least that Python can be limited to. A body full
of numbers of 4300 digits, as many as Python reads otherwise, takes seconds."""
ANSWER_S = 300.0
"""Seconds after which a request is cut off, whatever it waits for."""
TITLE = "Syn-GRPO data server"
ABOUT = "The evolving training sets of one or several runs: jobs in, painted samples out."


@dataclass(frozen=True)
class Addition:
    """Pages that are served beside the API, below ``path``. ``add`` adds them to the application;
    they check their requests themselves."""

    path: str
    add: Callable[[FastAPI], None]


def create_app(
    runs: Runs,
    token: str | None = None,
    limits: Limits | None = None,
    addition: Addition | None = None,
) -> FastAPI:
    """Make the ASGI application that serves these runs and closes them at its end.

    Its ``ServiceState`` is ``app.state.service``.
    """
    limits = limits or Limits()
    state = ServiceState(runs, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(state.tidy_up())
        digits = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(DIGITS)
        yield
        sys.set_int_max_str_digits(digits)
        tidying.cancel()
        state.close()

    app = FastAPI(
        title=TITLE, version="1", description=ABOUT, lifespan=lifespan, responses=REFUSALS
    )
    app.state.service = state
    app.add_middleware(
        RequestChecks,
        token=token,
        limits=limits,
        metrics=state.metrics,
        stopping=state.stopping,
        apart=addition.path if addition else None,
    )
    _explain_refusals(app)
    app.include_router(trainer_routes(state))
    app.include_router(worker_routes(state))

    @app.get("/healthz", response_model=Health, tags=["watching"])
    async def healthz() -> Response:
        """Return that the server answers. Needs no token."""
        return JSONResponse({"status": "ok"})

    @app.get("/", response_class=PlainTextResponse, tags=["watching"])
    async def status() -> Response:
        """Return a page that says in words what the server holds and does."""
        page = await state.in_thread(lambda: status_page(runs, state.metrics))
        return PlainTextResponse(page, headers={"X-Content-Type-Options": "nosniff"})

    @app.get("/metrics", response_class=Response, tags=["watching"])
    async def metrics() -> Response:
        """Return all metrics, for Prometheus."""
        text = await state.in_thread(state.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    if addition is not None:
        addition.add(app)
    return app


def _explain_refusals(app: FastAPI) -> None:
    """Make the application answer every refused request with one line of JSON."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return refusal_response(error.status, str(error), error.retry_after)

    @app.exception_handler(InputError)
    async def wrong_input(request: Request, error: InputError) -> Response:
        status = 507 if isinstance(error, PoolStorageError | DiskFull) else 422
        return refusal_response(status, str(error))

    @app.exception_handler(RecursionError)
    async def too_deep(request: Request, error: RecursionError) -> Response:
        return refusal_response(422, "the data is nested too deeply")

    @app.exception_handler(RequestValidationError)
    async def wrong_value(request: Request, error: RequestValidationError) -> Response:
        first, *more = error.errors()
        where = ".".join(str(part)[:60] for part in first["loc"])
        line = f"{where}: {first['msg']}" + (f", and {len(more)} more" if more else "")
        return refusal_response(400 if first["type"] == "json_invalid" else 422, line)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        answer = refusal_response(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def serve(
    directory: Path,
    host: str,
    port: int,
    token: str | None,
    workers: WorkerSettings,
    cluster: RayCluster | None = None,
    addition: Addition | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Print a line with the address when the server listens, after
    those of the workers and of the ``addition``. The process ends without returning if a request
    still decodes pictures then.

    The runs' pools are in ``directory``. The ``workers`` run beside the server, or on a Ray
    ``cluster``. Raises InputError when the address is in use or can be reached by other hosts
    without a token, and when the directory, a user's task or the cluster cannot be used.
    """
    require_token_beyond_loopback(host, token)
    workers.load_tasks()
    runs = Runs(directory)
    app = create_app(runs, token, addition=addition)
    listener = listen(host, port)
    url = server_url(host, listener)
    for name in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again after it has stopped
        signal.signal(name, lambda number, frame: None)
    pages = f"{addition.path.strip('/')} on {url}{addition.path}/\n" if addition else ""
    own = ServerAddress(url if cluster else local_url(host, listener), token)
    with make_workers(RemoteSettings(own, **vars(workers)), cluster) as running:
        painting = f"{started_line(workers)}\n" if workers.workers else ""
        print(f"{painting}{pages}serving {directory} on {url}", flush=True)
        _Server(app, running).run(sockets=[listener])
    if app.state.service.reads_pictures():
        # Python would wait for these threads at its end, and everything else is closed.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _Server(HttpServer):
    """A server that stops its workers and answers all waiting requests before it stops."""

    def __init__(self, app: FastAPI, workers: LocalWorkers | RayWorkers) -> None:
        super().__init__(app, ANSWER_S)
        self._state: ServiceState = app.state.service
        self._workers = workers

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._workers.stop_soon()
        self._state.close_soon()
        super().handle_exit(sig, frame)
