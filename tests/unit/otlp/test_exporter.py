"""What passes between the exporter and collectors inside the test: the same over gRPC and over HTTP."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import trio
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from tests.unit.otlp.collectors import BUSY, DENIED, FULL, Collector, Refusal, collecting

from klag_trio.exposition import families as f
from klag_trio.exposition.samples import Block
from klag_trio.otlp.data import Source, parts
from klag_trio.otlp.exporter import Exporter, ExportError, make
from klag_trio.otlp.settings import Protocol

PROTOCOLS: list[Protocol] = ["grpc", "http/protobuf"]


@pytest.fixture(params=PROTOCOLS)
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    running = Collector(request.param)
    with collecting(running):
        yield running


class Heard(logging.Handler):
    """What reaches the root logger, and so would be in the log."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What the SDK says is for us to tell."""
    # pytest's own handler would be with the loggers that pass nothing on, too.
    heard = Heard()
    logging.getLogger().addHandler(heard)
    yield
    logging.getLogger().removeHandler(heard)
    assert heard.messages == []
    assert capfd.readouterr() == ("", "")


def part_of(rows: int) -> MetricsData:
    block = Block(("n",), [(f"row {n}",) for n in range(rows)], {f.LEADER: [1] * rows}, {})
    (part,) = parts([lambda: [block]], Source({"service.name": "ours"}, "1", 0.0), at=1.0)
    return part


PART = part_of(3)


async def export(collector: Collector, interval: float = 60.0, **environ: str) -> None:
    exporter = Exporter(collector.settings(interval, **environ))
    try:
        await exporter.export(PART)
    finally:
        exporter.close()


async def refused(collector: Collector, interval: float = 60.0, **environ: str) -> str:
    """Why the part did not arrive."""
    with pytest.raises(ExportError) as raised:
        await export(collector, interval, **environ)
    return str(raised.value)


async def test_a_part_arrives_as_it_is_with_its_headers(collector: Collector) -> None:
    await export(collector, HEADERS="x-tenant=one")
    assert [encode_metrics(PART)] == collector.requests
    assert "one" == collector.headers["x-tenant"]


async def test_several_parts_go_out_over_one_exporter(collector: Collector) -> None:
    exporter = Exporter(collector.settings())
    for rows in (1, 2, 3):
        await exporter.export(part_of(rows))
    exporter.close()
    assert [encode_metrics(part_of(rows)) for rows in (1, 2, 3)] == collector.requests


@pytest.mark.parametrize(("refusal", "status"), [(DENIED, "401"), (Refusal("INVALID_ARGUMENT", 400), "400")])
async def test_a_refusal_for_good_is_told_with_its_status_and_not_tried_again(
    collector: Collector, refusal: Refusal, status: str
) -> None:
    collector.answer = lambda: refusal
    reason = await refused(collector)
    assert (refusal.grpc if collector.protocol == "grpc" else f"HTTP {status}") in reason
    assert 1 == len(collector.requests)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("not a good token: Bearer s3cret-t0ken", "not a good token: ***"),
        ("invalid token s3cret-t0ken", "invalid token ***"),
        (f"{'.' * 490}s3cret-t0ken", "..."),
        ("ask at http://user:s3cret-t0ken@host/", "ask at http://***@host/"),
    ],
)
async def test_a_refusal_is_told_in_its_own_words_without_what_is_secret(
    collector: Collector, words: str, told: str
) -> None:
    collector.answer = lambda: Refusal("UNAUTHENTICATED", 401, words=words)
    reason = await refused(collector, HEADERS="x-org=s3cret,authorization=Bearer%20s3cret-t0ken,x-one=1")
    assert told in reason
    assert ("401" if collector.protocol == "http/protobuf" else "UNAUTHENTICATED") in reason
    assert "s3cr" not in reason
    assert "t0ken" not in reason
    assert "and more" not in reason
    assert len(reason) <= 500


@pytest.mark.parametrize("refusal", [Refusal("UNAVAILABLE", 503, 0), Refusal("RESOURCE_EXHAUSTED", 429, 1)])
async def test_a_refusal_in_passing_is_tried_again_when_the_collector_asks_for_it(
    collector: Collector, refusal: Refusal
) -> None:
    answers = [refusal, None]
    collector.answer = lambda: answers.pop(0)
    await export(collector)
    assert [encode_metrics(PART)] * 2 == collector.requests


@pytest.mark.parametrize("refusal", [BUSY, FULL])
async def test_what_is_refused_for_all_its_time_is_told_with_its_status(
    collector: Collector, refusal: Refusal
) -> None:
    collector.answer = lambda: refusal
    # Enough for an answer on a busy machine; the exporter gives up where its next pause would be longer.
    reason = await refused(collector, TIMEOUT="2500")
    assert (refusal.grpc if collector.protocol == "grpc" else f"HTTP {refusal.http}") in reason


