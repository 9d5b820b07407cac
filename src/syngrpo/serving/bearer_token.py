"""Who may talk to the service: those on the same host, and those who know the token."""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path

from syngrpo.sample import InputError


def read_token(path: Path | None) -> str | None:
    """The token in a file, or None without a file. Raises InputError when there is none in it."""
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"token file {path} cannot be read ({error}); check the path") from None
    if not token or not token.isprintable() or " " in token:
        raise InputError(f"token file {path} holds no token; write one line without blanks")
    return token


def refuse_open_door(host: str, token: str | None) -> None:
    """Raises InputError for an address that other hosts can reach when there is no token."""
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host} can be reached from other hosts; give a --token-file, "
            "or stay on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this host can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, wherever it leads
        return False


def refusal(token: str, header: bytes | None) -> tuple[int, str] | None:
    """Status and message for an ``Authorization`` header, None when it is right. The comparison
    takes the same time wherever the first difference is."""
    scheme, _, given = (header or b"").partition(b" ")
    if scheme.lower() != b"bearer" or not given.strip():
        return 401, "a token is needed; send it as Authorization: Bearer TOKEN"
    if not hmac.compare_digest(given.strip(), token.encode("ascii")):
        return 403, "the token is wrong"
    return None
