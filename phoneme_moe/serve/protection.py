"""Who may ask, how much they may send, and what a browser may do with the answer.

Web pages of others can make a browser send requests to this machine. They are refused by the
header Origin, and pages that gave their own name to this machine's address by the header Host.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phoneme_moe.serve.documents import error
from phoneme_moe.serve.settings import Limits, ServerSettings

COOKIE = "phoneme_moe_token"
FREE_PATHS = ("/healthz",)
"""Paths that need no token: a container's health check has none."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: "
    "blob:; media-src blob: 'self'; connect-src 'self'; frame-src 'self'; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class Protection:
    """Checks host, origin and token, and adds headers to the answers (ASGI)."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce
        refusal = self._refusal(scope)
        if refusal is not None and scope["type"] == "websocket":
            # Closed before it is accepted, which the client sees as the status 403.
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", _POLICY.format(nonce=nonce))
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cross-origin-resource-policy"] = "same-origin"
                headers["cross-origin-opener-policy"] = "same-origin"
                headers.setdefault("cache-control", "no-store")
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.settings.answers_to(_host_name(host)):
            expected = self.settings.public_host or "localhost"
            return _refuse(403, f"host: found {host!r}, expected {expected}")
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in {"GET", "HEAD"}
        if changes and origin is not None and urlsplit(origin).netloc != host:
            return _refuse(403, "origin: pages of other servers may not use this one")
        if self.settings.token is None or scope["path"] in FREE_PATHS:
            return None
        return self._refusal_of_token(scope, headers, self.settings.token)

    def _refusal_of_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        given = [bearer, *([cookie.value] if cookie else [])]
        if any(_equal(one, token) for one in given):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["type"] == "http" and _equal(query, token):
            # The token leaves the address line, where others could read it.
            response = RedirectResponse(scope["path"], 303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return response
        refusal = _refuse(401, "token: expected it as Authorization: Bearer TOKEN, or /?token=")
        refusal.headers["www-authenticate"] = "Bearer"
        return refusal


class BodyLimit:
    """Bounds the size of each request, and of all that are being read (ASGI)."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self._in_all = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and counts its bytes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        most = self.limits.upload_bytes
        if length.isdigit() and int(length) > most:
            await _too_large(most)(scope, receive, send)
            return
        read = 0
        begun = False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            size = len(message.get("body", b""))
            read += size
            self._in_all += size
            if read > most or self._in_all > self.limits.upload_bytes_in_all:
                raise _BodyError(read > most)
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _BodyError as refused:
            if begun:
                raise
            await (_too_large(most) if refused.is_large else _busy())(scope, receive, send)
        finally:
            self._in_all -= read


class _BodyError(Exception):
    """A body is too large, or all bodies together are."""

    def __init__(self, is_large: bool) -> None:
        super().__init__(is_large)
        self.is_large = is_large


def _too_large(most: int) -> Response:
    return _refuse(413, f"request: larger than {most / 1e6:g} MB")


def _busy() -> Response:
    response = _refuse(429, "the server reads too many uploads; try again later")
    response.headers["retry-after"] = "5"
    return response


def _refuse(status: int, message: str) -> Response:
    return JSONResponse(error(message), status)


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _host_name(host: str) -> str:
    """A header Host without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
