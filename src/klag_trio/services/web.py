"""The quart-trio app: pages for people, made of what is published."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import NotFound

from klag_trio.services.negotiation import wants_gzip
from klag_trio.services.pages import Answer, Pages, Source

_PLAIN = "text/plain; charset=utf-8"


def make_pages_app(source: Source) -> QuartTrio:
    """Make the app: the pages, what they load, and what there is to say of any other path."""
    app = QuartTrio(__name__, static_folder=None)
    # How long a client may take is the server's business: it sees whether the client makes progress.
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    pages = Pages(source)

    # Every function here is async: Quart would run another in a thread, and threads may all wait for Kafka.
    @app.get("/")
    async def groups() -> Response:
        return _page(await pages.groups(request.args, gzipped=_takes_gzip()))

    @app.get("/group")
    async def group() -> Response:
        return _page(await pages.group(request.args, gzipped=_takes_gzip()))

    @app.get("/help")
    async def explanations() -> Response:
        return _page(await pages.help(gzipped=_takes_gzip()))

    @app.get("/<any('page.css', 'page.js', 'icon.svg'):name>")
    async def asset(name: str) -> Response:
        found = pages.assets[name]
        # The pages ask for each version by an address of its own.
        headers = {"Cache-Control": "private, max-age=86400"}
        return _answer(found.body, content_type=found.content_type, headers=headers)

    @app.errorhandler(NotFound)
    async def unknown_path(_: NotFound) -> Response:
        if "text/html" in request.headers.get("Accept", ""):
            return _page(await pages.unknown(request.path, gzipped=_takes_gzip()))
        return _answer("not found", status=404)

    return app


def _answer(
    body: str | bytes, *, status: int = 200, content_type: str = _PLAIN, headers: dict[str, str] | None = None
) -> Response:
    # No stale probe answer from a proxy, and no guessing at the type of what carries names from Kafka.
    return Response(
        body,
        status=status,
        content_type=content_type,
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
    )


def _takes_gzip() -> bool:
    return wants_gzip(", ".join(request.headers.getlist("Accept-Encoding")))


def _page(answer: Answer) -> Response:
    return _answer(
        answer.body, status=answer.status, content_type=answer.content_type, headers=dict(answer.headers)
    )
