"""The demo's rows, from the text that klag-trio serves, and the plain table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STATES = {
    0: "Unknown",
    1: "PreparingRebalance",
    2: "CompletingRebalance",
    3: "Stable",
    4: "Dead",
    5: "Empty",
    6: "Assigning",
    7: "Reconciling",
}
PREFIX = "kafka_consumergroup_group_"
HEADINGS = ("group", "state", "lag", "time lag", "lost", "what it does")


@attrs.frozen
class PartitionRow:
    """One partition of a group; None where /metrics tells nothing."""

    topic: str
    partition: int
    client_id: str = ""
    lag: float | None = None
    lag_seconds: float | None = None
    messages_lost: float | None = None


@attrs.frozen
class Row:
    """One consumer group as /metrics tells of it; None where it tells nothing."""

    group: str
    state: str | None = None
    lag: float | None = None
    lag_seconds: float | None = None
    messages_lost: float | None = None


def rows(metrics: str) -> list[Row]:
    """Return the groups of a /metrics answer in order of name."""
    found: dict[str, Row] = {}
    for name, labels, value in _samples(metrics):
        group = labels["group"]
        found[group] = _with(found.get(group, Row(group)), name, value)
    return [found[group] for group in sorted(found)]


def partitions(metrics: str) -> dict[str, list[PartitionRow]]:
    """Return the partitions of each group, in order of topic and partition."""
    found: dict[tuple[str, str, int], PartitionRow] = {}
    for name, labels, value in _samples(metrics):
        if "partition" not in labels:
            continue
        topic, partition = labels["topic"], int(labels["partition"])
        key = labels["group"], topic, partition
        row = found.get(key, PartitionRow(topic, partition, labels["client_id"]))
        match name:
            case "lag":
                row = attrs.evolve(row, lag=value)
            case "lag_seconds":
                row = attrs.evolve(row, lag_seconds=value)
            case "messages_lost":
                row = attrs.evolve(row, messages_lost=value)
        found[key] = row
    groups: dict[str, list[PartitionRow]] = {}
    for group, topic, partition in sorted(found):
        groups.setdefault(group, []).append(found[group, topic, partition])
    return groups


def render(groups: Iterable[Row], stories: Mapping[str, str]) -> str:
    """Lay the rows out in columns."""
    lines = [HEADINGS]
    for row in groups:
        story = stories.get(row.group, "")
        lines.append(
            (
                row.group,
                row.state or "-",
                count(row.lag),
                seconds(row.lag_seconds),
                count(row.messages_lost),
                story,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in (2, 3, 4) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _samples(metrics: str) -> Iterable[tuple[str, Mapping[str, str], float]]:
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name.startswith(PREFIX):
                yield sample.name.removeprefix(PREFIX), sample.labels, sample.value


def _with(row: Row, name: str, value: float) -> Row:
    match name:
        case "state":
            return attrs.evolve(row, state=STATES.get(int(value), f"state {value:g}"))
        case "sum_lag":
            return attrs.evolve(row, lag=value)
        case "max_lag_seconds":
            return attrs.evolve(row, lag_seconds=value)
        case "messages_lost":
            return attrs.evolve(row, messages_lost=(row.messages_lost or 0) + value)
        case _:
            return row
