"""OpenTelemetry's exporter, over gRPC or HTTP, with what the SDK leaves to its caller.

The exporters (1.45) block, wait between their own attempts, and say why they failed to their loggers only.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import trio

from klag_trio.otlp.settings import OtlpSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData

_LOGGERS = ("opentelemetry", "urllib3")
# These drop what they have said already, in another outage as well.
_LOGGERS_WITH_A_FILTER = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
)
_SILENCE = logging.NullHandler()
_REASON_CHARACTERS = 500
_USER_AND_PASSWORD = re.compile(r"//\S*@")
_MOST_THREADS = 4


class ExportError(Exception):
    """A part did not arrive; the message is what the SDK said of it."""


class Exporter:
    """Exports one part at a time, in a thread; connects when first needed, and again after a failure."""

    def __init__(self, settings: OtlpSettings) -> None:
        """Take settings that have been checked; nothing is connected yet."""
        self._settings = settings
        self._connection = _Connection(settings)
        self.threads = trio.CapacityLimiter(_MOST_THREADS)
        """Those that export, and those that were given up and have not ended."""

    async def export(self, part: MetricsData) -> None:
        """Export a part; where that is cancelled, its thread is left alone and sends nothing any more.

        Such a thread ends by the timeout of its request, unless the collector goes on answering without an
        end. Then it waits until that collector is gone.

        Raises:
            ExportError: it did not arrive.

        """
        reason: str | None = "cancelled"
        try:
            reason = await trio.to_thread.run_sync(
                self._connection.export, part, limiter=self.threads, abandon_on_cancel=True
            )
        finally:
            if reason is not None:
                self.close()
        if reason is not None:
            raise ExportError(reason)

    def close(self) -> None:
        """Give the connection up; the next part makes another one."""
        before, self._connection = self._connection, _Connection(self._settings)
        before.close()


class _Connection:
    """One exporter of the SDK's, made by the first export, and what it said."""

    def __init__(self, settings: OtlpSettings) -> None:
        self._settings = settings
        self._exporter: MetricExporter | None = None
        self._closed = False
        self._changing = threading.Lock()
        self._said: list[str] = []

    def export(self, part: MetricsData) -> str | None:
        """Why it did not arrive; None where it did."""
        from opentelemetry.sdk.metrics.export import MetricExportResult

        self._said.clear()
        with _heard(self._said.append):
            try:
                exporter = self._connected()
                if exporter is None:
                    return "it was given up"
                if exporter.export(part) is MetricExportResult.SUCCESS:
                    return None
            except Exception as error:
                self._said.append(f"{type(error).__name__}: {error}")
        return self._without_secrets(self._reason())[:_REASON_CHARACTERS]

    def _connected(self) -> MetricExporter | None:
        """The exporter, made where there is none yet; None once it is closed."""
        with self._changing:
            if self._exporter is None and not self._closed:
                self._exporter = make(self._settings, self._said.append)
            return None if self._closed else self._exporter

    def _reason(self) -> str:
        # The last line alone may say no more than that time is over.
        *_, cause, last = ["", "", *self._said]
        return last if cause in last else f"{cause}; {last}"

    def _without_secrets(self, reason: str) -> str:
        """The reason without what whoever refuses a token may repeat of it, or a proxy's password."""
        for secret in self._settings.secrets:
            reason = reason.replace(secret, "***")
        return _USER_AND_PASSWORD.sub("//***@", reason)

    def close(self) -> None:
        """Send nothing any more; a thread closes the sockets, which may take a moment."""
        self._closed = True
        threading.Thread(target=self._end, name="klag-trio otlp end", daemon=True).start()

    def _end(self) -> None:
        with self._changing:
            exporter = self._exporter
        if exporter is not None:
            exporter.shutdown()


def make(settings: OtlpSettings, say: Callable[[str], None]) -> MetricExporter:
    """The SDK's exporter; over HTTP, `say` gets what it does not tell itself."""
    if settings.protocol == "grpc":
        import grpc  # type: ignore[import-untyped]
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as OverGrpc

        credentials = None
        if settings.tls:
            credentials = grpc.ssl_channel_credentials(
                settings.certificate, settings.client_key, settings.client_certificate
            )
        return OverGrpc(
            endpoint=settings.endpoint,
            insecure=not settings.tls,
            credentials=credentials,
            headers=settings.headers,
            timeout=settings.timeout,
            compression=grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as OverHttp

    from klag_trio.otlp.session import Session

    return OverHttp(
        endpoint=settings.endpoint,
        certificate_file=settings.certificate_file,
        client_certificate_file=settings.client_certificate_file,
        client_key_file=settings.client_key_file,
        headers=dict(settings.headers),
        timeout=settings.timeout,
        compression=Compression.Gzip if settings.gzip else Compression.NoCompression,
        session=Session(settings.endpoint, say),
    )


class _Listener(logging.Handler):
    """Hears what a thread's loggers say."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._say(record.getMessage())


@contextlib.contextmanager
def _heard(say: Callable[[str], None]) -> Iterator[None]:
    """Pass on what is logged in this thread and block by what exports, of which nothing goes any further."""
    listener = _Listener(say)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        # What is said outside such a block, as while a connection is closed, would go to stderr without it.
        logger.addHandler(_SILENCE)
        logger.addHandler(listener)
    for name in _LOGGERS_WITH_A_FILTER:
        logging.getLogger(name).filters.clear()
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(listener)
