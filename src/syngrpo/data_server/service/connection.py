"""One HTTP connection to a data server, kept open."""

from __future__ import annotations

from typing import Any

from syngrpo.sample import InputError
from syngrpo.serving.http_client import HttpClient, ServerAddress

ANSWER_S = 60.0
"""Seconds that an answer may take."""
LATER = (408, 425, 500, 502, 503, 504, 507)
"""Statuses that may be others later."""


class Full(Exception):  # noqa: N818
    """The server has no room for anything that was sent."""


class Unfit(InputError):  # noqa: N818
    """The server refuses what was sent, not who sent it."""


class Gone(InputError):  # noqa: N818
    """The server does not know what was asked for."""


REFUSALS = {404: Gone, 413: Unfit, 422: Unfit, 429: Full}


class Connection:
    """Threads may share it. Every method raises Unavailable when the server does not answer, and
    InputError, in one line, when it refuses."""

    def __init__(self, server: ServerAddress) -> None:
        self._http = HttpClient(
            server,
            "data server",
            key="server",
            check="the URL",
            answer_s=ANSWER_S,
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
