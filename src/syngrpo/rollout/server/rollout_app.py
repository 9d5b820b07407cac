"""The rollout server's HTTP routes, and the command that serves them.

- ``GET /healthz``: answers whether the server runs; the only route that needs no token.
- ``GET /v1/state``: returns model, type, length limit and the version of the weights, as JSON.
- ``PUT /v1/weights/VERSION``: takes a stream of pieces (``weight_stream``), each a safetensors
  file.
- ``POST /v1/rollouts``: takes a request (``server_messages``) and returns the sampled responses.

Errors are answered with a status and one line of JSON. The routes run in the event loop of a second
thread; they check what arrives, queue it for ``EngineLoop`` and wait for its future.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from syngrpo.rollout.base import IncrementalEngine
from syngrpo.rollout.server.engine_loop import EngineLoop, PendingRollout, WeightUpdate
from syngrpo.rollout.server.model_outline import ExpectedWeights, ModelOutline, load_outline
from syngrpo.rollout.server_messages import pack_answer, unpack, unpack_request
from syngrpo.rollout.weight_stream import BrokenStream, Weights, unframe
from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import refusal, require_token_beyond_loopback
from syngrpo.serving.http_server import HttpServer
from syngrpo.serving.listening import GRACE_S, listen, server_url
from syngrpo.serving.refusals import Refused, refusal_response

T = TypeVar("T")

BODY = 1 << 30
"""Largest request for responses, in bytes."""
PIECE_S = 120.0
"""Seconds that one piece of the weights may take to arrive."""
VERSION = re.compile(r"[a-z0-9-]{1,64}")


def serve(
    model: str | Path,
    dtype: str,
    device: str,
    host: str,
    port: int,
    token: str | None,
    make_engine: Callable[[ModelOutline], IncrementalEngine],
) -> None:
    """Serve until SIGTERM or SIGINT. Print one line with the address once requests can be answered.

    Raises InputError for an address that is in use, for one that other hosts can reach if there is
    no token, and as ``load_outline`` and ``make_engine`` do.
    """
    require_token_beyond_loopback(host, token)
    listener = listen(host, port)
    outline = load_outline(model, dtype, device)
    loop = EngineLoop(make_engine(outline))
    app = create_app(RolloutApi(loop, outline, ExpectedWeights(outline), str(model)), token)
    http = HttpServer(app)

    def stop(number: int, frame: object) -> None:
        http.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    thread = Thread(target=http.run, args=([listener],), name="http", daemon=True)
    thread.start()
    print(f"rollouts of {model} on {server_url(host, listener)}", flush=True)
    try:
        # The engine works until the HTTP thread has ended, because that thread finishes or cuts off
        # the stream of weights that the engine may be reading.
        loop.run(thread.is_alive)
    finally:
        http.should_exit = True
        thread.join(2 * GRACE_S)


def create_app(api: RolloutApi, token: str | None) -> Starlette:
    """Build the ASGI application. With a token, every route but ``/healthz`` asks for it."""
    app = Starlette(
        routes=[
            Route("/healthz", _healthz),
            Route("/v1/state", api.state),
            Route("/v1/weights/{version}", api.put_weights, methods=["PUT"]),
            Route("/v1/rollouts", api.roll_out, methods=["POST"]),
        ]
    )
    for kind in (Refused, InputError, ClientDisconnect, HTTPException):
        app.add_exception_handler(kind, _error_response)
    if token is not None:
        app.add_middleware(_TokenCheck, token=token)
    return app


@dataclass(frozen=True)
class RolloutApi:
    """The routes that need the engine. ``model`` is the model's name in ``/v1/state``."""

    loop: EngineLoop
    outline: ModelOutline
    expected: ExpectedWeights
    model: str

    async def state(self, request: Request) -> Response:
        return JSONResponse(
            {
                "model": self.model,
                "dtype": str(self.outline.base.dtype).removeprefix("torch."),
                "max_length": self.loop.max_length,
                "version": self.loop.version,
            }
        )

    async def put_weights(self, request: Request) -> Response:
        version = request.path_params["version"]
        if not VERSION.fullmatch(version):
            raise Refused(422, "a version is 1 to 64 of a-z, 0-9 and -")
        pieces = _WeightPieces(request.stream(), self.expected.bytes)
        update = WeightUpdate(version, self.expected.checked(pieces))
        self.loop.put(update)
        try:
            await asyncio.wrap_future(update.future)
        except InputError:
            await pieces.drain()
            raise
        return JSONResponse({"version": version})

    async def roll_out(self, request: Request) -> Response:
        asked = await asyncio.to_thread(unpack_request, await _body(request))
        outline = self.outline.with_rules_of(asked)
        longest = max(len(prompt.input_ids) for prompt in asked.prompts)
        if longest + asked.sampling.max_new_tokens > self.loop.max_length:
            raise Refused(
                422,
                f"a prompt of {longest} tokens and {asked.sampling.max_new_tokens} new ones are "
                f"more than --max-length {self.loop.max_length}",
            )
        rollout = PendingRollout(asked, outline)
        self.loop.put(rollout)
        groups = await _while_connected(request, asyncio.wrap_future(rollout.future))
        answer = await asyncio.to_thread(pack_answer, asked.version, groups)
        return Response(answer, media_type="application/octet-stream")


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _error_response(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return refusal_response(error.status_code, str(error.detail))
    if isinstance(error, Refused):
        return refusal_response(error.status, str(error))
    if isinstance(error, ClientDisconnect):
        return refusal_response(400, "the request was cut off")
    return refusal_response(400 if isinstance(error, BrokenStream) else 422, str(error))


async def _while_connected(request: Request, result: asyncio.Future[T]) -> T:
    """Return the result when it is there. Cancel it when the client disconnects or this coroutine
    is cancelled."""
    gone = asyncio.ensure_future(request.receive())  # after the body only a disconnect can follow
    gone.add_done_callback(lambda _: result.cancel())
    try:
        return await result
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            raise ClientDisconnect from None
        raise
    finally:
        gone.cancel()
        result.cancel()


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY:
            raise Refused(
                413,
                f"a request of more than {BODY} bytes; set trainer.groups_per_step "
                "or model.max_pixels smaller",
            )
    return bytes(body)


class _TokenCheck:
    """Middleware that refuses requests without the token before their body is read."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = None
        if scope["type"] == "http" and scope["path"] != "/healthz":
            headers = dict(scope["headers"])
            refused = refusal(self._token, headers.get(b"authorization"))
        answer = self._app if refused is None else refusal_response(*refused)
        await answer(scope, receive, send)


class _WeightPieces:
    """The pieces of a request's stream of weights, over which the engine's thread iterates.

    The event loop reads the stream, the next piece while the engine loads the one before. A stream
    that is cut off or damaged raises BrokenStream in the engine's thread.
    """

    def __init__(self, stream: AsyncIterator[bytes], limit: int) -> None:
        self._stream = stream
        self._pieces = unframe(stream, limit)
        self._reading = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    def __iter__(self) -> Iterator[Weights]:
        coming = self._fetch()
        while True:
            try:
                piece = coming.result(2 * PIECE_S)
            except (ClientDisconnect, CancelledError, TimeoutError):
                raise BrokenStream("the stream of weights was cut off") from None
            if piece is None:
                return
            coming = self._fetch()
            yield unpack(piece)

    def _fetch(self) -> Future[bytes | None]:
        return asyncio.run_coroutine_threadsafe(self._next(), self._loop)

    async def _next(self) -> bytes | None:
        async with self._reading, asyncio.timeout(PIECE_S):
            return await anext(self._pieces, None)

    async def drain(self) -> None:
        """Read the rest of the stream, because a client that is still sending might not read the
        answer."""
        with suppress(TimeoutError):
            async with self._reading, asyncio.timeout(PIECE_S):
                async for _ in self._stream:
                    pass
