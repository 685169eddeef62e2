"""The pages for people: made in worker threads, from what is published, when somebody asks for them."""

from __future__ import annotations

import gzip
import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Protocol

import attrs
import trio
from jinja2 import Environment, PackageLoader, StrictUndefined

from klag_trio.domain.lag import LagReport
from klag_trio.exposition.families import FAMILIES
from klag_trio.exposition.pages import words
from klag_trio.exposition.pages.group import group_page
from klag_trio.exposition.pages.groups import groups_page
from klag_trio.exposition.pages.query import BadRequest, read_query
from klag_trio.exposition.pages.state import Published
from klag_trio.exposition.pages.summary import GroupSummary, summaries

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HTML = "text/html; charset=utf-8"
ASSETS = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_TITLES = {400: "That is not a page", 404: "Not found", 503: "No numbers now"}
_AT_ONCE = 2
"""Pages that are made at a time: so many slow each other and the cycles down; the others wait."""
_REFRESH = (2.0, 60.0)
"""Seconds between two looks of a page that refreshes itself: a poll interval, within these bounds."""


class Source(Protocol):
    """What the pages ask of the board; the call is instant."""

    def published(self) -> Published:
        """Give what there is to show."""


@attrs.frozen
class Page:
    """A page, ready to be sent."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str]


@attrs.frozen
class Asset:
    """A file that the pages load."""

    content_type: str
    body: bytes
    digest: str


class Pages:
    """Makes pages, each when it is asked for; the first request compiles its template."""

    def __init__(self, source: Source) -> None:
        self.assets = _assets()
        """The files that the pages load, by name."""
        self._source = source
        self._environment = _environment(self.assets)
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._summaries: dict[str, tuple[weakref.ref[LagReport], Sequence[GroupSummary]]] = {}

    async def groups(self, given: Mapping[str, str], *, gzipped: bool) -> Page:
        """The page at /, with its filters, order and number."""

        def view(published: Published) -> tuple[str, Mapping[str, object]]:
            query = read_query(given, [cluster.name for cluster in published.clusters])
            return "groups.html", {"page": groups_page(published, query, self._summarized(published))}

        return await self._make(view, gzipped)

    async def group(self, given: Mapping[str, str], *, gzipped: bool) -> Page:
        """The page of one group."""
        return await self._make(
            lambda published: ("group.html", {"page": group_page(published, given)}), gzipped
        )

    async def help(self, *, gzipped: bool) -> Page:
        """What the numbers mean, and what else is served."""
        return await self._make(lambda _: ("help.html", {"families": FAMILIES, "here": "help"}), gzipped)

    async def unknown(self, path: str, *, gzipped: bool) -> Page:
        """Say that there is no such page."""

        def view(_: Published) -> tuple[str, Mapping[str, object]]:
            raise BadRequest(404, f"There is no page {path}", "here.")

        return await self._make(view, gzipped)

    async def _make(
        self, view: Callable[[Published], tuple[str, Mapping[str, object]]], gzipped: bool
    ) -> Page:
        published = self._source.published()

        def make() -> Page:
            status = 200
            try:
                template, values = view(published)
            except BadRequest as problem:
                status = problem.status
                template = "problem.html"
                values = {"title": _TITLES[status], "wrong": problem.wrong, "hint": problem.hint}
            html = self._environment.get_template(template).render(
                values,
                version=published.version,
                now=published.now,
                leader=published.leader,
                refresh=_refresh(published.poll_interval, status),
            )
            body = html.encode("utf-8", "replace")
            headers = {
                "Content-Security-Policy": _POLICY,
                "Referrer-Policy": "same-origin",
                "Vary": "Accept-Encoding",
            }
            if gzipped:
                body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
            return Page(status, body, _HTML, headers)

        # Left alone where we stop.
        return await trio.to_thread.run_sync(make, limiter=self._limiter, abandon_on_cancel=True)

    def _summarized(self, published: Published) -> Mapping[str, Sequence[GroupSummary]]:
        """The groups of every cluster that is published, summed up once a report."""
        found: dict[str, Sequence[GroupSummary]] = {}
        if not published.leader:
            return found
        for cluster in published.clusters:
            report = cluster.report
            if report is None:
                continue
            known = self._summaries.get(cluster.name)
            if known is None or known[0]() is not report:
                # Not the report itself: a page that is not asked for again must not keep it.
                known = weakref.ref(report), summaries(cluster.name, report)
                self._summaries[cluster.name] = known
            found[cluster.name] = known[1]
        return found


def _assets() -> Mapping[str, Asset]:
    folder = files("klag_trio.web") / "assets"
    found = {}
    for name, content_type in ASSETS.items():
        body = (folder / name).read_bytes()
        found[name] = Asset(content_type, body, hashlib.sha256(body).hexdigest()[:12])
    return found


def _environment(assets: Mapping[str, Asset]) -> Environment:
    environment = Environment(
        loader=PackageLoader("klag_trio.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: Mapping[str, Callable[..., str]] = {
        "clock": words.clock,
        "count": words.count,
        "machine_time": words.machine_time,
        "many": words.many,
        "time_of_day": lambda at: words.clock(at)[11:19],
    }
    environment.filters.update(filters)
    environment.globals["assets"] = {name: asset.digest for name, asset in assets.items()}
    environment.globals["here"] = ""
    return environment


def _refresh(poll_interval: float, status: int) -> str:
    """Seconds until a page looks again; what is wrong by its address does not get better by itself."""
    least, most = _REFRESH
    return "" if status == 400 else f"{min(max(poll_interval, least), most):g}"
