"""From what one cycle read to what every group lags behind: pure arithmetic over frozen records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from klag_trio.domain.offsets import (
    NOBODY,
    CleanupPolicy,
    ClusterSnapshot,
    Fault,
    GroupState,
    Member,
    TopicPartition,
)


@attrs.frozen
class FirstRecord:
    """The first record at or after a committed offset; `offset` None: only transaction markers are left."""

    offset: int | None
    timestamp: float | None
    """Seconds since the epoch; None where the record has no timestamp."""


NOTHING_LEFT = FirstRecord(offset=None, timestamp=None)


@attrs.frozen
class PartitionLag:
    """How far one group is behind in one partition, as of one cycle."""

    topic: str
    partition: int
    member: Member
    earliest: int
    committed: int
    latest: int
    as_of: float
    """When this was true, in seconds since the epoch; older than its report for a row that was kept."""
    time_lag: float | None = None
    """Seconds; None where it is not known."""
    compaction_detected: bool = False
    data_loss_detected: bool = False

    @property
    def lag(self) -> int:
        """Records to go. A truncated log can end below the commit; that is not negative lag."""
        return max(0, self.latest - self.committed)

    @property
    def messages_lost(self) -> int:
        """Offsets that retention removed before the group came to them."""
        return self.earliest - self.committed if self.data_loss_detected else 0

    @property
    def retention_margin(self) -> int:
        """Offsets between the group and the deletion boundary; negative once it has been overtaken."""
        return self.committed - self.earliest

    @property
    def lag_retention_ratio(self) -> float:
        """Lag in percent of what the partition retains; above 100 the group has been overtaken."""
        retained = self.latest - self.earliest
        if retained > 0:
            return self.lag * 100 / retained
        # Nothing is retained, so nothing can be divided by: a commit below is past the boundary all the same.
        return 100.0 + 100.0 * (self.earliest - self.committed) if self.committed < self.earliest else 0.0


@attrs.frozen
class GroupLag:
    """A group and its rows, sorted by topic and partition."""

    group: str
    state: GroupState
    as_of: float
    """When the group last answered."""
    partitions: tuple[PartitionLag, ...]
    members: int = 0
    """Those that own partitions."""

    @property
    def sum_lag(self) -> int:
        """Records to go over all partitions."""
        return sum(row.lag for row in self.partitions)

    @property
    def max_lag(self) -> int:
        """The longest lag of a single partition; 0 without any."""
        return max((row.lag for row in self.partitions), default=0)

    @property
    def max_time_lag(self) -> float | None:
        """The longest time lag in seconds of those that are known; None when none is."""
        return max((row.time_lag for row in self.partitions if row.time_lag is not None), default=None)

    def topic_sums(self) -> dict[str, int]:
        """Records to go per topic."""
        sums: dict[str, int] = {}
        for row in self.partitions:
            sums[row.topic] = sums.get(row.topic, 0) + row.lag
        return sums


@attrs.frozen
class PartitionOffsets:
    """The watermarks of one partition."""

    earliest: int
    latest: int
    as_of: float


@attrs.frozen
class LagReport:
    """What one cycle found out about one cluster: a value that can be kept, compared and filtered."""

    now: float
    """The instant it speaks of, in seconds since the epoch."""
    offsets: Mapping[TopicPartition, PartitionOffsets]
    """Sorted by topic and partition."""
    groups: Mapping[str, GroupLag]
    """Sorted by name."""
    clamped: int
    """Rows whose committed offset lies beyond the end."""

    def rows(self) -> Iterator[PartitionLag]:
        """Every group's rows."""
        for group in self.groups.values():
            yield from group.partitions

    @property
    def compacted_partitions(self) -> int:
        """Partitions in which some group's first record was compacted away."""
        return len({(row.topic, row.partition) for row in self.rows() if row.compaction_detected})

    @property
    def data_loss_partitions(self) -> int:
        """Partitions in which some group lost records."""
        return len({(row.topic, row.partition) for row in self.rows() if row.data_loss_detected})


EMPTY_REPORT = LagReport(now=0.0, offsets={}, groups={}, clamped=0)


def policies_wanted(
    snapshot: ClusterSnapshot, records: Mapping[tuple[TopicPartition, int], FirstRecord]
) -> set[str]:
    """The topics whose cleanup policy decides a flag: a commit lies below the log, or a record is missing."""
    wanted = {
        tp.topic
        for group in snapshot.groups
        for tp, committed in group.commits.items()
        if not isinstance(committed, Fault) and committed < snapshot.earliest.get(tp, 0)
    }
    wanted.update(
        tp.topic
        for (tp, committed), record in records.items()
        if record.offset is not None and record.offset > committed
    )
    return wanted


