"""The SDK's metric data beside the blocks that it comes from, and its size beside what the SDK encodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)

from klag_trio.exposition import families as f
from klag_trio.exposition.samples import Block, LazyBlocks, Value
from klag_trio.otlp.data import Source, parts

AT = 6.5
SOURCE = Source(resource={"service.name": "klag-trio", "team": "ä"}, version="1.2", started=5.0)
labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
measured = st.floats(allow_nan=False) | st.integers(0, 10)
counted = st.integers(-(2**63), 2**63 - 1) | measured

# Name, labels, time in nanoseconds and value; a number that is an integer is told from one that is not.
Point = tuple[str, frozenset[tuple[str, str]], int, str]


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    rows = draw(st.lists(st.tuples(labels, labels), max_size=6))
    constant = draw(st.dictionaries(st.sampled_from(["env", "region"]), labels))
    families = draw(st.lists(st.sampled_from(f.FAMILIES), unique=True, max_size=4))
    return Block(f.G, rows, {family: draw(columns(family, len(rows))) for family in families}, constant)


def columns(family: f.Family, rows: int) -> st.SearchStrategy[list[Value]]:
    value = st.none() | (counted if family.integral else measured)
    return st.lists(value, min_size=rows, max_size=rows)


def metrics_of(made: Iterable[MetricsData]) -> Iterator[Metric]:
    for part in made:
        (resource,) = part.resource_metrics
        assert dict(resource.resource.attributes) == SOURCE.resource
        (scope,) = resource.scope_metrics
        assert (scope.scope.name, scope.scope.version) == ("klag-trio", SOURCE.version)
        yield from scope.metrics


def numbers_of(metric: Metric) -> Iterator[NumberDataPoint]:
    for point in metric.data.data_points:
        assert isinstance(point, NumberDataPoint)
        yield point


def labels_of(point: NumberDataPoint) -> dict[str, str]:
    assert point.attributes is not None
    return {name: str(value) for name, value in point.attributes.items()}


def points_of(made: Iterable[MetricsData]) -> Counter[Point]:
    return Counter(
        (metric.name, frozenset(labels_of(point).items()), point.time_unix_nano, repr(point.value))
        for metric in metrics_of(made)
        for point in numbers_of(metric)
    )


def samples_of(several: Iterable[LazyBlocks]) -> Counter[Point]:
    """What the blocks say, sample by sample."""
    return Counter(
        (
            family.name,
            frozenset([*zip(block.label_names, row, strict=True), *block.constant.items()]),
            round(AT * 1e9),
            repr(value if family.integral else float(value)),
        )
        for make in several
        for block in make()
        for family, column in block.columns.items()
        for row, value in zip(block.rows, column, strict=True)
        if value is not None
    )


@given(st.lists(blocks(), max_size=4))
def test_every_sample_is_a_point_of_the_same_time_and_there_is_no_other(drawn: list[Block]) -> None:
    several: list[LazyBlocks] = [partial(list, [block]) for block in drawn]
    made = list(parts(several, SOURCE, at=AT))
    assert samples_of(several) == points_of(made)
    assert all(metric.data.data_points for metric in metrics_of(made))


@pytest.mark.parametrize("family", f.FAMILIES, ids=lambda family: family.name)
def test_a_family_keeps_its_name_help_unit_and_type(family: f.Family) -> None:
    row = tuple(f"a {name}" for name in family.labels)
    block = Block(family.labels, [row], {family: [7]}, {})
    (metric,) = metrics_of(parts([lambda: [block]], SOURCE, at=AT))
    assert (family.name, family.help, family.unit) == (metric.name, metric.description, metric.unit)
    (point,) = numbers_of(metric)
    if family.type == "counter":
        assert isinstance(metric.data, Sum)
        assert metric.data.is_monotonic
        assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
        assert point.start_time_unix_nano == 5_000_000_000
    else:
        assert isinstance(metric.data, Gauge)
        assert not point.start_time_unix_nano


@given(st.lists(blocks(), max_size=4), st.integers(100, 3000))
def test_parts_keep_their_limit_and_lose_nothing(several: list[Block], most: int) -> None:
    made = list(parts([lambda: several], SOURCE, at=AT, most_bytes=most))
    assert samples_of([lambda: several]) == points_of(made)
    for part in made:
        # What every part says of the process comes on top.
        if points_of([part]).total() > 1:
            assert encode_metrics(part).ByteSize() <= most + 200


def test_all_rows_of_a_large_block_are_there() -> None:
    rows = [(str(number), "g") for number in range(2_345)]
    lags = [number if number % 7 else None for number in range(len(rows))]
    block = Block(f.G, rows, {f.GROUP_MAX_LAG: lags, f.GROUP_SUM_LAG: lags[::-1]}, {"env": "prod"})
    assert samples_of([lambda: [block]]) == points_of(parts([lambda: [block]], SOURCE, at=AT))


def test_a_resource_that_is_no_unicode_goes_out_too() -> None:
    block = Block(f.G, [("prod", "a")], {f.GROUP_MAX_LAG: [1]}, {})
    (part,) = parts([lambda: [block]], Source({"a\udcff": "b\udcff"}, "1", 0.0), at=AT)
    (resource,) = encode_metrics(part).resource_metrics
    assert [("a?", "b?")] == [(each.key, each.value.string_value) for each in resource.resource.attributes]


def test_what_is_no_unicode_goes_out_as_a_question_mark_as_in_the_text() -> None:
    block = Block(f.G, [("prod", "\udcff")], {f.GROUP_MAX_LAG: [2**63]}, {})
    (metric,) = metrics_of(parts([lambda: [block]], SOURCE, at=AT))
    (point,) = numbers_of(metric)
    assert ["prod", "?"] == list(labels_of(point).values())
    assert repr(2.0**63) == repr(point.value)


def test_each_part_is_made_when_it_is_asked_for() -> None:
    made = []

    def make() -> list[Block]:
        made.append(1)
        return [Block(("n",), [("1",)], {f.LEADER: [1]}, {})]

    pending = parts([make, make], SOURCE, at=AT, most_bytes=1)
    assert made == []
    next(pending)
    next(pending)
    assert len(made) == 2
