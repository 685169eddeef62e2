"""What machines ask for, in front of the app that makes pages for people.

/metrics and the probes are none of that app's routes: what Quart does around a route takes longer than all
else in a scrape but the copying of its bytes, and who looks at no page need not have it in memory.

Every answer is made of what is there already: no request waits for Kafka, none for metrics to be rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from klag_trio.exposition.body import Body
from klag_trio.exposition.pages.state import Published
from klag_trio.services.answers import JSON, answer
from klag_trio.services.connection import SHARED_BODY
from klag_trio.services.negotiation import wants_gzip, wants_openmetrics

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_METHODS = ("GET", "HEAD")


class Publication(Protocol):
    """What the web asks of the board; each call is instant."""

    def metrics(self, *, openmetrics: bool) -> Body:
        """Give the newest bytes in one of the two formats."""

    def unready(self) -> str | None:
        """Give None while a cluster has fresh metrics, else the reason in one line."""

    def is_leader(self) -> bool:
        """Whether this replica publishes lag; true where there is no election."""

    def published(self) -> Published:
        """Give what there is to show to people."""


def make_app(publication: Publication) -> ASGIFramework:
    """Make the app: /metrics, /health, /ready, /leader and pages for people; GET and HEAD only everywhere."""

    def load_pages() -> ASGIFramework:
        # Only here: eight megabytes that nobody pays for who looks at no page.
        from klag_trio.services.web import make_pages_app

        return make_pages_app(publication)

    return Front(publication, load_pages)


class Front:
    """An ASGI app for HTTP; `load_pages` makes the one for anything else, once that is wanted."""

    def __init__(self, published: Publication, load_pages: Callable[[], ASGIFramework]) -> None:
        self._published = published
        self._load_pages = load_pages
        self._pages: ASGIFramework | None = None
        self._loading = trio.Lock()
        # One of its own: the threads that all share may all wait for Kafka.
        self._threads = trio.CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        asked = cast(HTTPScope, scope)
        # As Quart takes it: a proxy that joins two paths may leave two slashes.
        path = "/" + asked["path"].lstrip("/")
        # The method as it came: they are case-sensitive.
        if asked["method"] not in _METHODS:
            await answer(send, 405, "method not allowed", (b"allow", ", ".join(_METHODS).encode()))
        elif path == "/metrics":
            await self._scrape(asked, send)
        elif path == "/health":
            await answer(send, 200, "ok")
        elif path == "/ready":
            reason = self._published.unready()
            await answer(send, 200 if reason is None else 503, "ready" if reason is None else reason)
        elif path == "/leader":
            word = "true" if self._published.is_leader() else "false"
            await answer(send, 200, f'{{"is_leader": {word}}}', content_type=JSON)
        else:
            pages = await self._loaded_pages()
            await pages(scope, receive, send)

    async def _loaded_pages(self) -> ASGIFramework:
        async with self._loading:
            if self._pages is None:
                self._pages = await trio.to_thread.run_sync(self._load_pages, limiter=self._threads)
            return self._pages

    async def _scrape(self, scope: HTTPScope, send: ASGISendCallable) -> None:
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
