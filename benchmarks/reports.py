"""Reports without a broker: of the shape that a workload gives, or with just so many samples."""

from __future__ import annotations

import attrs

from benchmarks.workload import Workload
from klag_trio.domain.lag import GroupLag, LagReport, PartitionLag, PartitionOffsets
from klag_trio.domain.offsets import GroupState, Member, TopicPartition
from klag_trio.exposition.samples import Block, lag_blocks


def report_of(workload: Workload, now: float) -> LagReport:
    """A report of a workload's shape in which no two partitions have the same offsets."""
    offsets = {
        TopicPartition(*workload.place(number)): PartitionOffsets(number, _latest(number), now)
        for number in range(workload.partition_count)
    }
    groups = {}
    for index in range(workload.groups):
        name = workload.group(index)
        rows = [_row(workload, index, number, now) for number in workload.partitions_of(index)]
        groups[name] = GroupLag(name, GroupState.STABLE, now, tuple(rows))
    return LagReport(now=now, offsets=offsets, groups=groups, clamped=0)


def _latest(number: int) -> int:
    return 9_000_000_000 + 17 * number


def _row(workload: Workload, group: int, number: int, now: float) -> PartitionLag:
    topic, partition = workload.place(number)
    name = workload.group(group)
    behind = 1000 * group + number + 1 if workload.lags(number) else 0
    return PartitionLag(
        topic=topic,
        partition=partition,
        member=Member(f"{name}-6f1c2b3a-{number:012}", name, f"/10.1.{group % 250}.{number % 250}"),
        earliest=number,
        committed=_latest(number) - behind,
        latest=_latest(number),
        as_of=now,
        time_lag=behind / 7,
    )


def blocks_of(report: LagReport) -> list[Block]:
    """All that is said of it."""
    return lag_blocks("bench", {"env": "eu"}, report, partition_series=True, time_lag=True).blocks


def count(blocks: list[Block]) -> int:
    return sum(value is not None for block in blocks for column in block.columns.values() for value in column)


def report_with(samples: int, like: Workload, now: float) -> LagReport:
    """A report of nearly this workload's shape with exactly so many samples.

    It has as many groups as it takes, and some of them lack one time lag.
    """
    without = count(blocks_of(report_of(attrs.evolve(like, groups=1), now)))
    each = count(blocks_of(report_of(attrs.evolve(like, groups=2), now))) - without
    groups = 1 - (without - samples) // each
    report = report_of(attrs.evolve(like, groups=groups), now)
    excess = count(blocks_of(report)) - samples
    thinned = {name: _without_a_time_lag(report.groups[name]) for name in list(report.groups)[:excess]}
    return attrs.evolve(report, groups={**report.groups, **thinned})


def _without_a_time_lag(group: GroupLag) -> GroupLag:
    first, *others = group.partitions
    return attrs.evolve(group, partitions=(attrs.evolve(first, time_lag=None), *others))
