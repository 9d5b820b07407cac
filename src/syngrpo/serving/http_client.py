"""Sends HTTP requests to one of our servers, and repeats them until the server answers.

``HttpClient`` sends single requests and turns every failure into a typed error: ``Unavailable``
when the same request may succeed later, InputError when the user has to act.
``call_until_available`` repeats a call that raised Unavailable, with growing pauses.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_exponential,
)

from syngrpo.sample import InputError
from syngrpo.serving.wording import one_line

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

T = TypeVar("T")

_CONNECT_S = 5.0
"""Seconds until a connection must be accepted."""
_FIRST_PAUSE_S = 0.25
"""Seconds between the first attempt and the second; doubled before every further one."""


class Unavailable(Exception):  # noqa: N818
    """The server cannot be reached now, or is too busy. The same request may succeed later."""


class Stopped(Exception):  # noqa: N818
    """``call_until_available`` was told to stop before the server answered."""


@dataclass(frozen=True)
class ServerAddress:
    """The URL of a server (``http://host:port``), and the token that it asks for."""

    url: str
    token: str | None = field(default=None, repr=False)


def check_url(url: str) -> None:
    """Raise InputError unless ``url`` is ``http://host:port`` or ``https://host:port``."""
    match = re.fullmatch(r"https?://[^\s/]+?(?::(\d+))?/?", url)
    if match is None or int(match[1] or 80) not in range(1, 65536):
        raise InputError(f"{url} is not the URL of a server; write it as http://host:port")


class HttpClient:
    """Sends requests to one server over connections that stay open. Threads may share it.

    In messages ``name`` is the name of the server, ``key`` the option that holds its address, and
    ``check`` what the user should check when another kind of server answers. ``answer_s`` is the
    number of seconds that an answer may take. The statuses in ``later`` raise Unavailable, those in
    ``refusals`` the exception given there, and all other errors raise InputError.
    """

    def __init__(
        self,
        server: ServerAddress,
        name: str,
        *,
        key: str,
        check: str,
        answer_s: float,
        later: Collection[int],
        refusals: Mapping[int, type[Exception]],
        transport: httpx.HTTPTransport | None = None,
    ) -> None:
        """Raises InputError when the address is not a URL."""
        # Imported here because it takes long, and workers that use a pool directly do not need it.
        import httpx

        self.url = server.url.rstrip("/")
        self._server = f"{name} {self.url}"
        self._unknown_answer = f"an answer that is not a {name}'s; check {check}"
        self._later, self._refusals = later, refusals
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
        try:
            self._client = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx.Timeout(answer_s, connect=_CONNECT_S),
                transport=transport,
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(f"{key} {server.url}: {error}; write http://host:port") from None

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request and return the successful answer. ``options`` are those of httpx.

        Raises Unavailable when there is no answer or its status is in ``later``. For another status
        it raises the exception that ``refusals`` names, or InputError.
        """
        import httpx

        try:
            answer = self._client.request(method, path, **options)
        except httpx.RequestError as error:  # also an answer that cannot be decompressed
            reason = one_line(error)
            raise Unavailable(f"{self._server} does not answer ({reason})") from None
        if answer.is_success:
            return answer
        message = f"{self._server}: {self._reason(answer)} (status {answer.status_code})"
        if answer.status_code in self._later:
            raise Unavailable(message)
        raise self._refusals.get(answer.status_code, InputError)(message)

    def close(self) -> None:
        self._client.close()

    def _reason(self, answer: httpx.Response) -> str:
        """Return what the answer says of its error: our servers have a text under ``error``, those
        of the OpenAI API an object with a ``message`` there, or only the ``message``."""
        try:
            told = answer.json()
            error = told.get("error", told)
            text = error["message"] if isinstance(error, dict) else error
            return " ".join(str(text).split())
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._unknown_answer


def call_until_available(
    call: Callable[[], T],
    server: str,
    meanwhile: str,
    *,
    longest_pause_s: float = 15.0,
    patience_s: float = math.inf,
    stopping: threading.Event | None = None,
) -> T:
    """Call ``call`` until it does not raise Unavailable, and return its result.

    The pauses between attempts double up to ``longest_pause_s`` seconds. The first failure is
    logged, followed by the text ``meanwhile`` ("trying again"). The first success after it is
    logged with the name of the ``server``. Raises the last Unavailable ``patience_s`` seconds after
    the first failure, and Stopped when ``stopping`` is set during a pause.
    """
    growing = wait_exponential(multiplier=_FIRST_PAUSE_S, max=longest_pause_s)
    give_up_at: float | None = None  # None: no attempt has failed yet

    def next_pause(state: RetryCallState) -> float:
        nonlocal give_up_at
        now = time.monotonic()
        if give_up_at is None:
            give_up_at = now + patience_s
            assert state.outcome is not None
            log.warning("%s; %s", state.outcome.exception(), meanwhile)
        return max(0.0, min(growing(state), give_up_at - now))

    def patience_is_over(state: RetryCallState) -> bool:
        return give_up_at is not None and time.monotonic() >= give_up_at

    def sleep(seconds: float) -> None:
        if stopping is None:
            time.sleep(seconds)
        elif stopping.wait(seconds):
            raise Stopped

    attempts = Retrying(
        retry=retry_if_exception_type(Unavailable),
        wait=next_pause,
        stop=patience_is_over,
        sleep=sleep,
        reraise=True,
    )
    result = attempts(call)
    if give_up_at is not None:
        log.warning("%s answers again", server)
    return result
