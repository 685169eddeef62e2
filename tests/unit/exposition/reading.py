"""What prometheus-client's own parsers, which are not ours, read in a body."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from klag_trio.exposition.body import Body
from klag_trio.exposition.text import Bodies, Format

_openmetrics = cast("Callable[[str], Iterable[Metric]]", openmetrics_parser.text_string_to_metric_families)

FORMATS: tuple[Format, ...] = ("text", "openmetrics")


def plain(body: Body) -> str:
    return b"".join(body.chunks).decode()


def body_in(bodies: Bodies, form: Format) -> Body:
    return bodies.text if form == "text" else bodies.openmetrics


def families(bodies: Bodies, form: Format) -> dict[str, Metric]:
    """The families by the name that the body gives them; one that occurs twice is an error."""
    content = plain(body_in(bodies, form))
    read = list(_openmetrics(content) if form == "openmetrics" else text_string_to_metric_families(content))
    by_name = {metric.name: metric for metric in read}
    assert len(by_name) == len(read)
    return by_name


def samples(bodies: Bodies, form: Format) -> list[Sample]:
    return [sample for metric in families(bodies, form).values() for sample in metric.samples]
