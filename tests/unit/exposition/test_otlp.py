"""Requests of OTLP, held against OpenTelemetry's own encoder and against the blocks they come from."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
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

from klag_trio.exposition import families as f
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.otlp import Source, points, requests
from klag_trio.exposition.samples import Block

SOURCE = Source(resource={"service.name": "klag-trio"}, version="1.2", started=5.0)
labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.none() | st.integers(-(2**63), 2**63 - 1)
floats = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    rows = draw(st.lists(st.tuples(labels, labels), max_size=6))
    column = {f.GROUP_MAX_LAG: integers, f.GROUP_MAX_LAG_SECONDS: floats, f.TIME_LAG_READS: integers}
    values = {
        family: draw(st.lists(each, min_size=len(rows), max_size=len(rows)))
        for family, each in column.items()
    }
    return Block(f.G, rows, values, {"env": draw(labels)})


def sdk_metrics(block: Block, at: int) -> list[Metric]:
    """The same in the data model of OpenTelemetry's SDK."""
    found = []
    for family, column in block.columns.items():
        counter = family.type == "counter"
        data = [
            NumberDataPoint(
                {**dict(zip(block.label_names, row, strict=True)), **block.constant},
                int(SOURCE.started * 1e9) if counter else 0,
                at,
                value,
            )
            for row, value in zip(block.rows, column, strict=True)
            if value is not None
        ]
        if data:
            of = Sum(data, AggregationTemporality.CUMULATIVE, is_monotonic=True) if counter else Gauge(data)
            found.append(Metric(family.name, family.help, family.unit, of))
    return found


@given(blocks())
def test_a_request_is_what_the_sdk_makes_of_the_same_samples(block: Block) -> None:
    made = list(requests([Observation(1.5, lambda: [block])], SOURCE))
    expected = sdk_metrics(block, 1_500_000_000)
    if not expected:
        assert [] == made
        return
    scope = ScopeMetrics(InstrumentationScope("klag-trio", "1.2"), expected, "")
    theirs = encode_metrics(MetricsData([ResourceMetrics(Resource(dict(SOURCE.resource)), [scope], "")]))
    assert len(made) == 1
    by_name = {m.name: m for m in theirs.resource_metrics[0].scope_metrics[0].metrics}
    assert by_name == {m.name: m for m in made[0].resource_metrics[0].scope_metrics[0].metrics}
    assert theirs.resource_metrics[0].resource == made[0].resource_metrics[0].resource


@given(st.lists(blocks(), max_size=4), st.integers(400, 3000))
def test_requests_keep_their_limit_and_lose_nothing(several: list[Block], most: int) -> None:
    made = list(requests([Observation(1.5, lambda: several)], SOURCE, most_bytes=most))
    samples = sum(v is not None for b in several for column in b.columns.values() for v in column)
    assert samples == sum(map(points, made))
    sizes = Counter(request.ByteSize() > max(most, 1500) for request in made)
    assert 0 == sizes[True]


def test_what_is_no_unicode_goes_out_as_a_question_mark_as_in_the_text() -> None:
    block = Block(f.G, [("prod", "\udcff")], {f.GROUP_MAX_LAG: [2**63]}, {})
    (request,) = requests([Observation(1.5, lambda: [block])], SOURCE)
    (point,) = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    assert ["prod", "?"] == [attribute.value.string_value for attribute in point.attributes]
    assert 2.0**63 == point.as_double
