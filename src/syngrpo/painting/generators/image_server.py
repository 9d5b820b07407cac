"""Sends requests to an image server and reads its answers: pacing, retries, the key and checks.

``ImageServer.paint_all`` posts forms, which ``http_generator`` writes, and returns the pictures of
the answers. Answers are not trusted: one may be broken, too large, or give an address that must not
be fetched.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import math
import os
import random
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from syngrpo.options import option
from syngrpo.picture_decoding import PictureError, PictureTooLarge, decode
from syngrpo.sample import InputError
from syngrpo.serving.wording import count

MAX_ERROR_BYTES = 1 << 16
MAX_MESSAGE = 300
"""Characters of a server's own message that an error message repeats."""
_RETRIED_STATUSES = {408, 409, 429}
"""Statuses below 500 after which a request is sent again."""

Form = dict[str, str | int | float | bool]
Files = dict[str, tuple[str, bytes, str]]


@dataclass(frozen=True, kw_only=True)
class ImageServerOptions:
    """How an image server may be used. Times are in seconds."""

    api_key_env: str | None = option(
        None, "name of the environment variable that holds the server's key (not the key itself)"
    )
    timeout_s: float = option(60.0, "seconds that one attempt may take", gt=0)
    deadline_s: float = option(
        110.0, "seconds that all attempts for one picture may take together", gt=0
    )
    retries: int = option(
        4, "further attempts after one that failed for a reason that may pass", ge=0
    )
    backoff_s: float = option(
        0.5, "seconds of the first pause between attempts; each further one is doubled", ge=0
    )
    max_backoff_s: float = option(20.0, "seconds of the longest pause between attempts", ge=0)
    max_requests_per_minute: float | None = option(
        None,
        "requests that may begin in a minute, evenly spaced, per worker; null: any number",
        gt=0,
    )
    max_answer_bytes: int = option(64 << 20, "largest answer in bytes that is read", ge=1)
    max_answer_pixels: int = option(4096 * 4096, "largest picture in pixels that is read", ge=1)
    image_hosts: tuple[str, ...] = option(
        (), 'other hosts ("host" or "host:port") that pictures may be fetched from'
    )

    def __post_init__(self) -> None:
        """Raise ValueError for pauses that contradict each other."""
        if self.backoff_s > self.max_backoff_s:
            raise ValueError(
                f"backoff_s {self.backoff_s:g} is more than max_backoff_s {self.max_backoff_s:g}"
            )


class ImageServerError(RuntimeError):
    """A server did not paint a picture. The message is one line and holds no secret."""


class TryAgain(ImageServerError):  # noqa: N818
    """An attempt failed, and another may succeed. ``after``: the seconds that the server asked to
    wait before it, None if it did not say."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True)
class Timing:
    """The functions that pauses are made with. ``clock`` returns seconds that never decrease,
    ``sleep`` waits for seconds, ``chance`` returns a random number in [0, 1). Tests replace
    them."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


REAL_TIMING = Timing()