def report(
    snapshot: ClusterSnapshot,
    *,
    records: Mapping[tuple[TopicPartition, int], FirstRecord],
    policies: Mapping[str, CleanupPolicy],
    previous: LagReport,
    keep_after: float,
) -> LagReport:
    """What every group lags behind.

    `records` holds the first record for each (partition, committed offset) that is known, and
    `policies` the cleanup policies of `policies_wanted`; an unknown policy counts as `delete`, which
    is Kafka's default. A group or partition that exists but failed keeps the rows of `previous` whole,
    as they were, unless they are older than `keep_after` (seconds since the epoch) or of a time to come.
    """
    if previous.now > snapshot.now:
        # The clock was set back, and nothing tells any more how old the rows are.
        previous = EMPTY_REPORT
    offsets = dict(sorted(_offsets(snapshot, previous, keep_after)))
    groups: dict[str, GroupLag] = {}
    clamped = 0
    for group in snapshot.groups:
        kept = _rows_of(previous, group.name, keep_after)
        rows = []
        for tp, committed in sorted(group.commits.items()):
            if tp not in offsets:
                continue
            earliest, latest = snapshot.earliest.get(tp), snapshot.latest.get(tp)
            if isinstance(committed, Fault) or earliest is None or latest is None:
                if tp in kept:
                    rows.append(kept[tp])
                continue
            clamped += committed > latest
            rows.append(
                _row(
                    tp,
                    group.owners.get(tp, NOBODY),
                    earliest=earliest,
                    committed=committed,
                    latest=latest,
                    now=snapshot.now,
                    record=records.get((tp, committed)),
                    policy=policies.get(tp.topic, CleanupPolicy.DELETE),
                )
            )
        groups[group.name] = GroupLag(group.name, group.state, snapshot.now, tuple(rows), group.members)
    groups.update(_kept_groups(snapshot, previous, keep_after))
    return LagReport(now=snapshot.now, offsets=offsets, groups=dict(sorted(groups.items())), clamped=clamped)


def _offsets(
    snapshot: ClusterSnapshot, previous: LagReport, keep_after: float
) -> Iterator[tuple[TopicPartition, PartitionOffsets]]:
    for tp in snapshot.partitions:
        earliest, latest = snapshot.earliest.get(tp), snapshot.latest.get(tp)
        if earliest is not None and latest is not None:
            yield tp, PartitionOffsets(earliest, latest, snapshot.now)
        elif (kept := previous.offsets.get(tp)) is not None and kept.as_of >= keep_after:
            yield tp, kept


def _rows_of(report: LagReport, group: str, keep_after: float) -> dict[TopicPartition, PartitionLag]:
    known = report.groups.get(group)
    rows: Iterable[PartitionLag] = known.partitions if known is not None else ()
    return {TopicPartition(row.topic, row.partition): row for row in rows if row.as_of >= keep_after}


def _kept_groups(
    snapshot: ClusterSnapshot, previous: LagReport, keep_after: float
) -> Iterator[tuple[str, GroupLag]]:
    existing = frozenset(snapshot.partitions)
    for name in snapshot.failed_groups:
        known = previous.groups.get(name)
        if known is None or known.as_of < keep_after:
            continue
        rows = _rows_of(previous, name, keep_after)
        kept = tuple(row for tp, row in rows.items() if tp in existing)
        yield name, attrs.evolve(known, partitions=kept)


def _row(
    tp: TopicPartition,
    member: Member,
    *,
    earliest: int,
    committed: int,
    latest: int,
    now: float,
    record: FirstRecord | None,
    policy: CleanupPolicy,
) -> PartitionLag:
    overtaken = committed < earliest
    gap = record is not None and record.offset is not None and record.offset > committed
    return PartitionLag(
        topic=tp.topic,
        partition=tp.partition,
        member=member,
        earliest=earliest,
        committed=committed,
        latest=latest,
        as_of=now,
        time_lag=_age(record, now) if latest > committed else 0.0,
        compaction_detected=gap and not overtaken and CleanupPolicy.COMPACT in policy,
        data_loss_detected=overtaken and CleanupPolicy.DELETE in policy,
    )


def _age(record: FirstRecord | None, now: float) -> float | None:
    if record is None:
        return None
    if record.offset is None:
        return 0.0
    # A producer's clock may be ahead of ours.
    return None if record.timestamp is None else max(0.0, now - record.timestamp)
