"""From samples to the requests of OTLP.

Neither the data model of OpenTelemetry's SDK nor its encoder is used. They take a dictionary of attributes
for each point and make messages of it again, although a row's six samples share their labels. Here
OpenTelemetry's generated messages write a row's attributes once, and each of its samples adds its own fixed
18 bytes: a whole export of 208,006 samples takes 1.1 instead of 5.7 s of CPU and half the memory
(`python -m benchmarks.otlp_export` measures both). The tests hold what comes out equal to what the SDK's
encoder makes of the same samples.

Why bytes may be put together: protobuf reads messages that stand one behind the other as one merged message,
https://protobuf.dev/programming-guides/encoding/#last-one-wins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from klag_trio.exposition.families import Family
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.samples import Block, Value

REQUEST_BYTES = 1 << 20
"""How large a request may become: a quarter of what gRPC takes by default."""

# Protobuf's wire types, https://protobuf.dev/programming-guides/encoding/#structure.
_I64, _LEN = 1, 2
# The tags and lengths before two nested messages: one byte and at most five.
_AROUND = 12
_INT64 = range(-(2**63), 2**63)
_INTEGER, _DOUBLE = struct.Struct("<Bq").pack, struct.Struct("<Bd").pack
_VALUE_BYTES = 9


@attrs.frozen
class Source:
    """What every request says of the process that sends it."""

    resource: Mapping[str, str]
    """Attributes."""
    version: str
    started: float
    """Seconds since the epoch; the counters count from here."""


@attrs.frozen
class Request:
    """A part of what was observed."""

    body: bytes = attrs.field(repr=False)
    """An ExportMetricsServiceRequest as protobuf writes it."""
    samples: int


def requests(
    observations: Iterable[Observation], source: Source, *, most_bytes: int = REQUEST_BYTES
) -> Iterator[Request]:
    """Everything observed, in requests of at most `most_bytes`; each is made when it is asked for.

    A single sample with enormous labels exceeds the limit.
    """
    started = _nanoseconds(source.started)
    batch = _Batch(source, most_bytes)
    for observation in observations:
        at = _nanoseconds(observation.at)
        for block in observation.blocks():
            rows = _attributes_of_rows(block)
            for family, column in block.columns.items():
                fitting: list[bytes] = []
                room = batch.room_for(family)
                for point in _points(family, rows, column, at=at, started=started):
                    room -= len(point)
                    if room < 0 and (fitting or batch.samples):
                        batch.add(family, fitting)
                        yield batch.request()
                        batch, fitting = _Batch(source, most_bytes), []
                        room = batch.room_for(family) - len(point)
                    fitting.append(point)
                batch.add(family, fitting)
    if batch.samples:
        yield batch.request()


class _Batch:
    """A request that is being filled."""

    def __init__(self, source: Source, most_bytes: int) -> None:
        resource = ResourceMetrics(resource=Resource(attributes=_attributes(source.resource)))
        scope = ScopeMetrics(scope=InstrumentationScope(name="klag-trio", version=source.version))
        self._resource, self._scope = resource.SerializeToString(), scope.SerializeToString()
        self._room = most_bytes - len(self._resource) - len(self._scope) - _AROUND
        self._points: dict[Family, list[bytes]] = {}
        self.samples = 0

    def room_for(self, family: Family) -> int:
        """How many bytes of this family's points still fit."""
        return self._room if family in self._points else self._room - len(_metric(family, [])) - _AROUND

    def add(self, family: Family, points: Sequence[bytes]) -> None:
        """Take these points in; there may be none."""
        if points:
            self._room = self.room_for(family) - sum(map(len, points))
            self._points.setdefault(family, []).extend(points)
            self.samples += len(points)

    def request(self) -> Request:
        """All that was taken in."""
        metrics = [
            _delimited(ScopeMetrics.METRICS_FIELD_NUMBER, _metric(family, points))
            for family, points in self._points.items()
        ]
        scope = self._scope + b"".join(metrics)
        resource = self._resource + _delimited(ResourceMetrics.SCOPE_METRICS_FIELD_NUMBER, scope)
        number = ExportMetricsServiceRequest.RESOURCE_METRICS_FIELD_NUMBER
        return Request(_delimited(number, resource), self.samples)


def _metric(family: Family, points: Sequence[bytes]) -> bytes:
    """A family with these points: a Metric."""
    named: bytes = Metric(name=family.name, description=family.help, unit=family.unit).SerializeToString()
    number, kind = Metric.GAUGE_FIELD_NUMBER, b""
    if family.type == "counter":
        number = Metric.SUM_FIELD_NUMBER
        of = Sum(aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE, is_monotonic=True)
        kind = of.SerializeToString()
    return named + _delimited(number, b"".join([kind, *points]))


def _points(
    family: Family, rows: Iterable[bytes], column: Iterable[Value], *, at: int, started: int
) -> Iterator[bytes]:
    """A family's points, each with the tag and length that stand before it in its metric."""
    # A gauge has no start; both kinds have their points under the same number.
    times = struct.pack("<BQ", _tag(NumberDataPoint.TIME_UNIX_NANO_FIELD_NUMBER, _I64), at)
    if family.type == "counter":
        times += struct.pack("<BQ", _tag(NumberDataPoint.START_TIME_UNIX_NANO_FIELD_NUMBER, _I64), started)
    tag = bytes([_tag(Gauge.DATA_POINTS_FIELD_NUMBER, _LEN)])
    heads: dict[int, bytes] = {}
    for attributes, value in zip(rows, column, strict=True):
        if value is None:
            continue
        length = len(attributes) + len(times) + _VALUE_BYTES
        head = heads.get(length) or heads.setdefault(length, tag + _varint(length))
        yield b"".join((head, attributes, times, _value(value, family)))


def _value(value: int | float, family: Family) -> bytes:
    if family.integral and isinstance(value, int) and value in _INT64:
        return _INTEGER(_tag(NumberDataPoint.AS_INT_FIELD_NUMBER, _I64), value)
    return _DOUBLE(_tag(NumberDataPoint.AS_DOUBLE_FIELD_NUMBER, _I64), value)


def _attributes_of_rows(block: Block) -> list[bytes]:
    """The attributes of each row, as they stand in its points."""
    point = NumberDataPoint(attributes=_attributes(dict.fromkeys(block.label_names, "")))
    labels = [attribute.value for attribute in point.attributes]
    point.attributes.extend(_attributes(block.constant))
    rows = []
    for row in block.rows:
        for value, label in zip(labels, row, strict=True):
            value.string_value = label if label.isascii() else _encodable(label)
        rows.append(point.SerializeToString())
    return rows


def _attributes(pairs: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=name, value=AnyValue(string_value=_encodable(text))) for name, text in pairs.items()]


def _encodable(text: str) -> str:
    # Protobuf refuses half a surrogate pair, which a name that is no UTF-8 may leave; text.py writes ? too.
    return text.encode(errors="replace").decode()


def _delimited(number: int, content: bytes) -> bytes:
    """A field with this number that is a message."""
    return b"".join((bytes([_tag(number, _LEN)]), _varint(len(content)), content))


def _tag(number: int, wire_type: int) -> int:
    # One byte: no field of these messages has a number above 15.
    return number << 3 | wire_type


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the eighth set."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _nanoseconds(at: float) -> int:
    return round(at * 1e9)
