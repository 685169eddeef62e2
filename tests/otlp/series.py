"""What klag-trio and the collector show to Prometheus, made comparable."""

from __future__ import annotations

import re

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
# What the collector adds of itself.
COLLECTORS_OWN = {"job", "instance", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}
_SAMPLE = re.compile(r"((?:kafka|klag)_\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def ours(page: str) -> Series:
    """The kafka_ and klag_ samples of a page: name and labels, these as they are escaped, to the value.

    prometheus-client's parser would take a minute for the largest pages.
    """
    found = {}
    for line in page.split("\n"):
        if sample := _SAMPLE.fullmatch(line):
            name, labels, value = sample.groups(default="")
            kept = (pair for pair in _LABEL.findall(labels) if pair[0] not in COLLECTORS_OWN)
            found[name, frozenset(kept)] = float(value)
        else:
            assert not line.startswith(("kafka_", "klag_")), line
    return found


def lag(page: str) -> Series:
    """Those of `ours` that change only when the offsets do."""
    names = ("kafka_partition_", "kafka_consumergroup_group_")
    return {
        key: value
        for key, value in ours(page).items()
        if key[0].startswith(names) and "seconds" not in key[0]
    }
