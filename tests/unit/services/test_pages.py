"""The pages as a client gets them."""

from __future__ import annotations

import gzip
import re
import threading
from html.parser import HTMLParser
from types import ModuleType
from typing import Any

import attrs
import jinja2
import pytest
from quart_trio.testing import TrioClient
from tests.unit.exposition.pages.published import (
    HOSTILE,
    NOW,
    REFUSED,
    cluster,
    small_report,
)
from tests.unit.services.asgi import client_of
from tests.unit.services.large_pages import ADDRESSES as LARGE_ADDRESSES
from tests.unit.services.large_pages import large_cluster
from tests.unit.services.publication import FakePublication, small_publication

from klag_trio.web import pages
from klag_trio.web.app import make_app

ADDRESSES = ["/", "/group?cluster=main&group=billing", "/help", "/nope"]
HTML = {"Accept": "text/html,*/*;q=0.8"}


class Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, given in self.found if (value := given.get(name)) is not None]


@pytest.fixture
def publication() -> FakePublication:
    publication = small_publication()
    publication.states = [cluster("main", small_report())]
    return publication


@pytest.fixture
def client(publication: FakePublication) -> TrioClient:
    return client_of(make_app(publication))


async def fetch(client: TrioClient, address: str) -> tuple[int, str, Any]:
    response = await client.get(address, headers=HTML)
    return response.status_code, (await response.get_data(as_text=False)).decode(), response.headers


async def test_the_list_shows_clusters_and_groups(client: TrioClient) -> None:
    status, html, headers = await fetch(client, "/")
    assert 200 == status
    assert "text/html; charset=utf-8" == headers["Content-Type"]
    assert "no-store" == headers["Cache-Control"]
    text = Elements(html).text
    for said in ("main", "billing", "lossy", "2 min 5 s", "361", "Stable", "5 groups"):
        assert said in text


async def test_a_group_has_a_page_of_its_own_that_the_list_links_to(client: TrioClient) -> None:
    _, html, _ = await fetch(client, "/")
    links = [link for link in Elements(html).values("href") if link.startswith("group?")]
    assert 5 == len(links)
    for link in links:
        status, page, _ = await fetch(client, f"/{link}")
        assert 200 == status
        assert "<h1" in page


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_links_to_what_else_is_served(client: TrioClient, address: str) -> None:
    links = set(Elements((await fetch(client, address))[1]).values("href"))
    assert {"metrics", "ready", "leader", "help", "."} <= links


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_has_no_style_and_no_script_of_its_own(client: TrioClient, address: str) -> None:
    _, html, headers = await fetch(client, address)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert ("'none'", "'self'", "'self'") == (
        policy["default-src"], policy["script-src"], policy["style-src"]
    )  # fmt: skip
    assert "unsafe" not in headers["Content-Security-Policy"]
    elements = Elements(html)
    assert "style" not in {tag for tag, _ in elements.found}
    assert [] == elements.values("style")
    assert [] == [name for _, given in elements.found for name in given if name.startswith("on")]
    (script,) = [given for tag, given in elements.found if tag == "script"]
    assert str(script["src"]).startswith("page.js?v=")
    assert not re.findall(r"https?:", html)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_what_a_page_loads_is_served_beside_it(
    client: TrioClient, name: str, content_type: str
) -> None:
    _, html, _ = await fetch(client, "/")
    elements = Elements(html)
    (address,) = {a for a in elements.values("href") + elements.values("src") if a.startswith(name)}
    response = await client.get(f"/{address}")
    assert (200, content_type, "nosniff") == (
        response.status_code, response.headers["Content-Type"], response.headers["X-Content-Type-Options"]
    )  # fmt: skip
    assert "max-age" in response.headers["Cache-Control"]
    assert await response.get_data(as_text=False)


