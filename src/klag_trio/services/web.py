"""The quart-trio app: what is published, over HTTP.

Every answer reads what is there already: no request waits for Kafka, renders metrics or compresses them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, cast

from hypercorn.typing import HTTPScope
from quart import Response, render_template, request
from quart_trio import QuartTrio
from werkzeug.exceptions import NotFound

from klag_trio.exposition.body import Body
from klag_trio.services.scrape import ScrapeApp

_PLAIN = "text/plain; charset=utf-8"
_METHODS = ("GET", "HEAD")

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: .4rem .8rem; text-align: left; vertical-align: top; }
.number { font-variant-numeric: tabular-nums; text-align: right; }
.down { color: #c22; font-weight: 600; }
:root { color-scheme: light dark; }
"""


class ClusterStatus(Protocol):
    """How one cluster is doing, for the page."""

    @property
    def name(self) -> str:
        """As configured."""

    @property
    def up(self) -> bool:
        """Whether its metrics are fresh."""

    @property
    def last_update(self) -> float | None:
        """Unix time of the last good cycle, None before the first."""

    @property
    def error(self) -> str | None:
        """What went wrong in the last cycle, in one line."""

    @property
    def groups(self) -> int:
        """Consumer groups reported on."""

    @property
    def partitions(self) -> int:
        """Topic partitions reported on."""

    @property
    def sum_lag(self) -> int:
        """Of all groups, in records."""


class Publication(Protocol):
    """What the web asks of the board; each call is instant."""

    def metrics(self, *, openmetrics: bool) -> Body:
        """Give the newest bytes in one of the two formats."""

    def unready(self) -> str | None:
        """Give None while a cluster has fresh metrics, else the reason in one line."""

    def is_leader(self) -> bool:
        """Whether this replica publishes lag; true where there is no election."""

    def clusters(self) -> Sequence[ClusterStatus]:
        """Give the clusters in the order of the configuration."""


def make_app(publication: Publication) -> QuartTrio:
    """Make the app: /metrics, /health, /ready, /leader and a page at /; GET and HEAD only everywhere."""
    app = QuartTrio(__name__, static_folder=None, template_folder="templates")
    # How long a client may take is the server's business: it sees whether the client makes progress.
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.jinja_env.filters["utc"] = _utc

    # Every function here is async: Quart would run another in a thread, and threads may all wait for Kafka.
    @app.before_request
    async def only_get_and_head() -> Response | None:
        # The method as it came: they are case-sensitive, and Quart's request shows it in capitals.
        if cast(HTTPScope, request.scope)["method"] in _METHODS:
            return None
        return _answer("method not allowed", status=405, headers={"Allow": ", ".join(_METHODS)})

    @app.errorhandler(NotFound)
    async def unknown_path(_: NotFound) -> Response:
        return _answer("not found", status=404)

    @app.get("/health")
    async def health() -> Response:
        return _answer("ok")

    @app.get("/ready")
    async def ready() -> Response:
        reason = publication.unready()
        return _answer("ready") if reason is None else _answer(reason, status=503)

    @app.get("/leader")
    async def leader() -> Response:
        word = "true" if publication.is_leader() else "false"
        return _answer(f'{{"is_leader": {word}}}', content_type="application/json")

    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    @app.get("/")
    async def page() -> Response:
        html = await render_template(
            "index.html",
            style=_STYLE,
            clusters=publication.clusters(),
            is_leader=publication.is_leader(),
            unready=publication.unready(),
        )
        return _answer(
            html, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy}
        )

    app.asgi_app = ScrapeApp(publication, app.asgi_app)  # type: ignore[method-assign]
    return app


def _answer(
    text: str, *, status: int = 200, content_type: str = _PLAIN, headers: dict[str, str] | None = None
) -> Response:
    # No stale probe answer from a proxy, and no guessing at the type of what carries names from Kafka.
    return Response(
        text,
        status=status,
        content_type=content_type,
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
    )


def _utc(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
