"""What the SDK's exporter over HTTP makes of answers that are none of OTLP, and of the environment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import requests
import trio
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from tests.unit.otlp.collectors import Collector, collecting
from tests.unit.otlp.test_exporter import PART, part_of, silence

from klag_trio.config import Exporter as ExporterConfig
from klag_trio.config import Otel
from klag_trio.otlp.exporter import Exporter, ExportError
from klag_trio.otlp.session import Session
from klag_trio.otlp.settings import Protocol, read_settings

__all__ = ["silence"]

MIB = 1 << 20


@attrs.define
class Server:
    """Answers with `head` and so many bytes after it."""

    head: bytes
    length: int = 0
    port: int = 0
    connections: int = 0
    received: bytes = b""

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            async for data in stream:
                self.received += data
                if b"\r\n\r\n" in self.received:
                    break
            await stream.send_all(self.head)
            for _ in range(0, self.length, MIB):
                await stream.send_all(b"." * MIB)
            async for _ in stream:
                pass
        except trio.BrokenResourceError:
            pass  # it need not read all


@asynccontextmanager
async def answering(head: bytes, length: int = 0) -> AsyncIterator[Server]:
    server = Server(head, length)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


async def refused(endpoint: str, protocol: Protocol = "http/protobuf", milliseconds: int = 5000) -> str:
    otel = Otel(enabled=True, endpoint=endpoint, protocol=protocol)
    settings = read_settings(ExporterConfig(otel=otel), {"OTEL_EXPORTER_OTLP_TIMEOUT": str(milliseconds)})
    exporter = Exporter(settings)
    with pytest.raises(ExportError) as raised:
        await exporter.export(PART)
    return str(raised.value)


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_an_answer_without_an_end_is_not_read_to_its_end(status: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n\r\n".encode()
    async with answering(head, length=1 << 40) as server:
        assert f"HTTP {status}" in await refused(f"http://127.0.0.1:{server.port}")
        assert 1 == server.connections


async def test_a_page_for_people_is_no_success() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 0\r\n\r\n"
    async with answering(head) as server:
        assert "it takes no OTLP there" in await refused(f"http://127.0.0.1:{server.port}")


async def test_an_answer_that_breaks_off_is_told() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"
    async with answering(head) as server:
        assert "Connection broken" in await refused(f"http://127.0.0.1:{server.port}")


async def test_the_cause_of_a_timeout_is_told() -> None:
    async with answering(b"") as server:
        assert "Read timed out" in await refused(f"http://127.0.0.1:{server.port}", milliseconds=300)


@pytest.fixture
def collector() -> Collector:
    return Collector("http/protobuf")


async def test_all_parts_go_over_one_connection(collector: Collector) -> None:
    with collecting(collector):
        exporter = Exporter(collector.settings())
        for rows in (1, 2, 3):
            await exporter.export(part_of(rows))
        exporter.close()
    assert 1 == len(collector.connections)


async def test_a_netrc_file_replaces_no_header(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with collecting(collector):
        exporter = Exporter(collector.settings(HEADERS="authorization=Bearer%20ours"))
        await exporter.export(PART)
        exporter.close()
    assert [encode_metrics(PART)] == collector.requests
    assert "Bearer ours" == collector.headers["authorization"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_proxy_of_the_environment_is_used_and_its_password_not_told(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with answering(head) as server:
        for variable in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(variable, f"http://user:s3cret@127.0.0.1:{server.port}")
        reason = await refused("http://collector.invalid:4317", protocol, milliseconds=2000)
        assert b"collector.invalid:4317" in server.received
        assert "s3cret" not in reason


async def test_the_password_of_a_proxy_that_cannot_be_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:s3cret@127.0.0.1:99999")
    assert "s3cret" not in await refused("http://collector.invalid:4317")


def test_a_session_that_is_closed_sends_nothing() -> None:
    session = Session("http://127.0.0.1:1/v1/metrics", print)
    session.close()
    with pytest.raises(requests.RequestException, match="given up"):
        session.post("http://127.0.0.1:1/v1/metrics")
