"""GET and HEAD of /metrics, in front of the app that answers everything else.

Not one of the app's own routes, since what Quart does around a route takes longer than all else in a scrape
but the copying of its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, cast

from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

from klag_trio.exposition.body import Body
from klag_trio.services.connection import SHARED_BODY
from klag_trio.services.negotiation import wants_gzip, wants_openmetrics

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


class Metrics(Protocol):
    """What a scrape asks of the board; the call is instant."""

    def metrics(self, *, openmetrics: bool) -> Body:
        """Give the newest bytes in one of the two formats."""


class ScrapeApp:
    """An ASGI app: scrapes from what is published, and `other` for any other request."""

    def __init__(self, published: Metrics, other: ASGIFramework) -> None:
        self._published = published
        self._other = other

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != "/metrics" or scope["method"] not in ("GET", "HEAD"):
            await self._other(scope, receive, send)
            return
        openmetrics = wants_openmetrics(_header(scope["headers"], b"accept"))
        gzip = wants_gzip(_header(scope["headers"], b"accept-encoding"))
        body = self._published.metrics(openmetrics=openmetrics)
        headers = [
            (b"content-type", OPENMETRICS if openmetrics else TEXT),
            (b"content-length", b"%d" % (len(body.gzipped) if gzip else body.length)),
            (b"vary", b"Accept, Accept-Encoding"),
        ]
        if gzip:
            headers.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
        chunks = (body.gzipped,) if gzip else body.chunks
        if scope["method"] == "HEAD":
            chunks = ()
        elif SHARED_BODY in scope["extensions"]:
            await send(cast(Any, {"type": SHARED_BODY, "chunks": chunks}))
            return
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The values of all headers of that name, as one list."""
    return ", ".join(value.decode("latin-1") for key, value in headers if key.lower() == name)
