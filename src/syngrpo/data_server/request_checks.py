"""Checks requests to the data server: their token, path and size, and the images in them.

What a sample says is checked by ``formats.sample_rows.checked_sample``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syngrpo.data_server.service_metrics import Metrics
from syngrpo.picture_decoding import MAX_PIXELS
from syngrpo.sample import EncodedImage, ImageTooLarge, InputError
from syngrpo.serving.bearer_token import refusal
from syngrpo.serving.http_server import is_below
from syngrpo.serving.refusals import Refused, refusal_response

WITHOUT_TOKEN = ("/healthz",)
"""Paths that are answered without a token, for programs that monitor processes."""
WITH_IMAGES = ("/samples", "/complete")
"""The ends of paths to which images are sent."""

STOPPED_S = 5
"""Seconds after which a client may look for a server that has stopped."""
PART_S, BODY_S = 20.0, 240.0
"""Seconds in which the next part of a body must arrive, and in which the whole one must."""


@dataclass(frozen=True)
class Limits:
    """The largest requests that are accepted: ``body`` bytes without images, ``image_body`` bytes
    with images, ``values`` JSON values, and ``image_pixels`` pixels in all images together, which
    limits the time that they take. The limit of one image is that of its run, because it costs up
    to 20 bytes of memory a pixel."""

    body: int = 4 << 20
    image_body: int = 64 << 20
    values: int = 500_000
    image_pixels: int = MAX_PIXELS


def checked_images(contents: Sequence[tuple[bytes, int]], limits: Limits) -> list[EncodedImage]:
    """Decode the images of a request and return them as they came. This takes a while.

    Each comes with the largest number of pixels that its run takes. Raises Refused when one is no
    image, is damaged or cut off, or has more pixels than that by its header, and when all together
    have more than the limit.
    """
    images = [_with_header(content) for content, _ in contents]
    for image, (_, most) in zip(images, contents, strict=True):
        if image.width * image.height > most:
            raise Refused(
                413,
                f"an image has {image.width}x{image.height} pixels by its header, more than the "
                f"{most} that its run takes; shrink it, or set data.max_image_pixels of the run",
            )
    pixels = sum(image.width * image.height for image in images)
    if pixels > limits.image_pixels:
        raise Refused(
            413,
            f"the images of the request have {pixels} pixels by their headers, more than "
            f"{limits.image_pixels}; send fewer at a time or shrink them",
        )
    for image in images:
        try:
            image.decode()
        except InputError as error:
            raise Refused(422, str(error)) from None
        except MemoryError:
            raise Refused(413, "an image does not fit into memory; shrink it") from None
    return images


def _with_header(content: bytes) -> EncodedImage:
    try:
        return EncodedImage.from_bytes(content)
    except ImageTooLarge as error:
        raise Refused(413, str(error)) from None
    except InputError as error:
        raise Refused(422, str(error)) from None


def stopped() -> Refused:
    """Return the refusal of a request that a server cannot answer because it stops."""
    return Refused(503, "the server stops; send the request again", STOPPED_S)


class RequestChecks:
    """ASGI middleware that checks all requests and counts them.

    It reads the body itself and stops at the limit, because the size in the header may be wrong,
    and when the event ``stopping`` is set, because the rest of the body may never come. Requests
    to paths below ``apart`` are another application's, which checks them itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        limits: Limits,
        metrics: Metrics,
        stopping: asyncio.Event,
        apart: str | None = None,
    ) -> None:
        self._app = app
        self._token = token
        self._limits = limits
        self._metrics = metrics
        self._stopping = stopping
        self._apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_below(scope["path"], self._apart):
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noting_status)
        finally:
            route = scope["route"].path if "route" in scope else "none"
            self._metrics.request(route, status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check_head(scope)
            body = await self._body(scope, receive)
        except Refused as refused:
            answer = refusal_response(refused.status, str(refused), refused.retry_after)
            await answer(scope, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)

    def _check_head(self, scope: Scope) -> None:
        if self._token is not None and scope["path"] not in WITHOUT_TOKEN:
            refused = refusal(self._token, _header(scope, b"authorization"))
            if refused is not None:
                raise Refused(*refused)
        if ".." in scope["path"].split("/"):
            raise Refused(400, f"the path {scope['path'][:100]} leads out of its folder")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body. Raises Refused when it is too large, when it does not arrive in
        time, and when the server stops before it has arrived."""
        limit = self._limit(scope["path"])
        reading = asyncio.ensure_future(_read(scope, receive, limit))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise stopped()
            body = await reading
        except TimeoutError:
            raise Refused(
                408, f"the request did not arrive within {BODY_S:g} s; send less"
            ) from None
        finally:
            reading.cancel()
            stopping.cancel()
        if body is None:
            raise Refused(413, f"the request is larger than {limit} bytes; send less at a time")
        if await _most_values(body) > self._limits.values:
            raise Refused(413, f"more than {self._limits.values} values; send less at a time")
        return body

    def _limit(self, path: str) -> int:
        images = path.endswith(WITH_IMAGES)
        return self._limits.image_body if images else self._limits.body


def _header(scope: Scope, name: bytes) -> bytes | None:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key.lower() == name), None)


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """Return the whole body, None when it is larger than ``limit`` bytes. Raises TimeoutError when
    nothing comes for ``PART_S`` seconds, or it takes longer than ``BODY_S``."""
    claimed = _header(scope, b"content-length")
    if claimed is not None and claimed.isdigit() and int(claimed[:20]) > limit:
        return None
    parts, size, more = [], 0, True
    async with asyncio.timeout(BODY_S):
        while more:
            async with asyncio.timeout(PART_S):
                message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                return None
            more = message.get("more_body", False)
    return b"".join(parts)


async def _most_values(body: bytes) -> int:
    """Return a number of values that the JSON text cannot exceed. Parsing a body takes time and
    memory for each value, and blocks the event loop; this takes a fraction of that."""
    values = 1
    for mark in (b",", b"[", b"{", b":"):
        values += body.count(mark)
        await asyncio.sleep(0)  # a large body takes some milliseconds, in which others wait
    return values


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that returns the body as one message, and then the messages of the
    connection."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed
