"""Opens the socket that a server listens on, and writes its address as a URL."""

from __future__ import annotations

import ipaddress
import socket

from syngrpo.sample import InputError

GRACE_S = 5
"""Seconds that running requests may take after a server was told to stop."""
_WAITING = 128
"""Number of connections that the system keeps until the server accepts them."""


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that clients can connect to. Port 0 means any free port.

    Raises InputError when the address is in use or not one of this host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's algorithm (40 ms an answer) only on sockets that name the protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
        listener.bind((host, port))
        listener.listen(_WAITING)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise InputError(f"cannot listen on {host}:{port} ({reason}); choose another") from None
    return listener


def server_url(host: str, listener: socket.socket) -> str:
    """Return ``http://host:port`` of a server that listens on ``host``."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def local_url(host: str, listener: socket.socket) -> str:
    """Return the URL by which processes of this host reach a server that listens on ``host``.
    It differs from ``server_url`` when the server listens on all addresses (0.0.0.0 or ::)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return server_url(host, listener)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return server_url(host, listener)