@pytest.mark.parametrize("collector", ["http/protobuf"], indirect=True)
@pytest.mark.parametrize("status", [301, 302, 307, 308, 300])
async def test_a_redirection_is_no_success(collector: Collector, status: int) -> None:
    collector.answer = lambda: Refusal("", status)
    assert f"HTTP {status}" in await refused(collector)
    assert 1 == len(collector.requests)


async def test_a_failure_of_which_nothing_is_said_is_one(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        def export(self, _: MetricsData) -> MetricExportResult:
            return MetricExportResult.FAILURE

        def shutdown(self) -> None:
            pass

    monkeypatch.setattr("klag_trio.otlp.exporter.make", lambda *_: Silent())
    assert "" == await refused(collector)


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Until this is set a collector that waits for it answers nothing."""
    event = threading.Event()
    yield event
    event.set()


def hang(until: threading.Event, arrived: threading.Event | None = None) -> Callable[[], None]:
    def answer() -> None:
        if arrived is not None:
            arrived.set()
        until.wait(60)

    return answer


async def test_a_request_without_an_answer_fails_by_its_timeout(
    collector: Collector, over: threading.Event
) -> None:
    collector.answer = hang(over)
    start = trio.current_time()
    assert await refused(collector, TIMEOUT="500")
    assert 0.4 < trio.current_time() - start


async def test_no_request_outlasts_the_interval(collector: Collector, over: threading.Event) -> None:
    collector.answer = hang(over)
    assert await refused(collector, interval=0.5)


async def test_an_export_that_is_given_up_delays_no_other(
    collector: Collector, over: threading.Event
) -> None:
    arrived = threading.Event()
    collector.answer = hang(over, arrived)
    exporter = Exporter(collector.settings())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.export, PART)
        assert await trio.to_thread.run_sync(arrived.wait, 30)
        nursery.cancel_scope.cancel()
    collector.answer = lambda: None
    with trio.fail_after(30):
        await exporter.export(PART)
    assert not over.is_set()
    exporter.close()


async def test_what_was_given_up_before_it_was_sent_is_never_sent(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, go_on = threading.Event(), threading.Event()

    def make_slowly(*arguments: Any) -> MetricExporter:
        making.set()
        go_on.wait(60)
        return make(*arguments)

    monkeypatch.setattr("klag_trio.otlp.exporter.make", make_slowly)
    exporter = Exporter(collector.settings())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.export, PART)
        assert await trio.to_thread.run_sync(making.wait, 30)
        nursery.cancel_scope.cancel()
    go_on.set()
    await ended(exporter)
    assert [] == collector.requests


async def test_what_is_given_up_while_it_waits_to_be_tried_again_is_not_sent_again(
    collector: Collector,
) -> None:
    collector.answer = lambda: Refusal("UNAVAILABLE", 503, retry_after=30)
    exporter = Exporter(collector.settings(TIMEOUT="60000"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.export, PART)
        await until(lambda: bool(collector.requests))
        nursery.cancel_scope.cancel()
    # Long before it would be tried again.
    await ended(exporter)
    assert 1 == len(collector.requests)


async def ended(exporter: Exporter) -> None:
    """Wait until no thread exports any more."""
    await until(lambda: exporter.threads.borrowed_tokens == 0)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - it comes about in another thread
            await trio.sleep(0.01)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_collector_that_comes_back_is_reached_again(protocol: Protocol) -> None:
    with socket.socket() as taken:
        # Nobody listens, and nobody else gets the port meanwhile; a gRPC server sets the same option.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        collector = Collector(protocol, port=taken.getsockname()[1])
        # Several times gRPC's pause of about a second between two attempts to connect.
        exporter = Exporter(collector.settings(TIMEOUT="6000"))
        with pytest.raises(ExportError, match=r"(?i)connection ?refused|failed to connect"):
            await exporter.export(PART)
    with collecting(collector):
        await exporter.export(PART)
        exporter.close()
    assert [encode_metrics(PART)] == collector.requests


@pytest.mark.parametrize(("compression", "compressed"), [("", True), ("gzip", True), ("none", False)])
async def test_requests_are_compressed_unless_that_is_turned_off(
    collector: Collector, compression: str, compressed: bool
) -> None:
    passed = 0
    part = part_of(5_000)

    async def relay(client: trio.SocketStream) -> None:
        nonlocal passed
        async with (
            await trio.open_tcp_stream("127.0.0.1", collector.port) as upstream,
            trio.open_nursery() as n,
        ):
            n.start_soon(_pass_on, upstream, client)
            async for data in client:
                passed += len(data)
                await upstream.send_all(data)
            n.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, relay, 0, host="127.0.0.1"))
        way = Collector(collector.protocol, port=listeners[0].socket.getsockname()[1])
        exporter = Exporter(way.settings(COMPRESSION=compression))
        await exporter.export(part)
        exporter.close()
        nursery.cancel_scope.cancel()
    assert [encode_metrics(part)] == collector.requests
    assert compressed == (passed < encode_metrics(part).ByteSize() / 5)


async def _pass_on(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async for data in source:
        await sink.send_all(data)
