"""The service, put together."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from syngrpo.data_server.service.desk import Desk
from syngrpo.data_server.service.guard import Guard
from syngrpo.data_server.service.limits import Limits
from syngrpo.data_server.service.runs import Runs
from syngrpo.data_server.service.schemas import Health, Problem
from syngrpo.data_server.service.trainer_routes import trainer_routes
from syngrpo.data_server.service.worker_routes import worker_routes
from syngrpo.sample import InputError
from syngrpo.serving.refusals import Refused, refusal_response

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "not JSON, or a path with .."},
    401: {"model": Problem, "description": "no token"},
    403: {"model": Problem, "description": "the wrong token"},
    404: {"model": Problem, "description": "no such run, image or path"},
    409: {"model": Problem, "description": "the id is taken by other content"},
    413: {"model": Problem, "description": "a body or an image that is too large"},
    422: {"model": Problem, "description": "a value that is not allowed"},
    429: {"model": Problem, "description": "the queue is full; see Retry-After"},
    507: {"model": Problem, "description": "the server's disk is full"},
}
TITLE = "Syn-GRPO data server"
ABOUT = "The evolving training sets of one or several runs: jobs in, painted samples out."


def create_app(runs: Runs, token: str | None = None, limits: Limits | None = None) -> FastAPI:
    """The ASGI application over these runs, which it closes at its end. ``app.state.desk`` is the
    ``Desk``."""
    limits = limits or Limits()
    desk = Desk(runs, limits)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(title=TITLE, version="1", description=ABOUT, lifespan=living, responses=REFUSALS)
    app.state.desk = desk
    app.add_middleware(Guard, token=token, limits=limits, metrics=desk.metrics)
    _explain_refusals(app)
    app.include_router(trainer_routes(desk))
    app.include_router(worker_routes(desk))

    @app.get("/healthz", response_model=Health, tags=["watching"])
    async def healthz() -> Response:
        """Whether the server answers. Needs no token."""
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", response_class=Response, tags=["watching"])
    async def metrics() -> Response:
        """Everything that is counted, for Prometheus."""
        text = await desk.in_thread(desk.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _explain_refusals(app: FastAPI) -> None:
    """One line of JSON for everything that is refused."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return refusal_response(error.status, str(error), error.retry_after)

    @app.exception_handler(InputError)
    async def wrong_input(request: Request, error: InputError) -> Response:
        cause = error.__cause__
        ours = isinstance(cause, sqlite3.Error) or getattr(cause, "errno", 0) in (
            *(errno.ENOSPC, errno.EDQUOT),
        )
        return refusal_response(507 if ours else 422, str(error))

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
