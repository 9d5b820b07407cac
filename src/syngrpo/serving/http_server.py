"""The HTTP server of our services: uvicorn's, which closes connections that stay half open.

uvicorn itself waits without end for a client that opens a connection and sends no complete request,
or does not read its answer. Each such connection needs a file descriptor. When uvicorn stops, it
waits for such clients too, and then cancels their requests with a traceback each.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from contextlib import suppress
from typing import Any

import uvicorn

from syngrpo.serving.listening import GRACE_S

HEADERS_S = 10.0
"""Seconds in which the headers of a request must arrive on an open connection."""
MOST_CONNECTIONS = 500
"""Number of connections from which on requests are answered with status 503."""
STALLED_S = 1.0
"""Seconds after a stop at which connections are closed that wait for their client."""
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
                _without_gone_clients(app),
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
            if not hasattr(connection, "cycle"):  # a websocket, which stays open
                continue
            # Both of uvicorn's protocols for HTTP have these attributes.
            request = connection.cycle
            if request is not None and request.response_complete:
                request = None
            known, since = self._seen.get(connection, (None, now))
            seen[connection] = (request, since if known is request else now)
            limit = HEADERS_S if request is None else self._answer_s
            if now - seen[connection][1] > limit:
                connection.transport.abort()
        self._seen = seen

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop. Requests that have arrived may be answered meanwhile; the others are closed."""
        closing = asyncio.create_task(self._close_all())
        await super().shutdown(sockets)
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing

    async def _close_all(self) -> None:
        """Close the connections that wait for their client, and later all: the requests then learn
        that their client is gone, before uvicorn cancels them."""
        await asyncio.sleep(STALLED_S)
        for connection in list(self.server_state.connections):
            request = getattr(connection, "cycle", None)
            if request is None or request.more_body or request.response_started:
                connection.transport.abort()
        await asyncio.sleep(GRACE_S - 2 * STALLED_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _without_gone_clients(app: Any) -> Any:
    """Return the application, which does not fail when a client has closed its connection before
    its answers to several requests at once were sent: uvicorn then writes to the closed one, and
    uvloop raises an error."""

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            try:
                await send(message)
            except RuntimeError as error:
                if "handler is closed" not in str(error):
                    raise
                send.__self__.disconnected = True  # the request as uvicorn sees it

        await app(scope, receive, sent if scope["type"] == "http" else send)

    return answering


def is_below(path: str, folder: str | None) -> bool:
    """Return whether a path is ``folder`` or below it; False without a folder."""
    return folder is not None and (path == folder or path.startswith(f"{folder}/"))
