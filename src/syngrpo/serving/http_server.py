"""The HTTP server of our services: uvicorn's, which closes connections that stay half open.

uvicorn itself waits without end for a client that opens a connection and sends no complete request,
or does not read its answer. Each such connection needs a file descriptor.
"""

from __future__ import annotations

import math
import time
from typing import Any

import uvicorn

from syngrpo.serving.listening import GRACE_S

HEADERS_S = 10.0
"""Seconds in which the headers of a request must arrive on an open connection."""
MOST_CONNECTIONS = 500
"""Number of connections from which on requests are answered with status 503."""
_TICKS = 10
"""Ticks of uvicorn's main loop (0.1 s each) between two looks at the connections."""


class HttpServer(uvicorn.Server):
    """Serves an ASGI application until ``should_exit`` is set.

    ``answer_s`` is the number of seconds after which a request is cut off, from its headers to the
    end of its answer.
    """

    def __init__(self, app: Any, answer_s: float = math.inf) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=GRACE_S,
                limit_concurrency=MOST_CONNECTIONS,
            )
        )
        self._answer_s = answer_s
        self._seen: dict[Any, tuple[Any, float]] = {}
        """For each connection its request (None between requests), and since when it is that."""

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            self._close_half_open()
        return await super().on_tick(counter)

    def _close_half_open(self) -> None:
        now, seen = time.monotonic(), {}
        for connection in self.server_state.connections:
            # Both of uvicorn's protocols have these attributes.
            request = getattr(connection, "cycle", None)
            if request is not None and request.response_complete:
                request = None
            known, since = self._seen.get(connection, (None, now))
            seen[connection] = (request, since if known is request else now)
            limit = HEADERS_S if request is None else self._answer_s
            if now - seen[connection][1] > limit:
                connection.transport.abort()
        self._seen = seen
