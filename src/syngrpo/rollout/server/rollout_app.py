"""What a rollout server answers over HTTP.

``GET /healthz``; ``GET /v1/state``; ``PUT /v1/weights/VERSION``, a stream of ``frames`` that are
safetensors each; ``POST /v1/rollouts``, a ``wire.Request``, answered with what was sampled. Errors
are one line of JSON.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from syngrpo.rollout.frames import Broken, unframed
from syngrpo.rollout.rollout_wire import pack_answer, unpack, unpack_request
from syngrpo.rollout.server.blueprint import Blueprint, Expected
from syngrpo.rollout.server.engine_loop import EngineLoop, Exchange, Rollout
from syngrpo.rollout.weight_stream import Weights
from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import refusal
from syngrpo.serving.refusals import Refused, refusal_response

T = TypeVar("T")

BODY = 1 << 30
"""Bytes of a request for rollouts, at most."""
PIECE_S = 120.0
"""How long one piece of the weights may take."""
VERSION = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True)
class Desk:
    """What the routes share."""

    loop: EngineLoop
    blueprint: Blueprint
    expected: Expected
    model: str

    async def state(self, request: Request) -> Response:
        return JSONResponse(
            {
                "model": self.model,
                "dtype": str(self.blueprint.base.dtype).removeprefix("torch."),
                "max_length": self.loop.max_length,
                "version": self.loop.version,
            }
        )

    async def take_weights(self, request: Request) -> Response:
        version = request.path_params["version"]
        if not VERSION.fullmatch(version):
            raise Refused(422, "a version is 1 to 64 of a-z, 0-9 and -")
        pieces = _Pieces(request.stream(), self.expected.bytes)
        exchange = Exchange(version, self.expected.checked(pieces))
        self.loop.put(exchange)
        try:
            await asyncio.wrap_future(exchange.future)
        except InputError:
            await pieces.drain()
            raise
        return JSONResponse({"version": version})

    async def roll_out(self, request: Request) -> Response:
        asked = await asyncio.to_thread(unpack_request, await _body(request))
        policy = self.blueprint.following(asked)
        longest = max(len(prompt.input_ids) for prompt in asked.prompts)
        if longest + asked.sampling.max_new_tokens > self.loop.max_length:
            raise Refused(
                422,
                f"a prompt of {longest} tokens and {asked.sampling.max_new_tokens} new ones are "
                f"more than --max-length {self.loop.max_length}",
            )
        rollout = Rollout(asked, policy)
        self.loop.put(rollout)
        groups = await _while_connected(request, asyncio.wrap_future(rollout.future))
        answer = await asyncio.to_thread(pack_answer, asked.version, groups)
        return Response(answer, media_type="application/octet-stream")


def create_app(desk: Desk, token: str | None) -> Starlette:
    """The ASGI application; with a token all but ``/healthz`` ask for it."""
    app = Starlette(
        routes=[
            Route("/healthz", _healthy),
            Route("/v1/state", desk.state),
            Route("/v1/weights/{version}", desk.take_weights, methods=["PUT"]),
            Route("/v1/rollouts", desk.roll_out, methods=["POST"]),
        ]
    )
    for kind in (Refused, InputError, ClientDisconnect, HTTPException):
        app.add_exception_handler(kind, _refused)
    if token is not None:
        app.add_middleware(_Gate, token=token)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return refusal_response(error.status_code, str(error.detail))
    if isinstance(error, Refused):
        return refusal_response(error.status, str(error))
    if isinstance(error, ClientDisconnect):
        return refusal_response(400, "the request broke off")
    return refusal_response(400 if isinstance(error, Broken) else 422, str(error))


async def _while_connected(request: Request, result: asyncio.Future[T]) -> T:
    """The result, which is cancelled when the client goes away, or this."""
    gone = asyncio.ensure_future(request.receive())  # nothing else comes after the body
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


class _Gate:
    """Asks for the token before anything is read."""

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


class _Pieces:
    """Pieces of a stream that this event loop reads, for another thread to go through; one comes
    while that is busy with the one before. Broken streams are InputErrors."""

    def __init__(self, stream: AsyncIterator[bytes], limit: int) -> None:
        self._stream = stream
        self._pieces = unframed(stream, limit)
        self._reading = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    def __iter__(self) -> Iterator[Weights]:
        coming = self._fetch()
        while True:
            try:
                piece = coming.result(2 * PIECE_S)
            except (ClientDisconnect, CancelledError, TimeoutError):
                raise Broken("the stream of weights broke off") from None
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
        """Reads what still comes: an answer in the middle might not be read."""
        with suppress(TimeoutError):
            async with self._reading, asyncio.timeout(PIECE_S):
                async for _ in self._stream:
                    pass


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


async def _healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})
