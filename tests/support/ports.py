"""Ports for processes that must know one before any of them listens on it."""

from __future__ import annotations

import socket

_RESERVED: list[socket.socket] = []


def reserved_port() -> int:
    """Return a free port that the system gives to nobody else until this process ends.

    It stays bound here without listening, so a server that sets SO_REUSEADDR, as torch's store
    does, can listen on it.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _RESERVED.append(holder)
    return int(holder.getsockname()[1])
