"""What every request passes first: token, path, size; and what is counted of it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syngrpo.data_server.service.limits import Limits
from syngrpo.data_server.service.service_metrics import Metrics
from syngrpo.serving.bearer_token import refusal
from syngrpo.serving.refusals import refusal_response

OPEN_PATHS = ("/healthz",)
"""Answered without a token, for whoever watches over processes."""
IMAGE_PATHS = ("/samples", "/complete")
"""Ends of the paths whose bodies hold images."""


class Guard:
    """ASGI middleware. A body is read here, counted as it comes, whatever its header claims."""

    def __init__(self, app: ASGIApp, token: str | None, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._token = token
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.request(route, status, time.perf_counter() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refusal(scope)
        if refused is None:
            limit = self._limit(scope["path"])
            body = await _read(scope, receive, limit)
            if body is not None:
                await self._app(scope, _replay(body, receive), send)
                return
            refused = (413, f"the request is larger than {limit} bytes; send less at a time")
        await refusal_response(*refused)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if self._token is not None and scope["path"] not in OPEN_PATHS:
            refused = refusal(self._token, _header(scope, b"authorization"))
            if refused is not None:
                return refused
        if ".." in scope["path"].split("/"):
            return 400, f"the path {scope['path'][:100]} leads out of its folder"
        return None

    def _limit(self, path: str) -> int:
        images = path.endswith(IMAGE_PATHS)
        return self._limits.image_body if images else self._limits.body


def _header(scope: Scope, name: bytes) -> bytes | None:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key.lower() == name), None)


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None when it is larger than ``limit`` bytes."""
    claimed = _header(scope, b"content-length")
    if claimed is not None and claimed.isdigit() and int(claimed[:20]) > limit:
        return None
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then what really comes: the client going away."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed
