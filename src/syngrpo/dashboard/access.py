"""Decides who may see the dashboard: pages, pictures and websockets alike.

With a token, a browser shows it once in the address (``?token=…``) and then holds it in a cookie; a
program sends ``Authorization: Bearer TOKEN``. The name of the cookie differs from token to token,
because a browser sends the cookies of a host to all of its ports.

Without a token only this host can reach the server, and a page of another site that the browser has
open must not be able to read it either: so the request must name this host (no DNS rebinding) and
come from a page of this server.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from syngrpo.serving.bearer_token import is_loopback
from syngrpo.serving.http_server import is_below

COOKIE = "syngrpo_dashboard_"
"""The name of the cookie begins with this."""
PARAMETER = "token"
NEEDED = "A token is needed: open the address that syngrpo dashboard printed.\n"
ELSEWHERE = "This dashboard answers only to pages of its own.\n"


class Access:
    """ASGI middleware that lets nobody through without the ``token``; with None, only requests
    that this host sends to itself. It guards the paths below ``at``, "" for all."""

    def __init__(self, app: ASGIApp, token: str | None, at: str = "") -> None:
        self._app = app
        self._token = token
        self._at = at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not is_below(scope["path"], self._at):
            await self._app(scope, receive, send)
            return
        answer = self._answer(scope)
        if answer is None:
            await _answered(self._app, scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason="a token is needed")(scope, receive, send)
        else:
            await answer(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """Return the answer to a request that does not get through, None for one that does."""
        headers = Headers(scope=scope)
        if not _of_this_site(headers):
            return PlainTextResponse(ELSEWHERE, 403)
        if self._token is None:
            host = _parts(f"//{headers.get('host', '')}")[0]
            return None if is_loopback(host) else PlainTextResponse(ELSEWHERE, 403)
        if scope["type"] == "http":
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if _equal(dict(query).get(PARAMETER, ""), self._token):
                return self._welcome(scope, [pair for pair in query if pair[0] != PARAMETER])
        if self._known(headers):
            return None
        return PlainTextResponse(NEEDED, 401, headers={"WWW-Authenticate": "Bearer"})

    def _known(self, headers: Headers) -> bool:
        assert self._token is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(given.strip(), self._token):
            return True
        try:
            held = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(self._token))
        except CookieError:
            return False
        return held is not None and _equal(held.value, _fingerprint(self._token))

    def _welcome(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        """Hand out the cookie, and send the browser to the address without the token, so that the
        token is in no history and in no link."""
        assert self._token is not None
        path = "/" + scope["path"].lstrip("/")  # two slashes would begin the name of a host
        answer = RedirectResponse(path + (f"?{urlencode(query)}" if query else ""), 303)
        name, value = _cookie_name(self._token), _fingerprint(self._token)
        answer.set_cookie(name, value, httponly=True, samesite="lax")
        return answer


def _of_this_site(headers: Headers) -> bool:
    """Return whether a request comes from a page of this server, or from no page at all."""
    origin = headers.get("origin")
    return origin is None or _parts(origin)[1] == headers.get("host")


def _parts(address: str) -> tuple[str, str]:
    """Return the host of an address, and the host with its port as they stand there; "" for what is
    no address."""
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.netloc
    except ValueError:  # such as brackets that are not closed
        return "", ""


def _cookie_name(token: str) -> str:
    return COOKIE + _fingerprint(f"name of {token}")[:8]


def _fingerprint(token: str) -> str:
    """Return what the cookie holds: it opens this dashboard and does not tell the token."""
    return hashlib.sha256(f"syngrpo dashboard {token}".encode()).hexdigest()


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


async def _answered(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the application answer. Somebody who leaves before the answer is no error: Starlette's
    middleware then raises this one, for which the server would write a traceback."""
    left = False

    async def received() -> Message:
        nonlocal left
        message = await receive()
        left = left or message["type"] == "http.disconnect"
        return message

    try:
        await app(scope, received, send)
    except RuntimeError as error:
        if not left or str(error) != "No response returned.":
            raise
