"""The bearer token of a server: reads it from a file, and checks the header of a request.

A server that only its own host can reach needs no token. Any other server must have one.
"""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path

from syngrpo.sample import InputError


def read_token(path: Path | None) -> str | None:
    """Return the token in a file, None without a file.

    Raises InputError when the file cannot be read or holds no token.
    """
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"token file {path} cannot be read ({error}); check the path") from None
    if not token or not token.isprintable() or " " in token:
        raise InputError(f"token file {path} holds no token; write one line without blanks")
    return token


def require_token_beyond_loopback(host: str, token: str | None) -> None:
    """Raise InputError when other hosts can reach the address and there is no token."""
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host} can be reached from other hosts; give a --token-file, "
            "or stay on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this host can reach the address. Return False for every name but
    ``localhost``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(token: str, header: bytes | None) -> tuple[int, str] | None:
    """Check the value of an ``Authorization`` header. Return the status and the message of the
    refusal, None when the token is right.

    The time of the comparison does not depend on where the first difference is.
    """
    scheme, _, given = (header or b"").partition(b" ")
    if scheme.lower() != b"bearer" or not given.strip():
        return 401, "a token is needed; send it as Authorization: Bearer TOKEN"
    if not hmac.compare_digest(given.strip(), token.encode("ascii")):
        return 403, "the token is wrong"
    return None
