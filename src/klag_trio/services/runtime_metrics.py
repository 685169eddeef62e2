"""The process_* and python_* metrics of prometheus-client."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from klag_trio.exposition.text import Format


class RuntimeMetrics:
    """Reads them anew whenever they are rendered."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def render(self) -> Mapping[Format, bytes]:
        """The bytes in both formats, without the end mark of OpenMetrics."""
        openmetrics = generate_openmetrics(self._registry)  # type: ignore[no-untyped-call]
        openmetrics = openmetrics.removesuffix(b"# EOF\n")
        return {"text": generate_latest(self._registry), "openmetrics": openmetrics}
