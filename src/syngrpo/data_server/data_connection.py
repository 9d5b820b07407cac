"""Sends the requests of workers and trainers to a data server."""

from __future__ import annotations

from typing import Any

from syngrpo.sample import InputError
from syngrpo.serving.http_client import HttpClient, ServerAddress

ANSWER_S = 60.0
"""Seconds that an answer may take."""
LATER = (408, 425, 500, 502, 503, 504, 507)
"""Statuses after which the same request may succeed later."""


class NoRoom(Exception):  # noqa: N818
    """The server has no room for any job that was sent (status 429)."""


class ContentRefused(InputError):  # noqa: N818
    """The server refuses the content of the request (status 413 or 422)."""


class NotKnown(InputError):  # noqa: N818
    """The server does not know the run or the image (status 404)."""


class WrongToken(InputError):  # noqa: N818
    """The server asks for another token (status 401 or 403)."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"{message}; give server.token_file, or a worker --token-file, the file with which "
            "syngrpo serve was started"
        )


REFUSALS = {
    401: WrongToken,
    403: WrongToken,
    404: NotKnown,
    413: ContentRefused,
    422: ContentRefused,
    429: NoRoom,
}


class DataServerConnection:
    """Open connections to one data server. Threads may share it.

    Every method raises Unavailable when the server does not answer, and InputError when it refuses.
    """

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
        """Send a request with JSON data and return the JSON object of the answer. Raises NoRoom
        when the server has no room for any job."""
        answer = self._http.request(method, path, json=data, params=query or None)
        try:
            found = answer.json()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InputError(
                f"{self.url} answers {method} {path} as no data server does; check the URL"
            )
        return found

    def image(self, run: str, digest: str) -> bytes:
        """Return the encoded bytes of an image."""
        return self._http.request("GET", f"/v1/runs/{run}/images/{digest}").content

    def close(self) -> None:
        self._http.close()
