"""The middleware around the app: basic authentication, and the headers of every response."""

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

from klag_trio.web.passwords import Passwords, TooBusyError
from klag_trio.web.security import Security

_CHALLENGE = (b"www-authenticate", b'Basic realm="klag-trio", charset="UTF-8"')


class SecurityMiddleware:
    """Checks a user's password where users are configured, on every path, and adds the configured headers."""

    def __init__(self, app: ASGIFramework, security: Callable[[], Security], passwords: Passwords) -> None:
        """`security` returns what holds now; it is called for every request."""
        self._app = app
        self._security = security
        self._passwords = passwords

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one request."""
        security = self._security()
        if security.headers:
            send = _with_headers(send, security.headers)
        if security.users and scope["type"] == "http":
            try:
                authenticated = await self._authenticated(security.users, scope["headers"])
            except TooBusyError:
                await _respond(send, 503, b"too many passwords to check", (b"retry-after", b"1"))
                return
            if not authenticated:
                await _respond(send, 401, b"unauthorized", _CHALLENGE)
                return
        await self._app(scope, receive, send)

    async def _authenticated(self, users: Mapping[str, str], headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = next((value for name, value in headers if name.lower() == b"authorization"), b"")
        credentials = _credentials(given)
        return credentials is not None and await self._passwords.right(users, *credentials)


async def _respond(send: ASGISendCallable, status: int, text: bytes, header: tuple[bytes, bytes]) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        header,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": text, "more_body": False})


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
    ours = {name.lower().encode(): value.encode() for name, value in headers.items()}

    async def send_with_headers(message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            others = [header for header in message["headers"] if header[0].lower() not in ours]
            message = {**message, "headers": [*others, *ours.items()]}
        await send(message)

    return send_with_headers
