"""One HTTP connection to a data server, kept open."""

from __future__ import annotations

from typing import Any

import httpx

from syngrpo.sample import InputError
from syngrpo.synthesis.ports import Unavailable
from syngrpo.synthesis.settings import ServerAddress

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


REFUSALS = {404: Gone, 413: Unfit, 422: Unfit}


class Connection:
    """Threads may share it. Every method raises Unavailable when the server does not answer, and
    InputError, in one line, when it refuses."""

    def __init__(self, server: ServerAddress) -> None:
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
        self.url = server.url.rstrip("/")
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(f"server {server.url}: {error}; write http://host:port") from None

    def send(self, method: str, path: str, data: Any = None, **query: Any) -> Any:
        """One request with JSON data; the JSON of its answer. Raises Full for status 429."""
        return self._request(method, path, json=data, params=query or None).json()

    def image(self, run: str, digest: str) -> bytes:
        """The encoded bytes of an image."""
        return self._request("GET", f"/v1/runs/{run}/images/{digest}").content

    def close(self) -> None:
        self._http.close()

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Unavailable(f"data server {self.url} does not answer ({reason})") from None
        if answer.is_success:
            return answer
        message = f"data server {self.url}: {_reason(answer)} (status {answer.status_code})"
        if answer.status_code == 429:
            raise Full(message)
        if answer.status_code in LATER:
            raise Unavailable(message)
        raise REFUSALS.get(answer.status_code, InputError)(message)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return "an answer that is not a data server's; check the URL"
