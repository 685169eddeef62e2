"""What a body tells of its exporter's cycles, and how right it is about a filled broker."""

from __future__ import annotations

import attrs

from benchmarks import exposition
from benchmarks.figures import Figures, median
from benchmarks.subjects import Dialect
from benchmarks.workload import Workload


@attrs.frozen
class Cycle:
    """The last cycle, in seconds."""

    key: float  # differs from cycle to cycle
    duration: float
    phases: dict[str, float]


def last_cycle(body: bytes, dialect: Dialect) -> Cycle | None:
    """None where the exporter has had no cycle yet or says nothing about it."""
    if dialect.cycle is None or not exposition.has_sample(body, dialect.lag):
        return None
    durations = exposition.values(body, dialect.cycle)
    if not durations:
        return None
    found = exposition.samples(body, dialect.phases) if dialect.phases else []
    phases = {labels["phase"]: value for labels, value in found}
    updates = exposition.values(body, dialect.last_update) if dialect.last_update else []
    # Phases run beside one another, so that their sum says nothing about the whole.
    return Cycle((updates or durations)[0], durations[0], phases)


@attrs.define
class Cycles:
    """The cycles seen in one window, each once."""

    seen: dict[float, Cycle] = attrs.field(factory=dict)

    def add(self, body: bytes, dialect: Dialect) -> None:
        cycle = last_cycle(body, dialect)
        if cycle is not None:
            self.seen[cycle.key] = cycle

    def figures(self, prefix: str) -> Figures:
        names = dict.fromkeys(name for cycle in self.seen.values() for name in cycle.phases)
        phases = {
            f"{prefix}_phase_{name}_s": median(cycle.phases.get(name) for cycle in self.seen.values())
            for name in names
        }
        return {
            f"{prefix}_cycle_s": median(cycle.duration for cycle in self.seen.values()),
            f"{prefix}_cycles_seen": len(self.seen),
            **phases,
        }


def coverage(body: bytes, dialect: Dialect, workload: Workload, base_ms: int) -> Figures:
    """Rows with lag, how many of them carry a time lag, and how far that is from the record's own stamp.

    Holds while every group is at its first commit and nothing is produced.
    """
    lags = {_row(labels, workload): value for labels, value in exposition.samples(body, dialect.lag)}
    behind = {row: lag for row, lag in lags.items() if lag > 0}
    figures: Figures = {
        "lagging": len(behind),
        "wrong_lags": sum(value != _lag(workload, row) for row, value in lags.items()),
    }
    if dialect.time_lag is None:
        return figures
    ages = {_row(labels, workload): value for labels, value in exposition.samples(body, dialect.time_lag)}
    known = {row: ages[row] for row in behind if row in ages}
    figures["time_lag_share"] = len(known) / workload.lagging_group_partitions
    updates = exposition.values(body, dialect.last_update) if dialect.last_update else []
    if known and updates:
        figures["time_lag_error_max_s"] = max(
            abs(updates[0] - _stamp(workload, row, base_ms) - age) for row, age in known.items()
        )
    return figures


@attrs.frozen
class Row:
    """A group-partition of the workload, by number."""

    group: int
    partition: int


def _row(labels: exposition.Labels, workload: Workload) -> Row:
    topic = int(labels["topic"].rpartition("-")[2])
    return Row(
        int(labels["group"].rpartition("-")[2]), topic * workload.partitions + int(labels["partition"])
    )


def _lag(workload: Workload, row: Row) -> int:
    return workload.records - workload.committed(row.group, row.partition)


def _stamp(workload: Workload, row: Row, base_ms: int) -> float:
    offset = workload.committed(row.group, row.partition)
    return workload.timestamp_ms(base_ms, row.partition, offset) / 1000
