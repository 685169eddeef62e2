"""What klag-trio shows, and what arrives at a collector and at Prometheus, made comparable."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stack.prometheus import PrometheusServer

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
# What the collector adds of itself.
COLLECTORS_OWN = {"job", "instance", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}
_SAMPLE = re.compile(r"((?:kafka|klag)_\w+)(?:\{(.*)\})? (\S+)")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def ours(page: str) -> Series:
    """The kafka_ and klag_ samples of a page: name and labels, these as they are escaped, to the value.

    A label that is empty is none, as Prometheus has it.
    prometheus-client's parser would take a minute for the largest pages.
    """
    found = {}
    for line in page.split("\n"):
        if sample := _SAMPLE.fullmatch(line):
            name, labels, value = sample.groups(default="")
            pairs = _LABEL.findall(labels)
            kept = frozenset((label, said) for label, said in pairs if said and label not in COLLECTORS_OWN)
            found[name, kept] = float(value)
        else:
            assert not line.startswith(("kafka_", "klag_")), line
    return found


def from_prometheus(server: PrometheusServer) -> Series:
    """The same of what a Prometheus has now."""
    return {
        (sample.labels["__name__"], _escaped(sample.labels)): sample.value
        for sample in server.query('{__name__=~"(kafka|klag)_.+"}')
    }


def _escaped(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    kept = labels.keys() - COLLECTORS_OWN - {"__name__"}
    return frozenset((name, labels[name].translate(_ESCAPES)) for name in kept)


def lag(page: str) -> Series:
    """Those of `ours` that change only when the offsets do."""
    return lag_of(ours(page))


def lag_of(series: Series) -> Series:
    """Those that change only when the offsets do."""
    names = ("kafka_partition_", "kafka_consumergroup_group_")
    return {
        key: value for key, value in series.items() if key[0].startswith(names) and "seconds" not in key[0]
    }
