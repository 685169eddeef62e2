"""HTTP/1.1 without upgrades: hypercorn's protocol, which refuses what it and h11 would let through."""

from __future__ import annotations

import math
import re

import h11
import trio
from hypercorn.events import Closed
from hypercorn.protocol.events import Event
from hypercorn.protocol.h11 import H11Protocol

_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class Http1(H11Protocol):
    """The protocol of one connection; the docstring of `server` says what is upstream's."""

    @property
    def is_client_sending(self) -> bool:
        """Whether the client may be in the middle of a request."""
        return self.connection.their_state in (h11.SEND_BODY, h11.ERROR)

    async def stream_send(self, event: Event) -> None:
        """Send a part of a response, unless that is cancelled."""
        if trio.current_effective_deadline() > -math.inf:
            await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore a request to speak HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        path = _path_of(request)
        is_http1 = request.http_version.startswith(b"1.")
        if path is None or not is_http1 or _has_ambiguous_length(request):
            await self._send_error_response(400 if is_http1 else 505)
            await self.send(Closed())
            return
        headers = [
            (name, b"localhost" if name == b"host" else value)
            for name, value in request.headers
            if name != b"upgrade"
        ]
        # hypercorn would make it upper case, but "get" is not "GET" (RFC 9110, 9.1).
        method = request.method if request.method.isupper() else b"-" + request.method
        await super()._create_stream(
            h11.Request(method=method, target=path, headers=headers, http_version=request.http_version)
        )


def _has_ambiguous_length(request: h11.Request) -> bool:
    """Whether two headers say where the body ends, so that it may smuggle a request (RFC 9112, 6.1)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}


def _path_of(request: h11.Request) -> bytes | None:
    """Path and query of a target in one of the four forms of RFC 9112, 3.2; None for any other.

    A proxy that joins two paths may leave two slashes at its beginning.
    """
    target: bytes = request.target
    if absolute := _ABSOLUTE.match(target):
        path = target[absolute.end() :]
        target = path if path.startswith(b"/") else b"/" + path
    if target.startswith(b"/"):
        return b"/" + target.lstrip(b"/")
    if target == b"*" or request.method == b"CONNECT":
        return b"/*"
    return None
