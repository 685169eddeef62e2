"""From samples to the requests of OTLP.

OpenTelemetry's generated messages are filled directly. Its SDK's data model has a dictionary of attributes
for each point, and its encoder turns each of them into messages again: 25 microseconds a sample, of which
all but 5 go into labels that a row's six samples share. The tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Gauge,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from klag_trio.exposition.families import Family
from klag_trio.exposition.observation import Observation

REQUEST_BYTES = 1 << 20
"""How large a request may become: a quarter of what gRPC takes by default.

Protobuf's own code holds the interpreter while it writes one out, which takes 2 ms for so many bytes.
"""

# A point's timestamps and value with their tags, its own tag and length, and the growth of those around it.
_POINT_BYTES = 40
_INT64 = range(-(2**63), 2**63)


@attrs.frozen
class Source:
    """What every request says of the process that sends it."""

    resource: Mapping[str, str]
    """Attributes."""
    version: str
    started: float
    """Seconds since the epoch; the counters count from here."""


def requests(
    observations: Iterable[Observation], source: Source, *, most_bytes: int = REQUEST_BYTES
) -> Iterator[ExportMetricsServiceRequest]:
    """Everything observed, in requests of at most `most_bytes`; each is made when it is asked for.

    The samples of one row are never parted, so that a row with enormous labels exceeds the limit.
    """
    batch = _Batch(source)
    for observation in observations:
        for block in observation.blocks():
            point = NumberDataPoint(time_unix_nano=_nanoseconds(observation.at))
            constant = _attributes(block.constant)
            columns = list(block.columns.items())
            for index, row in enumerate(block.rows):
                values = [
                    (family, value) for family, column in columns if (value := column[index]) is not None
                ]
                if not values:
                    continue
                point.ClearField("attributes")
                for name, label in zip(block.label_names, row, strict=True):
                    attribute = point.attributes.add(key=name)
                    attribute.value.string_value = label if label.isascii() else _encodable(label)
                point.attributes.extend(constant)
                size = len(values) * (point.ByteSize() + _POINT_BYTES)
                if batch.size + size > most_bytes and batch.metrics:
                    yield batch.request
                    batch = _Batch(source)
                batch.add(point, values, size)
    if batch.metrics:
        yield batch.request


def points(request: ExportMetricsServiceRequest) -> int:
    """How many samples are in a request."""
    return sum(
        len(metric.gauge.data_points) + len(metric.sum.data_points)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


class _Batch:
    """A request that is being filled."""

    def __init__(self, source: Source) -> None:
        self.request = ExportMetricsServiceRequest()
        from_us = self.request.resource_metrics.add(
            resource=Resource(attributes=_attributes(source.resource))
        )
        scope = InstrumentationScope(name="klag-trio", version=source.version)
        self._scope: ScopeMetrics = from_us.scope_metrics.add(scope=scope)
        self._started = _nanoseconds(source.started)
        self.size = self.request.ByteSize()
        self.metrics: dict[Family, Metric] = {}

    def add(self, point: NumberDataPoint, values: Sequence[tuple[Family, int | float]], size: int) -> None:
        """Add the samples of one row; `point` carries their attributes and their time."""
        self.size += size
        for family, value in values:
            metric = self.metrics.get(family) or self._metric(family)
            if family.type == "counter":
                point.start_time_unix_nano = self._started
                into = metric.sum.data_points
            else:
                point.start_time_unix_nano = 0
                into = metric.gauge.data_points
            if family.integral and isinstance(value, int) and value in _INT64:
                point.as_int = value
            else:
                point.as_double = value
            into.append(point)

    def _metric(self, family: Family) -> Metric:
        metric: Metric = self._scope.metrics.add(name=family.name, description=family.help, unit=family.unit)
        if family.type == "counter":
            metric.sum.CopyFrom(
                Sum(aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE, is_monotonic=True)
            )
        else:
            metric.gauge.CopyFrom(Gauge())
        self.size += metric.ByteSize() + _POINT_BYTES
        self.metrics[family] = metric
        return metric


def _attributes(pairs: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=name, value=AnyValue(string_value=_encodable(text))) for name, text in pairs.items()]


def _encodable(text: str) -> str:
    # Protobuf refuses half a surrogate pair, which a name that is no UTF-8 may leave; text.py writes ? too.
    return text.encode(errors="replace").decode()


def _nanoseconds(at: float) -> int:
    return round(at * 1e9)
