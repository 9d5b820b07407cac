"""Surroundings painted by a server with OpenAI's ``/v1/images/edits``: see docs/generators_http.md.

OpenAI itself, vLLM-Omni and SGLang offer that address; where they differ is an option.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx
import numpy as np

from syngrpo.painting.generators.answers import (
    ImageServerError,
    TryAgain,
    decode_picture,
    one_line,
    picture_or_url,
    read_answer,
)
from syngrpo.painting.generators.asking import Asking, HttpOptions
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.generators.pacing import Backoff, TokenBucket
from syngrpo.sample import InputError

__all__ = ["HttpGenerator", "HttpOptions", "ImageServerError", "make_http"]


def make_http(
    options: HttpOptions,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> HttpGenerator:
    """The generator; no request is made and no key is read yet.

    ``clock`` (seconds), ``sleep`` and ``chance`` (in [0, 1)) time its pauses. Raises InputError for
    options that make no sense.
    """
    return HttpGenerator(Asking(options), clock, sleep, chance)


class HttpGenerator:
    """A ``Generator``. Pictures come in whatever size the server paints."""

    def __init__(
        self,
        asking: Asking,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        chance: Callable[[], float],
    ) -> None:
        self._asking = asking
        self._options = options = asking.options
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._backoff = Backoff(options.backoff_s, options.max_backoff_s)
        self._bucket: TokenBucket | None = None
        if options.max_requests_per_minute is not None:
            burst = max(1, min(options.concurrency, int(options.max_requests_per_minute)))
            self._bucket = TokenBucket(options.max_requests_per_minute, burst, clock)
        self._key: str | None = None
        self.fingerprint = asking.fingerprint

    def load(self) -> None:
        """Reads the key. ``generate`` does it too, but a worker that calls this first knows before
        it takes a job. Raises InputError when there is no key or it cannot be one."""
        name = self._options.api_key_env
        if name is None or self._key is not None:
            return
        key = os.environ.get(name)
        if not key:
            raise InputError(
                f"synthesis: environment variable {name} is not set; put the key for "
                f"{self._asking.url.host} into it"
            )
        if re.fullmatch(r"[\x21-\x7e]+", key) is None:
            raise InputError(
                f"synthesis: environment variable {name} holds spaces, line breaks or characters "
                "that are not ASCII; put the key alone into it"
            )
        self._key = key

    def size_for(self, wanted: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) in which the server is asked for a picture of the ``wanted`` one."""
        return self._asking.size_for(wanted)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """See ``Generator``. Not to be called from a coroutine.

        Raises ImageServerError when one of the pictures was not painted, for the first that failed;
        the others are abandoned. Raises InputError as ``load``.
        """
        self.load()
        return asyncio.run(self._paint_all(requests))

    async def _paint_all(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        waiting = iter(enumerate(requests))
        painted: dict[int, np.ndarray] = {}
        # One timeout is set around each attempt as a whole, not one for each of its reads. The
        # answer is to come unpacked: its size is bounded.
        headers = {"accept-encoding": "identity"}
        client = httpx.AsyncClient(
            verify=_certificates(), timeout=None, follow_redirects=False, headers=headers
        )

        async def paint_on() -> None:
            for index, request in waiting:
                painted[index] = await self._paint(client, request)

        try:
            async with client, asyncio.TaskGroup() as group:
                for _ in range(min(self._options.concurrency, len(requests))):
                    group.create_task(paint_on())
        except* ImageServerError as failed:
            first = failed.exceptions[0]
            error = ImageServerError(f"image server {self._asking.address} {self._told(first)}")
        else:
            return [painted[index] for index in range(len(requests))]
        raise error

    async def _paint(self, client: httpx.AsyncClient, request: GenerationRequest) -> np.ndarray:
        if self._bucket is not None:
            await self._wait(self._bucket.reserve())
        deadline = self._clock() + self._options.deadline_s
        limit = self._options.max_answer_bytes
        form, files = self._asking.form(request)

        async def post() -> bytes:
            asked = client.stream(
                "POST", self._asking.url, data=form, files=files, headers=self._authorization()
            )
            async with asked as response:
                return await read_answer(response, limit, self._key)

        answer = await self._try(post, deadline, self._bucket)
        found = picture_or_url(answer, self._key)
        if isinstance(found, str):
            url = self._allowed(found)
            headers = self._authorization() if _origin(url) == _origin(self._asking.url) else {}

            async def get() -> bytes:
                async with client.stream("GET", url, headers=headers) as response:
                    return await read_answer(response, limit, self._key)

            found = await self._try(get, deadline, None)
        return decode_picture(found, self._options.max_answer_pixels)

    async def _try(
        self, call: Callable[[], Awaitable[bytes]], deadline: float, bucket: TokenBucket | None
    ) -> bytes:
        """What ``call`` returns, tried again while it may yet succeed."""
        attempt = 0
        while True:
            try:
                left = deadline - self._clock()
                async with asyncio.timeout(min(self._options.timeout_s, left)):
                    return await call()
            except TryAgain as error:
                failure = error
            except TimeoutError:
                failure = TryAgain("did not answer in time")
            except httpx.TransportError as error:
                what = str(error) or "the connection broke"
                failure = TryAgain(f"cannot be reached ({type(error).__name__}: {what})")
            if attempt == self._options.retries:
                raise ImageServerError(f"{failure}; gave up after {attempt + 1} attempts")
            pause = self._backoff.pause(attempt, failure.after, self._chance())
            if bucket is not None:
                pause = max(pause, bucket.reserve())
            if self._clock() + pause >= deadline:
                raise ImageServerError(
                    f"{failure}; gave up after {attempt + 1} attempts, another would end after "
                    f"deadline_s {self._options.deadline_s:g}"
                )
            await self._wait(pause)
            attempt += 1

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)

    def _told(self, error: Exception) -> str:
        """The error's message as one line. A server could put the key it was shown anywhere."""
        text = one_line(str(error))
        return text if self._key is None else text.replace(self._key, "***")

    def _authorization(self) -> dict[str, str]:
        return {} if self._key is None else {"authorization": f"Bearer {self._key}"}

    def _allowed(self, text: str) -> httpx.URL:
        """The address of a picture, when it may be fetched: a server could name any, one inside
        our own network too. A relative one belongs to the server."""
        try:
            url = self._asking.url.join(text)
        except httpx.InvalidURL:
            raise ImageServerError("answered with an address that is not a URL") from None
        host = url.netloc.decode("ascii", errors="replace")
        if url.scheme not in ("http", "https") or url.userinfo:
            raise ImageServerError(f"answered with an address that is not plain http(s), at {host}")
        hosts = {name.lower() for name in self._options.image_hosts}
        if _origin(url) != _origin(self._asking.url) and host not in hosts:
            raise ImageServerError(
                f"answered with the address of a picture on {host}; add that to image_hosts if it "
                "may be fetched from there, or set response_format to b64_json"
            )
        return url


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust; reading that takes longer than a request on a fast network."""
    return httpx.create_ssl_context()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
