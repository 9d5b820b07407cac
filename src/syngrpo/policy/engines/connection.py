"""The trainer's HTTP connection to a rollout server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from syngrpo.sample import InputError
from syngrpo.synthesis.ports import Unavailable
from syngrpo.synthesis.settings import ServerAddress

CONNECT_S, STATE_S, ANSWER_S = 5.0, 30.0, 3600.0
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
        self.url = server.url.rstrip("/")
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                transport=httpx.HTTPTransport(socket_options=KEEP_ALIVE),
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(
                f"rollout.server {server.url}: {error}; write http://host:port"
            ) from None

    def state(self) -> State:
        answer = self._request("GET", "/v1/state", timeout=httpx.Timeout(STATE_S))
        try:
            told = answer.json()
            return State(str(told["dtype"]), int(told["max_length"]), told["version"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.url} is no rollout server; check rollout.server") from None

    def send_weights(self, version: str, stream: Iterator[bytes]) -> None:
        """From now on the server samples by these."""
        self._request("PUT", f"/v1/weights/{version}", content=stream)

    def roll_out(self, request: bytes) -> bytes:
        """Raises Missing where the server has other weights."""
        return self._request("POST", "/v1/rollouts", content=request).content

    def close(self) -> None:
        self._http.close()

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Unavailable(f"rollout server {self.url} does not answer ({reason})") from None
        if answer.is_success:
            return answer
        message = f"rollout server {self.url}: {_reason(answer)} (status {answer.status_code})"
        if answer.status_code == 409:
            raise Missing(message)
        raise (Unavailable if answer.status_code in LATER else InputError)(message)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return "an answer that is not a rollout server's; check rollout.server"
