"""What passes between the channel and a real gRPC server that answers as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import attrs
import grpc  # type: ignore[import-untyped]
import pytest
import trio
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics

from klag_trio import __version__
from klag_trio.config import Exporter, Otel
from klag_trio.services.otlp_channel import ExportError, OtlpChannel, Rejected
from klag_trio.services.otlp_settings import read_settings

REQUEST = ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(schema_url="x" * 500_000)])
BODY = REQUEST.SerializeToString()
ANSWER = ExportMetricsServiceResponse()


@attrs.define
class Collector(MetricsServiceServicer):
    """Answers every request with `answer`, which may raise or wait."""

    answer: Callable[[Any], ExportMetricsServiceResponse] = lambda _: ANSWER
    port: int = 0
    requests: list[ExportMetricsServiceRequest] = attrs.field(factory=list)
    metadata: dict[str, str] = attrs.field(factory=dict)

    def Export(  # noqa: N802  # as gRPC calls it
        self, request: ExportMetricsServiceRequest, context: Any
    ) -> ExportMetricsServiceResponse:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        return self.answer(context)


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = grpc.server(ThreadPoolExecutor(2))
    running = Collector(port=server.add_insecure_port("127.0.0.1:0"))
    add_MetricsServiceServicer_to_server(running, server)  # type: ignore[no-untyped-call]
    server.start()
    yield running
    server.stop(None).wait()


def channel(port: int, **environ: str) -> OtlpChannel:
    endpoint = f"http://127.0.0.1:{port}"
    variables = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()}
    return OtlpChannel(read_settings(Exporter(otel=Otel(enabled=True, endpoint=endpoint)), variables))


async def send(port: int, seconds: float = 20.0, **environ: str) -> Rejected:
    sender = channel(port, **environ)
    try:
        return await sender.send(BODY, seconds)
    finally:
        sender.close()


async def test_a_request_arrives_as_it_is_with_its_headers_and_our_name(collector: Collector) -> None:
    assert Rejected(0, "") == await send(collector.port, HEADERS="x-tenant=one")
    assert [REQUEST] == collector.requests
    assert "one" == collector.metadata["x-tenant"]
    assert collector.metadata["user-agent"].startswith(f"klag-trio/{__version__} ")


async def test_what_the_collector_rejects_of_a_request_is_told(collector: Collector) -> None:
    success = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too old")
    collector.answer = lambda _: ExportMetricsServiceResponse(partial_success=success)
    assert Rejected(3, "too old") == await send(collector.port)


@pytest.mark.parametrize(
    ("code", "delay", "retryable"),
    [
        ("UNAVAILABLE", None, True),
        ("UNAVAILABLE", 1.5, True),
        ("RESOURCE_EXHAUSTED", None, False),
        ("RESOURCE_EXHAUSTED", 0.25, True),
        ("RESOURCE_EXHAUSTED", 0.0, True),
        ("UNAUTHENTICATED", None, False),
        ("INVALID_ARGUMENT", None, False),
    ],
)
@pytest.mark.parametrize("within_status", [True, False], ids=["in the status", "by itself"])
async def test_a_refusal_says_whether_and_when_to_try_again(
    collector: Collector, code: str, delay: float | None, retryable: bool, within_status: bool
) -> None:
    info = RetryInfo()
    trailers = []
    if delay is not None:
        info.retry_delay.FromMilliseconds(int(delay * 1000))
        trailers = [in_status(grpc.StatusCode[code], info) if within_status else by_itself(info)]
    error = await refused(collector, code, trailers)
    assert (code, "busy", retryable, delay) == (error.code, error.reason, error.retryable, error.delay)


@pytest.mark.parametrize("name", ["grpc-status-details-bin", "google.rpc.retryinfo-bin"])
async def test_a_trailer_that_makes_no_sense_says_nothing(collector: Collector, name: str) -> None:
    error = await refused(collector, "UNAVAILABLE", [(name, b"\xff\xff\xff")])
    assert ("UNAVAILABLE", True, None) == (error.code, error.retryable, error.delay)


async def test_nobody_is_asked_to_go_back_in_time(collector: Collector) -> None:
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(-1000)
    assert 0 == (await refused(collector, "UNAVAILABLE", [by_itself(info)])).delay


async def refused(collector: Collector, code: str, trailers: list[tuple[str, bytes]]) -> ExportError:
    """What comes of a request that is refused so."""

    def refuse(context: Any) -> ExportMetricsServiceResponse:
        context.set_trailing_metadata(trailers)
        context.abort(grpc.StatusCode[code], "busy")
        raise AssertionError

    collector.answer = refuse
    with pytest.raises(ExportError) as raised:
        await send(collector.port)
    return raised.value


def by_itself(info: RetryInfo) -> tuple[str, bytes]:
    return "google.rpc.retryinfo-bin", info.SerializeToString()


def in_status(code: grpc.StatusCode, info: RetryInfo) -> tuple[str, bytes]:
    """As grpc-go sends the details of a status, and with it the Collector."""
    status = Status(code=code.value[0], message="busy")
    for detail in (Duration(seconds=99), info):
        status.details.add().Pack(detail)
    return "grpc-status-details-bin", status.SerializeToString()


async def test_a_request_that_is_not_answered_fails_at_its_deadline(collector: Collector) -> None:
    over = threading.Event()

    def wait(_: Any) -> ExportMetricsServiceResponse:
        over.wait(60)
        return ANSWER

    collector.answer = wait
    start = trio.current_time()
    with pytest.raises(ExportError) as raised:
        await send(collector.port, 0.5)
    over.set()
    assert ("DEADLINE_EXCEEDED", True) == (raised.value.code, raised.value.retryable)
    assert 0.4 < trio.current_time() - start


async def test_a_cancelled_request_is_dropped_at_the_collector_too(collector: Collector) -> None:
    arrived, dropped = threading.Event(), threading.Event()

    def wait(context: Any) -> ExportMetricsServiceResponse:
        context.add_callback(dropped.set)
        arrived.set()
        dropped.wait(60)
        return ANSWER

    collector.answer = wait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, collector.port, 60)
        assert await trio.to_thread.run_sync(arrived.wait, 30)
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(dropped.wait, 30)


async def test_a_collector_that_comes_back_is_reached_after_a_close() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    add_MetricsServiceServicer_to_server(Collector(), server)  # type: ignore[no-untyped-call]
    with socket.socket() as taken:
        # Nobody listens, and nobody else gets the port meanwhile; a gRPC server sets the same option.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        sender = channel(port)
        with pytest.raises(ExportError) as raised:
            await sender.send(BODY, 20)
        assert ("UNAVAILABLE", True) == (raised.value.code, raised.value.retryable)
        sender.close()
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
    try:
        assert Rejected(0, "") == await sender.send(BODY, 20)
    finally:
        sender.close()
        server.stop(None).wait()


@pytest.mark.parametrize(("compression", "compressed"), [("", True), ("gzip", True), ("none", False)])
async def test_requests_are_compressed_unless_that_is_turned_off(
    collector: Collector, compression: str, compressed: bool
) -> None:
    passed = 0

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
        await send(listeners[0].socket.getsockname()[1], COMPRESSION=compression)
        nursery.cancel_scope.cancel()
    assert [REQUEST] == collector.requests
    assert compressed == (passed < len(BODY) / 10)


async def _pass_on(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async for data in source:
        await sink.send_all(data)
