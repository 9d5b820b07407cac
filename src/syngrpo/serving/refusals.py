"""Answers requests that a server refuses: an HTTP status and one line of JSON, ``{"error":
"…"}``."""

from __future__ import annotations

import logging

from starlette.responses import JSONResponse

log = logging.getLogger(__name__)

_LONGEST = 500
"""Number of characters after which a message is cut off."""


class Refused(Exception):  # noqa: N818
    """The request is refused and changes nothing. The answer has this ``status`` and one line.

    ``retry_after``: seconds after which the same request may succeed, None if it never will.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def refusal_response(status: int, message: str, retry_after: int | None = None) -> JSONResponse:
    """Build the answer to a refused request and log it: as a warning, unless the same request may
    succeed later (``retry_after``), which happens in every busy server.

    The message becomes one line of ASCII of at most 500 characters, because it may quote the
    request.
    """
    line = " ".join(message.split()).encode("ascii", "backslashreplace").decode()[:_LONGEST]
    level = logging.WARNING if retry_after is None else logging.DEBUG
    log.log(level, "refused with status %d: %s", status, line)
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": line}, status, headers)
