"""Samples in the data model of OpenTelemetry's SDK, to hold what we send against it."""

from __future__ import annotations

from collections.abc import Iterable

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
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.otlp import Source


def metrics_data(observations: Iterable[Observation], source: Source) -> MetricsData:
    """All samples of these observations."""
    started = round(source.started * 1e9)
    points: dict[Family, list[NumberDataPoint]] = {}
    for observation in observations:
        at = round(observation.at * 1e9)
        for block in observation.blocks():
            attributes = [
                {**dict(zip(block.label_names, row, strict=True)), **block.constant} for row in block.rows
            ]
            for family, column in block.columns.items():
                start = started if family.type == "counter" else 0
                found = [
                    NumberDataPoint(each, start, at, value if family.integral else float(value))
                    for each, value in zip(attributes, column, strict=True)
                    if value is not None
                ]
                if found:
                    points.setdefault(family, []).extend(found)
    metrics = [
        Metric(family.name, family.help, family.unit, _data(family, of)) for family, of in points.items()
    ]
    scope = ScopeMetrics(InstrumentationScope("klag-trio", source.version), metrics, "")
    return MetricsData([ResourceMetrics(Resource(dict(source.resource)), [scope], "")])


def _data(family: Family, points: list[NumberDataPoint]) -> Gauge | Sum:
    if family.type == "counter":
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return Gauge(points)
