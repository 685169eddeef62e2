"""A real broker, and what takes OTLP: a real collector, and a real Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from tests.otlp.series import from_prometheus, ours

from klag_trio.otlp.settings import Protocol
from stack.collector import OtelCollector
from stack.prometheus import PrometheusServer, with_otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.otlp.series import Series


@attrs.frozen
class Receiver:
    """Whatever takes OTLP."""

    protocol: Protocol
    endpoint: str
    series: Callable[[], Series]
    """What it has of ours."""


@pytest.fixture
def otel_collector(tmp_path: Path) -> Iterator[OtelCollector]:
    with OtelCollector(tmp_path) as running:
        yield running


@pytest.fixture
def grpc_receiver(collector_for_pages: OtelCollector) -> Receiver:
    return _of_collector(collector_for_pages, "grpc")


@pytest.fixture
def http_receiver(collector_for_pages: OtelCollector) -> Receiver:
    return _of_collector(collector_for_pages, "http/protobuf")


@pytest.fixture
def prometheus_receiver() -> Iterator[Receiver]:
    with PrometheusServer({}, rules=None, otlp=with_otlp()) as prometheus:
        endpoint = f"{prometheus.address}/api/v1/otlp/v1/metrics"
        yield Receiver("http/protobuf", endpoint, lambda: from_prometheus(prometheus))


@pytest.fixture(params=["grpc", "http", "prometheus"])
def receiver(request: pytest.FixtureRequest) -> Receiver:
    """Each of them in turn: a collector over gRPC and over HTTP, and Prometheus itself."""
    found: Receiver = request.getfixturevalue(f"{request.param}_receiver")
    return found


@pytest.fixture
def collector_for_pages(tmp_path: Path) -> Iterator[OtelCollector]:
    # By default it cuts a page off after 30 s, which on a busy machine one of 60 MB may take.
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("exporters: {prometheus: {write_timeout: 0s}}\n")
    with OtelCollector(tmp_path, overlay) as running:
        yield running


def _of_collector(collector: OtelCollector, protocol: Protocol) -> Receiver:
    return Receiver(protocol, collector.endpoint(protocol), lambda: ours(collector.metrics()))
