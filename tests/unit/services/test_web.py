from __future__ import annotations

import gzip

import pytest
from quart_trio.testing import TrioClient
from tests.unit.services.asgi import client_of
from tests.unit.services.publication import FakePublication, small_publication

from klag_trio.web.app import make_app

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PATHS = ["/", "/group", "/help", "/page.css", "/page.js", "/metrics", "/health", "/ready", "/leader"]


@pytest.fixture
def publication() -> FakePublication:
    return small_publication()


@pytest.fixture
def client(publication: FakePublication) -> TrioClient:
    return client_of(make_app(publication))


async def test_metrics_are_the_chunks_in_their_order(client: TrioClient) -> None:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert await response.get_data(as_text=False) == b"text 1\ntext 2\n"
    assert response.headers["Content-Type"] == TEXT
    assert response.headers["Content-Length"] == "14"
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    assert "Content-Encoding" not in response.headers


async def test_accept_chooses_openmetrics(client: TrioClient) -> None:
    response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert await response.get_data(as_text=False) == b"openmetrics 1\n# EOF\n"
    assert response.headers["Content-Type"] == OPENMETRICS


async def test_several_accept_lines_count_as_one(client: TrioClient) -> None:
    lines = [("Accept", "text/plain;q=0.1"), ("Accept", "application/openmetrics-text")]
    response = await client.get("/metrics", headers=lines)
    assert response.headers["Content-Type"] == OPENMETRICS


async def test_accept_encoding_chooses_gzip(client: TrioClient) -> None:
    response = await client.get("/metrics", headers={"Accept-Encoding": "gzip"})
    data = await response.get_data(as_text=False)
    assert gzip.decompress(data) == b"text 1\ntext 2\n"
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Content-Length"] == str(len(data))
    assert response.headers["Content-Type"] == TEXT
    assert response.headers["Vary"] == "Accept, Accept-Encoding"


async def test_gzip_can_be_forbidden(client: TrioClient) -> None:
    response = await client.get("/metrics", headers={"Accept-Encoding": "gzip;q=0, *"})
    assert await response.get_data(as_text=False) == b"text 1\ntext 2\n"
    assert "Content-Encoding" not in response.headers


async def test_metrics_change_when_the_board_does(client: TrioClient, publication: FakePublication) -> None:
    await client.get("/metrics")
    publication.text = publication.openmetrics
    response = await client.get("/metrics")
    assert await response.get_data(as_text=False) == b"openmetrics 1\n# EOF\n"


async def test_health_is_always_good(client: TrioClient, publication: FakePublication) -> None:
    publication.unready_because = "no cluster was reached yet"
    response = await client.get("/health")
    assert response.status_code == 200
    assert await response.get_data(as_text=False) == b"ok"


async def test_ready_says_why_not(client: TrioClient, publication: FakePublication) -> None:
    assert (await client.get("/ready")).status_code == 200
    publication.unready_because = "no cluster was reached yet"
    response = await client.get("/ready")
    assert response.status_code == 503
    assert await response.get_data(as_text=False) == b"no cluster was reached yet"


async def test_leader_is_json(client: TrioClient, publication: FakePublication) -> None:
    response = await client.get("/leader")
    assert await response.get_data(as_text=False) == b'{"is_leader": true}'
    assert response.headers["Content-Type"] == "application/json"
    publication.leader = False
    assert await (await client.get("/leader")).get_data(as_text=False) == b'{"is_leader": false}'


@pytest.mark.parametrize("path", ["/nope", "/metrics/", "/METRICS", "/static/x", "/health/../metrics"])
async def test_other_paths_are_unknown(client: TrioClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404
    assert (await client.head(path)).status_code == 404


@pytest.mark.parametrize("path", [*PATHS, "/nope"])
@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"])
async def test_other_methods_are_refused_on_every_path(client: TrioClient, method: str, path: str) -> None:
    response = await client.open(path, method=method)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"
