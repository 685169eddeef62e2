"""The quart-trio app: metrics and probes for machines, pages for people, all made of what is published.

No request waits for Kafka, none for metrics to be rendered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import NotFound

from klag_trio.exposition.body import Body
from klag_trio.exposition.pages.state import Published
from klag_trio.web.negotiation import wants_gzip, wants_openmetrics
from klag_trio.web.pages import Page, Pages

PLAIN = "text/plain; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
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


def make_app(publication: Publication) -> QuartTrio:
    """Make the app: /metrics, /health, /ready, /leader, and pages with what they load."""
    app = _app()
    _add_probes(app, publication)
    _add_metrics(app, publication)
    _add_pages(app, Pages(publication))
    return app


def make_probes_app(publication: Publication) -> QuartTrio:
    """Make the app of a listener of the probes' own: /health and /ready, and nothing else."""
    app = _app()
    _add_probes(app, publication)

    @app.errorhandler(NotFound)
    async def unknown_path(_: NotFound) -> Response:
        return _text("not found", status=404)

    return app


def _app() -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    # How long a client may take is the server's business: it sees whether the client makes progress.
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.before_request(_allow_reading_only)
    app.after_request(_add_headers)
    return app


# Every function here is async: Quart would run another in a thread, and threads may all wait for Kafka.


async def _allow_reading_only() -> Response | None:
    if request.method in _METHODS:
        return None
    return _text("method not allowed", status=405, headers={"Allow": ", ".join(_METHODS)})


async def _add_headers(response: Response) -> Response:
    # No stale answer to a probe from a proxy, and no guessing at the type of what carries names from Kafka.
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _add_probes(app: QuartTrio, publication: Publication) -> None:
    @app.get("/health")
    async def health() -> Response:
        return _text("ok")

    @app.get("/ready")
    async def ready() -> Response:
        reason = publication.unready()
        return _text("ready") if reason is None else _text(reason, status=503)


def _add_metrics(app: QuartTrio, publication: Publication) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        openmetrics = wants_openmetrics(_header("Accept"))
        body = publication.metrics(openmetrics=openmetrics)
        headers = {"Vary": "Accept, Accept-Encoding"}
        content_type = OPENMETRICS if openmetrics else TEXT
        if wants_gzip(_header("Accept-Encoding")):
            headers["Content-Encoding"] = "gzip"
            return Response(body.gzipped, content_type=content_type, headers=headers)
        headers["Content-Length"] = str(body.length)
        return Response(_each(body.chunks), content_type=content_type, headers=headers)

    @app.get("/leader")
    async def leader() -> Response:
        word = "true" if publication.is_leader() else "false"
        return _text(f'{{"is_leader": {word}}}', content_type="application/json")


def _add_pages(app: QuartTrio, pages: Pages) -> None:
    @app.get("/")
    async def groups() -> Response:
        return _html(await pages.groups(request.args, gzipped=_takes_gzip()))

    @app.get("/group")
    async def group() -> Response:
        return _html(await pages.group(request.args, gzipped=_takes_gzip()))

    @app.get("/help")
    async def explanations() -> Response:
        return _html(await pages.help(gzipped=_takes_gzip()))

    @app.get("/<any('page.css', 'page.js', 'icon.svg'):name>")
    async def asset(name: str) -> Response:
        found = pages.assets[name]
        # The pages ask for each version by an address of its own.
        headers = {"Cache-Control": "private, max-age=86400"}
        return _text(found.body, content_type=found.content_type, headers=headers)

    @app.errorhandler(NotFound)
    async def unknown_path(_: NotFound) -> Response:
        if "text/html" in _header("Accept"):
            return _html(await pages.unknown(request.path, gzipped=_takes_gzip()))
        return _text("not found", status=404)


def _text(
    body: str | bytes,
    *,
    status: int = 200,
    content_type: str = PLAIN,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(body, status=status, content_type=content_type, headers=dict(headers or {}))


def _html(page: Page) -> Response:
    return _text(page.body, status=page.status, content_type=page.content_type, headers=page.headers)


def _header(name: str) -> str:
    """The values of all headers of that name, as one list."""
    return ", ".join(request.headers.getlist(name))


def _takes_gzip() -> bool:
    return wants_gzip(_header("Accept-Encoding"))


async def _each(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
