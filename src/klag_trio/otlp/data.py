"""From samples to the metric data of OpenTelemetry's SDK, in parts that a collector takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from klag_trio.exposition.families import Family
from klag_trio.exposition.samples import Block, LazyBlocks

PART_BYTES = 1 << 20
"""About as large as a request may become: a quarter of what gRPC's servers take by default."""

# What protobuf adds: to a point two times, a value, tags and lengths; to a label or family tags and lengths.
_POINT_BYTES, _LABEL_BYTES, _FAMILY_BYTES = 48, 10, 32
_ROWS_AT_ONCE = 1000
_NO_START = 0  # as the protocol says it
_INT64 = range(-(2**63), 2**63)


@attrs.frozen
class Source:
    """What every part says of the process that sends it."""

    resource: Mapping[str, str]
    """Attributes."""
    version: str
    started: float
    """Seconds since the epoch; the counters count from here."""


def parts(
    several: Iterable[LazyBlocks], source: Source, *, at: float, most_bytes: int = PART_BYTES
) -> Iterator[MetricsData]:
    """All samples, as of `at`, in parts of about `most_bytes` at most; each is made when it is asked for.

    All of a push have one time (seconds since the epoch), as all of a scrape have, and later than all of the
    push before. Prometheus takes nothing else: it writes a `target_info` for the time of each sample, and
    refuses a whole request of which one sample is older than what the series has. And for a sample that is
    older than five minutes it shows nothing.

    A single sample with enormous labels exceeds the limit.
    """
    part = _Part(source, most_bytes)
    started, now = _nanoseconds(source.started), _nanoseconds(at)
    for make in several:
        for block in make():
            for family, row, point in _points(block, started, now):
                if not part.has_room_for(family, row):
                    yield part.data()
                    part = _Part(source, most_bytes)
                part.add(family, row, point)
    if part.points:
        yield part.data()


def _points(block: Block, started: int, now: int) -> Iterator[tuple[Family, _Row, NumberDataPoint]]:
    """The points of a block, with the labels of some rows at a time."""
    for first in range(0, len(block.rows), _ROWS_AT_ONCE):
        some = slice(first, first + _ROWS_AT_ONCE)
        rows = [_Row.of(block, row) for row in block.rows[some]]
        for family, column in block.columns.items():
            start = started if family.type == "counter" else _NO_START
            for row, value in zip(rows, column[some], strict=True):
                if value is not None:
                    number = _number(value, family)
                    yield family, row, NumberDataPoint(row.attributes, start, now, number, exemplars=())


@attrs.frozen
class _Row:
    """The labels that several points share."""

    attributes: Mapping[str, str]
    size: int
    """Bytes of a point with them, about."""

    @classmethod
    def of(cls, block: Block, row: Sequence[str]) -> _Row:
        labels = {**dict(zip(block.label_names, row, strict=True)), **block.constant}
        encodable = {name: _encodable(value) for name, value in labels.items()}
        size = sum(len(name) + len(value.encode()) + _LABEL_BYTES for name, value in encodable.items())
        return cls(encodable, size + _POINT_BYTES)


class _Part:
    """A part that is being filled."""

    def __init__(self, source: Source, most_bytes: int) -> None:
        self._source = source
        self._room = most_bytes
        self.points: dict[Family, list[NumberDataPoint]] = {}

    def has_room_for(self, family: Family, row: _Row) -> bool:
        return not self.points or self._needed(family, row) <= self._room

    def add(self, family: Family, row: _Row, point: NumberDataPoint) -> None:
        self._room -= self._needed(family, row)
        self.points.setdefault(family, []).append(point)

    def _needed(self, family: Family, row: _Row) -> int:
        beginning = 0 if family in self.points else len(family.name + family.help) + _FAMILY_BYTES
        return row.size + beginning

    def data(self) -> MetricsData:
        scope = InstrumentationScope("klag-trio", self._source.version)
        metrics = [_metric(family, points) for family, points in self.points.items()]
        attributes = self._source.resource.items()
        resource = Resource({_encodable(name): _encodable(value) for name, value in attributes})
        return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])


def _metric(family: Family, points: Sequence[NumberDataPoint]) -> Metric:
    data: Gauge | Sum = Gauge(points)
    if family.type == "counter":
        data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return Metric(family.name, family.help, family.unit, data)


def _number(value: int | float, family: Family) -> int | float:
    return value if family.integral and isinstance(value, int) and value in _INT64 else float(value)


def _encodable(text: str) -> str:
    # Protobuf refuses half a surrogate pair, which a name that is no UTF-8 may leave; text.py writes ? too.
    return text if text.isascii() else text.encode(errors="replace").decode()


def _nanoseconds(at: float) -> int:
    return round(at * 1e9)