class Pace:
    """Lets ``per_minute`` requests begin in a minute, evenly spaced."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._gap = 60 / per_minute
        self._clock = clock
        self._next = clock()

    def reserve(self) -> float:
        """Take the next free moment and return the seconds until then."""
        now = self._clock()
        begin = max(now, self._next)
        self._next = begin + self._gap
        return begin - now


class ImageServer:
    """A client of one server. ``address`` names the server in messages and fingerprints, without
    the query of the URL, which could hold a secret."""

    def __init__(
        self, url: httpx.URL, options: ImageServerOptions, timing: Timing = REAL_TIMING
    ) -> None:
        """Prepare to post requests to ``url``. No request is made and no key is read yet."""
        self._url = url
        self._options = options
        self._timing = timing
        self.address = self._url.netloc.decode("ascii") + self._url.path
        self._pace: Pace | None = None
        if options.max_requests_per_minute is not None:
            self._pace = Pace(options.max_requests_per_minute, timing.clock)
        self._key: str | None = None

    def load_key(self) -> None:
        """Read the key from the environment, unless that is done or none is needed.

        Raises InputError when there is no key or it holds unusable characters.
        """
        name = self._options.api_key_env
        if name is None or self._key is not None:
            return
        key = os.environ.get(name)
        if not key:
            raise InputError(
                f"synthesis: environment variable {name} is not set; put the key for "
                f"{self._url.host} into it"
            )
        if re.fullmatch(r"[\x21-\x7e]+", key) is None:
            raise InputError(
                f"synthesis: environment variable {name} holds spaces, line breaks or characters "
                "that are not ASCII; put the key alone into it"
            )
        self._key = key

    async def paint_all(self, forms: Iterable[tuple[Form, Files]]) -> list[np.ndarray]:
        """Post the forms, one after the other, and return their pictures, each uint8 (H, W, 3).

        Raises ImageServerError for the first picture that failed; the next forms are not posted.
        """
        # httpx gets no timeout, because the timeout is for each attempt as a whole. The answer must
        # not be compressed, because its size is limited before it is unpacked.
        headers = {"accept-encoding": "identity"}
        client = httpx.AsyncClient(
            verify=_certificates(), timeout=None, follow_redirects=False, headers=headers
        )
        try:
            async with client:
                return [await self._paint(client, fields, files) for fields, files in forms]
        except ImageServerError as failed:
            error = ImageServerError(f"image server {self.address} {self._censored(failed)}")
        raise error

    async def _paint(self, client: httpx.AsyncClient, fields: Form, files: Files) -> np.ndarray:
        if self._pace is not None:
            await self._wait(self._pace.reserve())
        deadline = self._timing.clock() + self._options.deadline_s
        limit = self._options.max_answer_bytes

        async def post() -> bytes:
            asked = client.stream(
                "POST", self._url, data=fields, files=files, headers=self._authorization()
            )
            async with asked as response:
                return await read_answer(response, limit, self._key)

        answer = await self._try(post, deadline, self._pace)
        found = picture_or_url(answer, self._key)
        if isinstance(found, str):
            url = self._allowed(found)
            headers = self._authorization() if _origin(url) == _origin(self._url) else {}

            async def get() -> bytes:
                async with client.stream("GET", url, headers=headers) as response:
                    return await read_answer(response, limit, self._key)

            found = await self._try(get, deadline, None)
        return decode_picture(found, self._options.max_answer_pixels)

    async def _try(
        self, call: Callable[[], Awaitable[bytes]], deadline: float, pace: Pace | None
    ) -> bytes:
        """Return what ``call`` returns. After TryAgain call it again, as often as ``retries``
        allows and until ``deadline``. Each further attempt keeps to ``pace``."""
        options, clock = self._options, self._timing.clock

        async def attempt() -> bytes:
            try:
                async with asyncio.timeout(min(options.timeout_s, deadline - clock())):
                    return await call()
            except TimeoutError:
                raise TryAgain("did not answer in time") from None
            except httpx.TransportError as error:
                what = str(error) or "the connection broke"
                raise TryAgain(f"cannot be reached ({type(error).__name__}: {what})") from None

        def pause(state: RetryCallState) -> float:
            if state.attempt_number > options.retries:
                return 0.0  # this was the last attempt: none follows that needs a moment
            after, chance = _failure(state).after, self._timing.chance()
            seconds = pause_s(state.attempt_number, options, after, chance)
            return seconds if pace is None else max(seconds, pace.reserve())

        def is_over(state: RetryCallState) -> bool:
            last = state.attempt_number > options.retries
            return last or clock() + state.upcoming_sleep >= deadline

        def give_up(state: RetryCallState) -> bytes:
            attempts = state.attempt_number
            message = f"{_failure(state)}; gave up after {count(attempts, 'attempt')}"
            if attempts <= options.retries:
                message += f", another would end after deadline_s {options.deadline_s:g}"
            raise ImageServerError(message)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            wait=pause,
            stop=is_over,
            sleep=self._wait,
            retry_error_callback=give_up,
        )
        return await retrying(attempt)

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await self._timing.sleep(seconds)

    def _censored(self, error: Exception) -> str:
        """Return the error's message as one line, without the key, which a server could repeat."""
        text = _one_line(str(error))
        return text if self._key is None else text.replace(self._key, "***")

    def _authorization(self) -> dict[str, str]:
        return {} if self._key is None else {"authorization": f"Bearer {self._key}"}

    def _allowed(self, text: str) -> httpx.URL:
        """Return the URL of a picture if it may be fetched; ``text`` may be relative to the
        server's URL.

        Raises ImageServerError for a URL on any other host than the server and ``image_hosts``,
        because a server could name one inside the user's network.
        """
        try:
            url = self._url.join(text)
        except httpx.InvalidURL:
            raise ImageServerError("answered with an address that is not a URL") from None
        host = url.netloc.decode("ascii", errors="replace")
        if url.scheme not in ("http", "https") or url.userinfo:
            raise ImageServerError(f"answered with an address that is not plain http(s), at {host}")
        hosts = {name.lower() for name in self._options.image_hosts}
        if _origin(url) != _origin(self._url) and host not in hosts:
            raise ImageServerError(
                f"answered with the address of a picture on {host}; add that to image_hosts if it "
                "may be fetched from there, or set response_format to b64_json"
            )
        return url