@pytest.mark.parametrize(
    "hostile", [HOSTILE, "<b>", "&amp;", "' onmouseover='x", "a\x00b", "\ud800", "{{ 7*7 }}"]
)
async def test_whatever_comes_from_outside_is_only_text(
    client: TrioClient, publication: FakePublication, hostile: str
) -> None:
    found = small_report()
    billing = found.groups["billing"]
    member = attrs.evolve(billing.partitions[1].member, client_id=hostile, consumer_id=hostile, host=hostile)
    rows = tuple(attrs.evolve(row, topic=hostile, member=member) for row in billing.partitions)
    groups = {hostile: attrs.evolve(billing, group=hostile, partitions=rows)}
    fault = attrs.evolve(REFUSED, message=hostile, code=hostile)
    publication.states = [
        cluster(hostile, attrs.evolve(found, groups=groups), faults=[(hostile, hostile, fault)])
    ]
    clean = {"html", "head", "meta", "title", "link", "script", "body", "a", "header", "svg", "rect", "nav"}
    for address in ("/", "/nope/" + "%3Cscript%3E", "/?find=%22%3E%3Cscript%3E", "/?sort=%3Cscript%3E"):
        _, html, _ = await fetch(client, address)
        scripts = [given for tag, given in Elements(html).found if tag == "script"]
        assert 1 == len(scripts)
        assert "<b>" not in html
        assert "onmouseover" not in {name for _, given in Elements(html).found for name in given}
        assert clean <= {tag for tag, _ in Elements(html).found}
    _, html, _ = await fetch(client, "/")
    link = next(link for link in Elements(html).values("href") if link.startswith("group?"))
    status, html, _ = await fetch(client, f"/{link}")
    scripts = [given for tag, given in Elements(html).found if tag == "script"]
    assert 1 == len(scripts)
    assert "49" not in re.sub(r"\d{3,}|[\d,]{4,}", "", Elements(html).text)
    # A lone surrogate, which no broker sends, cannot come back in a link.
    assert (404 if hostile == "\ud800" else 200) == status


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/nope", 404, "There is no page /nope"),
        ("/group", 400, "needs the parameters cluster and group"),
        ("/group?cluster=main&group=nobody", 404, "There is no group 'nobody' in cluster 'main'."),
        ("/group?cluster=never&group=x", 503, "It has not answered yet. topics: connection refused"),
        ("/?page=99", 404, "There is no page 99. The last one is page 1."),
        ("/?cluster=nope", 404, "There is 'main', 'never'."),
        ("/?sort=size", 400, "It is one of group, state, lag, time, margin, lost."),
        ("/?find=nobody", 200, "No group matches these filters."),
        ("/?cluster=never", 200, "There are no numbers to show now; the clusters above say why."),
    ],
)
async def test_what_cannot_be_shown_is_said_plainly(
    client: TrioClient, publication: FakePublication, address: str, status: int, said: str
) -> None:
    never = cluster("never", None, failing=True, faults=[("topics", "", REFUSED)])
    publication.states = [*publication.states, never]
    found, html, _ = await fetch(client, address)
    assert status == found
    assert said in " ".join(Elements(html).text.split())


async def test_who_asks_for_no_html_gets_a_line_for_an_unknown_path(client: TrioClient) -> None:
    response = await client.get("/nope", headers={"Accept": "application/json"})
    assert (404, b"not found") == (response.status_code, await response.get_data(as_text=False))


async def test_a_standby_says_so_and_shows_no_group(client: TrioClient, publication: FakePublication) -> None:
    publication.leader = False
    status, html, _ = await fetch(client, "/")
    assert 200 == status
    assert "This replica is on standby" in html
    assert "billing" not in html
    status, html, _ = await fetch(client, "/group?cluster=main&group=billing")
    assert 503 == status
    assert "on standby" in html


async def test_a_page_refreshes_as_often_as_there_are_cycles(client: TrioClient) -> None:
    assert 'data-refresh="30"' in (await fetch(client, "/"))[1]
    # An address that is wrong does not get right by itself.
    assert 'data-refresh=""' in (await fetch(client, "/?sort=x"))[1]


async def test_a_page_is_compressed_where_that_is_allowed(client: TrioClient) -> None:
    plain = (await fetch(client, "/"))[1]
    response = await client.get("/", headers={"Accept-Encoding": "gzip"})
    assert "gzip" == response.headers["Content-Encoding"]
    assert "Accept-Encoding" == response.headers["Vary"]
    assert plain == gzip.decompress(await response.get_data(as_text=False)).decode()


async def test_a_new_report_is_shown_at_once(client: TrioClient, publication: FakePublication) -> None:
    await client.get("/")
    publication.states = [cluster("main", small_report(NOW + 30, behind=1000))]
    assert "1,110" in Elements((await fetch(client, "/"))[1]).text


# At the size of a large cluster


@pytest.fixture(scope="module")
def large() -> FakePublication:
    return large_cluster(minutes=2)


async def test_a_long_list_says_which_part_is_shown(large: FakePublication) -> None:
    client = client_of(make_app(large))
    text = Elements((await fetch(client, "/?page=80"))[1]).text
    assert "3,951–4,000 of 4,001 groups" in text  # noqa: RUF001
    _, html, _ = await fetch(client, "/group?cluster=wide&group=wide&page=10")
    assert "901–1,000 of 1,000 partitions" in Elements(html).text  # noqa: RUF001


@pytest.mark.parametrize("address", LARGE_ADDRESSES)
async def test_of_4000_groups_a_page_has_no_more_than_a_reader_takes_in(
    large: FakePublication, address: str
) -> None:
    response = await client_of(make_app(large)).get(address, headers={"Accept-Encoding": "gzip"})
    assert 200 == response.status_code
    assert len(await response.get_data(as_text=False)) < 60_000


async def test_the_event_loop_makes_no_page(
    client: TrioClient, publication: FakePublication, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: list[tuple[str, int]] = []

    def watch(where: ModuleType | type, name: str) -> None:
        made = getattr(where, name)

        def note(*given: Any, **options: Any) -> Any:
            makers.append((name, threading.get_ident()))
            return made(*given, **options)

        monkeypatch.setattr(where, name, note)

    for name in ("summaries", "groups_page", "group_page"):
        watch(pages, name)
    watch(jinja2.Template, "render")
    watch(gzip, "compress")
    for address in ("/", "/group?cluster=main&group=billing"):
        response = await client.get(address, headers={**HTML, "Accept-Encoding": "gzip"})
        assert 200 == response.status_code
    assert {"summaries", "groups_page", "group_page", "render", "compress"} == {name for name, _ in makers}
    assert threading.get_ident() not in {maker for _, maker in makers}
