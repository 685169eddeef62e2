"""Requests to an OpenTelemetry collector over gRPC.

gRPC's own client is used, and not the metric exporter of OpenTelemetry's SDK, which wraps it: that one
holds its deadline for each split of a payload alone, sleeps between its own attempts, tells nobody but its
logger why it failed, passes over what a collector rejects of a request, and goes on with other certificates
where the one it was given is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import attrs
import grpc  # type: ignore[import-untyped]
import trio
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from klag_trio import __version__
from klag_trio.services.otlp_settings import OtlpSettings

_METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
# https://opentelemetry.io/docs/specs/otlp/#failures; RESOURCE_EXHAUSTED only where the collector says when.
_RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}


@attrs.frozen
class Rejected:
    """What the collector did not take of a request that it answered."""

    samples: int
    reason: str


class ExportError(Exception):
    """A request failed."""

    def __init__(self, code: str, reason: str, *, retryable: bool, delay: float | None = None) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.retryable = retryable
        self.delay = delay
        """Seconds that the collector asked to wait; None where it did not say."""


class OtlpChannel:
    """A connection to the collector, made when it is first needed."""

    def __init__(self, settings: OtlpSettings) -> None:
        self._settings = settings
        self._channel: grpc.Channel | None = None

    async def send(self, body: bytes, seconds: float) -> Rejected:
        """Send an ExportMetricsServiceRequest, from a worker thread; the wait for the answer takes none.

        Raises:
            ExportError: it failed, or was not answered within so many seconds.

        """
        call = await trio.to_thread.run_sync(self._start, body, seconds)
        answered = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def tell(_: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(answered.set)

        call.add_done_callback(tell)
        try:
            await answered.wait()
        finally:
            call.cancel()
        return _answer(call)

    def _start(self, body: bytes, seconds: float) -> Any:
        if self._channel is None:
            self._channel = _connect(self._settings)
        export = self._channel.unary_unary(
            _METHOD, response_deserializer=ExportMetricsServiceResponse.FromString
        )
        return export.future(body, timeout=seconds, metadata=self._settings.headers)

    def close(self) -> None:
        """Let go of the connection; the next request makes a new one.

        A connection whose other end vanished is told from a slow one only by trying another.
        """
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _connect(settings: OtlpSettings) -> grpc.Channel:
    compression = grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression
    options = [
        ("grpc.primary_user_agent", f"klag-trio/{__version__}"),
        # A pool shared by the process would hand a closed channel's connection to the next.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.initial_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 5000),
    ]
    if not settings.tls:
        return grpc.insecure_channel(settings.target, options=options, compression=compression)
    credentials = grpc.ssl_channel_credentials(
        settings.certificate, settings.client_key, settings.client_certificate
    )
    return grpc.secure_channel(settings.target, credentials, options=options, compression=compression)


def _answer(call: Any) -> Rejected:
    if call.code() is grpc.StatusCode.OK:
        partial = call.result().partial_success
        return Rejected(partial.rejected_data_points, partial.error_message)
    code = call.code().name
    delay = _retry_delay(call.trailing_metadata())
    retryable = code in _RETRYABLE or (code == "RESOURCE_EXHAUSTED" and delay is not None)
    raise ExportError(code, call.details() or "no reason given", retryable=retryable, delay=delay)


def _retry_delay(metadata: Any) -> float | None:
    for name, value in metadata or ():
        # What makes no sense says nothing.
        with contextlib.suppress(DecodeError):
            for info in _retry_infos(name, value):
                return max(0.0, float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9))
    return None


def _retry_infos(name: str, value: bytes) -> Iterator[Any]:
    """Those among the details of a status, which is how the Collector sends them, or one by itself."""
    if name == "grpc-status-details-bin":
        for detail in Status.FromString(value).details:
            info = RetryInfo()
            if detail.Unpack(info):
                yield info
    elif name == "google.rpc.retryinfo-bin":
        yield RetryInfo.FromString(value)
