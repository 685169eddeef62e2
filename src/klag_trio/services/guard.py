"""ASGI apps in front of the app: who may ask, and what a listener answers at all."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping

from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)

from klag_trio.services.answers import answer
from klag_trio.services.passwords import Passwords, TooBusyError
from klag_trio.services.web_security import Security

PROBES = ("/health", "/ready")

_CHALLENGE = (b"www-authenticate", b'Basic realm="klag-trio", charset="UTF-8"')


class Guard:
    """Asks for a user's password where there are users, on every path, and adds the headers asked for."""

    def __init__(self, app: ASGIFramework, security: Callable[[], Security], passwords: Passwords) -> None:
        self._app = app
        self._security = security
        self._passwords = passwords

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        security = self._security()
        if security.headers:
            send = _with_headers(send, security.headers)
        if security.users and scope["type"] == "http":
            try:
                known = await self._known(security.users, scope["headers"])
            except TooBusyError:
                await answer(send, 503, "too many passwords to check", (b"retry-after", b"1"))
                return
            if not known:
                await answer(send, 401, "unauthorized", _CHALLENGE)
                return
        await self._app(scope, receive, send)

    async def _known(self, users: Mapping[str, str], headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = next((value for name, value in headers if name.lower() == b"authorization"), b"")
        credentials = _credentials(given)
        return credentials is not None and await self._passwords.right(users, *credentials)


class ProbesOnly:
    """What a listener for probes answers: /health and /ready, and nothing besides."""

    def __init__(self, app: ASGIFramework) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] not in PROBES:
            await answer(send, 404, "not found")
            return
        await self._app(scope, receive, send)


def _credentials(authorization: bytes) -> tuple[str, bytes] | None:
    """Name and password of an Authorization header (RFC 7617); None where it has none."""
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (name.decode("utf-8", "surrogateescape"), password) if colon else None


def _with_headers(send: ASGISendCallable, headers: Mapping[str, str]) -> ASGISendCallable:
    ours = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    names = {name for name, _ in ours}

    async def send_with_headers(message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            others = [header for header in message["headers"] if header[0].lower() not in names]
            message = {**message, "headers": [*others, *ours]}
        await send(message)

    return send_with_headers
