"""The trainer's HTTP connection to a rollout server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from syngrpo.sample import InputError
from syngrpo.serving.http_client import HttpClient, ServerAddress

STATE_S, ANSWER_S = 30.0, 3600.0
"""Timeouts in seconds: an answer may be long in the making."""
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]
"""So that a host that vanishes is noticed within 75 s, however long an answer may take."""
LATER = (400, 408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be others later; 400 is a stream that broke off."""


class Missing(Exception):  # noqa: N818
    """The server has other weights than those that were asked for."""


@dataclass(frozen=True)
class State:
    """What a server says of itself: ``max_length`` tokens of prompt and response; ``version`` of
    its weights, None when it has none."""

    dtype: str
    max_length: int
    version: str | None


class Connection:
    """Every method raises Unavailable when the server does not answer, and InputError, in one line,
    when it refuses."""

    def __init__(self, server: ServerAddress) -> None:
        self._http = HttpClient(
            server,
            "rollout server",
            key="rollout.server",
            check="rollout.server",
            answer_s=ANSWER_S,
            later=LATER,
            refusals={409: Missing},
            transport=httpx.HTTPTransport(socket_options=KEEP_ALIVE),
        )
        self.url = self._http.url

    def state(self) -> State:
        answer = self._http.request("GET", "/v1/state", timeout=httpx.Timeout(STATE_S))
        try:
            told = answer.json()
            return State(str(told["dtype"]), int(told["max_length"]), told["version"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.url} is no rollout server; check rollout.server") from None

    def send_weights(self, version: str, stream: Iterator[bytes]) -> None:
        """From now on the server samples by these."""
        self._http.request("PUT", f"/v1/weights/{version}", content=stream)

    def roll_out(self, request: bytes) -> bytes:
        """Raises Missing where the server has other weights."""
        return self._http.request("POST", "/v1/rollouts", content=request).content

    def close(self) -> None:
        self._http.close()
