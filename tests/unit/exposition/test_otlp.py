"""Requests of OTLP, held against OpenTelemetry's own encoder and against the blocks they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest
from benchmarks.otlp_sdk import metrics_data
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from klag_trio.exposition import families as f
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.otlp import Request, Source, requests
from klag_trio.exposition.samples import Block, Value

SOURCE = Source(resource={"service.name": "klag-trio", "team": "ä"}, version="1.2", started=5.0)
labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
measured = st.floats(allow_nan=False) | st.integers(0, 10)
counted = st.integers(-(2**63), 2**63 - 1) | measured


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    rows = draw(st.lists(st.tuples(labels, labels), max_size=6))
    constant = draw(st.dictionaries(st.sampled_from(["env", "region"]), labels))
    families = draw(st.lists(st.sampled_from(f.FAMILIES), unique=True, max_size=4))
    return Block(f.G, rows, {family: draw(columns(family, len(rows))) for family in families}, constant)


def columns(family: f.Family, rows: int) -> st.SearchStrategy[list[Value]]:
    value = st.none() | (counted if family.integral else measured)
    return st.lists(value, min_size=rows, max_size=rows)


def parsed(request: Request) -> ExportMetricsServiceRequest:
    message: ExportMetricsServiceRequest = ExportMetricsServiceRequest.FromString(request.body)
    return message


def sdk_request(observations: Sequence[Observation]) -> ExportMetricsServiceRequest:
    """The same through the SDK's data model and encoder."""
    return encode_metrics(metrics_data(observations, SOURCE))


@given(st.lists(st.tuples(st.floats(0, 4e9), blocks()), max_size=4))
def test_a_request_is_what_the_sdk_makes_of_the_same_samples(observed: list[tuple[float, Block]]) -> None:
    observations = [Observation(at, partial(list, [block])) for at, block in observed]
    made = list(requests(observations, SOURCE))
    theirs = sdk_request(observations)
    if theirs.resource_metrics[0].scope_metrics[0].metrics:
        assert [theirs] == list(map(parsed, made))
    else:
        assert [] == made


@pytest.mark.parametrize("family", f.FAMILIES, ids=lambda family: family.name)
def test_every_family_is_what_the_sdk_makes_of_it(family: f.Family) -> None:
    row = tuple(f"a {name}" for name in family.labels)
    block = Block(family.labels, [row, row], {family: [7, 1.5]}, {"env": "eu"})
    observations = [Observation(1.5, lambda: [block])]
    (made,) = requests(observations, SOURCE)
    assert sdk_request(observations) == parsed(made)


@given(st.lists(blocks(), max_size=4), st.integers(100, 3000))
def test_requests_keep_their_limit_and_lose_nothing(several: list[Block], most: int) -> None:
    observations = [Observation(1.5, lambda: several)]
    made = list(requests(observations, SOURCE, most_bytes=most))
    points = Counter(point for request in made for point in points_of(parsed(request)))
    assert points == Counter(points_of(sdk_request(observations)))
    assert [len(points_of(parsed(request))) for request in made] == [request.samples for request in made]
    assert all(len(request.body) <= most for request in made if request.samples > 1)


def points_of(request: ExportMetricsServiceRequest) -> list[tuple[str, bytes]]:
    """Each sample of a request: its family's name and type, and the sample."""
    return [
        (metric.name, point.SerializeToString(deterministic=True))
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        for point in (*metric.gauge.data_points, *metric.sum.data_points)
    ]


def test_what_is_no_unicode_goes_out_as_a_question_mark_as_in_the_text() -> None:
    block = Block(f.G, [("prod", "\udcff")], {f.GROUP_MAX_LAG: [2**63]}, {})
    (request,) = requests([Observation(1.5, lambda: [block])], SOURCE)
    (point,) = parsed(request).resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    assert ["prod", "?"] == [attribute.value.string_value for attribute in point.attributes]
    assert 2.0**63 == point.as_double
