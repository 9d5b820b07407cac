"""One HTTP connection to a data server, kept open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import httpx

from syngrpo.data_server.ports import Unavailable
from syngrpo.sample import InputError
from syngrpo.serving.server_address import ServerAddress

CONNECT_S, ANSWER_S = 5.0, 60.0
"""Timeouts in seconds."""
LATER = (408, 425, 500, 502, 503, 504, 507)
"""Statuses that may be others later."""


class Full(Exception):  # noqa: N818
    """The server has no room for anything that was sent."""


class Unfit(InputError):  # noqa: N818
    """The server refuses what was sent, not who sent it."""


class Gone(InputError):  # noqa: N818
    """The server does not know what was asked for."""


REFUSALS = {404: Gone, 413: Unfit, 422: Unfit, 429: Full}


class Http:
    """An HTTP client of one server, which its errors call ``name``; threads may share it.

    ``wait_s`` is how long an answer may take, ``later`` are statuses that may be others later,
    ``refusals`` what other statuses raise instead of InputError; ``check`` is what to look at when
    the address is no such server's. Raises InputError for an address that is none: ``key`` names
    it.
    """

    def __init__(
        self,
        server: ServerAddress,
        name: str,
        *,
        key: str,
        check: str,
        wait_s: float,
        later: Collection[int],
        refusals: Mapping[int, type[Exception]],
        transport: httpx.HTTPTransport | None = None,
    ) -> None:
        self.url = server.url.rstrip("/")
        self._called = f"{name} {self.url}"
        self._unknown = f"an answer that is not a {name}'s; check {check}"
        self._later, self._refusals = later, refusals
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
        try:
            self._client = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx.Timeout(wait_s, connect=CONNECT_S),
                transport=transport,
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(f"{key} {server.url}: {error}; write http://host:port") from None

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A successful answer. Raises Unavailable when there is none, or for a status of ``later``;
        what ``refusals`` say, or InputError in one line, for any other."""
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Unavailable(f"{self._called} does not answer ({reason})") from None
        if answer.is_success:
            return answer
        message = f"{self._called}: {self._reason(answer)} (status {answer.status_code})"
        if answer.status_code in self._later:
            raise Unavailable(message)
        raise self._refusals.get(answer.status_code, InputError)(message)

    def close(self) -> None:
        self._client.close()

    def _reason(self, answer: httpx.Response) -> str:
        try:
            return str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            return self._unknown


class Connection:
    """Threads may share it. Every method raises Unavailable when the server does not answer, and
    InputError, in one line, when it refuses."""

    def __init__(self, server: ServerAddress) -> None:
        self._http = Http(
            server,
            "data server",
            key="server",
            check="the URL",
            wait_s=ANSWER_S,
            later=LATER,
            refusals=REFUSALS,
        )
        self.url = self._http.url

    def send(self, method: str, path: str, data: Any = None, **query: Any) -> Any:
        """One request with JSON data; the JSON of its answer. Raises Full for status 429."""
        return self._http.request(method, path, json=data, params=query or None).json()

    def image(self, run: str, digest: str) -> bytes:
        """The encoded bytes of an image."""
        return self._http.request("GET", f"/v1/runs/{run}/images/{digest}").content

    def close(self) -> None:
        self._http.close()
