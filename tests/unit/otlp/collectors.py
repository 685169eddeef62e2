"""Collectors inside the test, over gRPC and over HTTP, that answer as they are told."""

from __future__ import annotations

import gzip
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

# As klag_trio.otlp.exporter does, which comes too late here.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import grpc  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)

from klag_trio.config import Exporter, Otel
from klag_trio.otlp.settings import OtlpSettings, Protocol, read_settings


@attrs.frozen
class Refusal:
    """How a collector says no."""

    grpc: str
    """The name of a status."""
    http: int
    retry_after: float | None = None
    """Seconds; over HTTP whole ones."""
    words: str = "as told"


BUSY = Refusal("UNAVAILABLE", 503)
FULL = Refusal("RESOURCE_EXHAUSTED", 429)
DENIED = Refusal("UNAUTHENTICATED", 401)


@attrs.define
class Collector:
    """Answers every request with what `answer` returns: None where it takes it. It may wait."""

    protocol: Protocol
    answer: Callable[[], Refusal | None] = lambda: None
    port: int = 0
    requests: list[ExportMetricsServiceRequest] = attrs.field(factory=list)
    headers: dict[str, str] = attrs.field(factory=dict)
    """Of the last request, names in lower case."""
    connections: set[socket.socket] = attrs.field(factory=set)
    """Over HTTP, all that there were."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, interval: float = 60.0, **environ: str) -> OtlpSettings:
        """Those of an exporter to this collector."""
        otel = Otel(enabled=True, endpoint=self.endpoint, protocol=self.protocol, export_interval=interval)
        variables = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()}
        return read_settings(Exporter(otel=otel), variables)


@contextmanager
def collecting(collector: Collector) -> Iterator[None]:
    """Have it listen, on its port where it has one, for as long as the block runs."""
    with (_over_grpc if collector.protocol == "grpc" else _over_http)(collector):
        yield


@contextmanager
def _over_grpc(collector: Collector) -> Iterator[None]:
    class Service(MetricsServiceServicer):
        def Export(  # noqa: N802  # as gRPC calls it
            self, request: ExportMetricsServiceRequest, context: Any
        ) -> ExportMetricsServiceResponse:
            collector.headers = dict(context.invocation_metadata())
            collector.requests.append(request)
            refusal = collector.answer()
            if refusal is not None:
                if refusal.retry_after is not None:
                    info = RetryInfo()
                    info.retry_delay.FromMilliseconds(int(refusal.retry_after * 1000))
                    context.set_trailing_metadata([("google.rpc.retryinfo-bin", info.SerializeToString())])
                context.abort(grpc.StatusCode[refusal.grpc], refusal.words)
            return ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    collector.port = server.add_insecure_port(f"127.0.0.1:{collector.port}")
    add_MetricsServiceServicer_to_server(Service(), server)  # type: ignore[no-untyped-call]
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


@contextmanager
def _over_http(collector: Collector) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            collector.connections.add(self.connection)

        def do_POST(self) -> None:  # as http.server calls it
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.headers = {name.lower(): value for name, value in self.headers.items()}
            assert self.path == "/v1/metrics"
            collector.requests.append(ExportMetricsServiceRequest.FromString(body))
            refusal = collector.answer()
            self.send_response(200 if refusal is None else refusal.http)
            if refusal is not None and refusal.retry_after is not None:
                self.send_header("Retry-After", f"{refusal.retry_after:.0f}")
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            said = b"" if refusal is None else f"{refusal.words}\nand more\n".encode()
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def handle(self) -> None:
            # Whoever asked may be gone at any time.
            with suppress(OSError):
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as it is called there
            pass

    with ThreadingHTTPServer(("127.0.0.1", collector.port), Handler) as server:
        server.daemon_threads = True
        collector.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            # Those that are kept alive would be served on.
            for connection in collector.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