def pause_s(attempt: int, options: ImageServerOptions, after: float | None, chance: float) -> float:
    """Return the seconds to wait after failed attempt number ``attempt`` (from 1).

    They are the sum of what the server asked for (``after``), if it did, and a pause that doubles
    from ``backoff_s`` up to ``max_backoff_s``. ``chance``, a random number in [0, 1), chooses a
    point in the upper half of that pause, so that clients that failed at the same time do not try
    again at the same time.
    """
    grown = options.max_backoff_s
    if attempt <= 64:  # further doublings overflow a float
        grown = min(grown, options.backoff_s * 2 ** (attempt - 1))
    return (after or 0.0) + grown * (1 + chance) / 2


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, which may be written as a date
    (RFC 9110, 10.2.3). None when there is no header or it cannot be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


async def read_answer(response: httpx.Response, limit: int, secret: str | None) -> bytes:
    """Return the body of a streamed answer with a successful status.

    Raises TryAgain for status 408, 409, 429 and 5xx, ImageServerError for any other that is not
    2xx, and for a body of more than ``limit`` bytes, which is not read to its end. ``secret`` is
    removed from the server's message.
    """
    if response.is_success:
        return await _read(response, limit)
    body = await _read_start(response, MAX_ERROR_BYTES)
    status = response.status_code
    if response.is_redirect:
        raise ImageServerError(
            f"answered {status}, a redirect, which is not followed; set url to its final address"
        )
    what = f"answered {status}: {_message(body, secret)}"
    if status in _RETRIED_STATUSES or status >= 500:
        raise TryAgain(what, retry_after_s(response.headers.get("retry-after")))
    raise ImageServerError(what)


def picture_or_url(body: bytes, secret: str | None) -> bytes | str:
    """Return the first picture of an answer of the images API: its encoded bytes, or its URL.

    Raises ImageServerError when there is none.
    """
    match _parsed(body):
        case {"data": [{"b64_json": str(text)}, *_]} if text:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError:
                raise ImageServerError("answered with a picture that is not base64") from None
        case {"data": [{"url": str(url)}, *_]} if url:
            return url
    raise ImageServerError(f"answered without a picture: {_message(body, secret)}")


def decode_picture(data: bytes, max_pixels: int) -> np.ndarray:
    """Return a picture file as uint8 (H, W, 3) RGB.

    Raises ImageServerError for anything else, and before anything is decoded when the picture
    claims more than ``max_pixels``.
    """
    try:
        return decode(data, max_pixels)
    except PictureTooLarge as error:
        raise ImageServerError(f"sent a picture larger than max_answer_pixels: {error}") from None
    except PictureError as error:
        raise ImageServerError(f"sent {len(data)} bytes that are not a picture: {error}") from None


def _failure(state: RetryCallState) -> TryAgain:
    assert state.outcome is not None
    failure = state.outcome.exception()
    assert isinstance(failure, TryAgain)
    return failure


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates. They are read once, because reading them takes longer than a
    fast request."""
    return httpx.create_ssl_context()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


async def _read(response: httpx.Response, limit: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":  # a small answer could unpack to any size
        raise ImageServerError(f"answered in content encoding {encoding}, though asked for none")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise ImageServerError(f"answered with more than max_answer_bytes {limit}")
    return bytes(body)


async def _read_start(response: httpx.Response, count: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= count:
            break
    return bytes(body[:count])


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(body: bytes, secret: str | None) -> str:
    """Return the server's own message, found where OpenAI, FastAPI and other servers write it."""
    match _parsed(body):
        case {"error": {"message": str(text)}}:
            pass
        case {"error": str(text)} | {"detail": str(text)} | {"message": str(text)}:
            pass
        case {"detail": [{"msg": str(what), "loc": [*_, where]}, *_]}:
            text = f"{where}: {what}"
        case _:
            text = body[:MAX_ERROR_BYTES].decode("utf-8", errors="replace")
    text = _one_line(text.replace(secret, "***") if secret else text)
    if not text:
        return "no message"
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


def _one_line(text: str) -> str:
    """Return the text on one line, without control characters and repeated spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
