"""From reports and counts to samples, the same for Prometheus and for OTLP.

Samples come in blocks: several families that carry the same labels share one table of label values, so that
a row's labels are made and escaped once for the six series it becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from klag_trio.domain.lag import GroupLag, LagReport, PartitionLag
from klag_trio.exposition import families as f
from klag_trio.exposition.families import Family
from klag_trio.exposition.label_values import LabelValues

Value = int | float | None
"""None where the sample is absent."""


@attrs.frozen
class Block:
    """Series with the same label names: one row of label values each, and one column of values a family."""

    label_names: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    """Label values in the order of the names."""
    columns: Mapping[Family, Sequence[Value]]
    """For each family one value a row."""
    constant: Mapping[str, str]
    """Labels that every row carries as well."""


LazyBlocks = Callable[[], Sequence[Block]]
"""Makes blocks, which takes a while for a large cluster."""


@attrs.frozen
class LagBlocks:
    """The series of one report."""

    blocks: list[Block]
    values_cut: int
    """Different label values that were too long and were cut."""


@attrs.frozen
class ClusterStatus:
    """What is to be said about a cluster apart from its lag."""

    name: str
    labels: Mapping[str, str]
    """Its constant labels."""
    up: bool | None
    """Whether its last cycle was good and is not stale; None on a standby."""
    overruns: int
    errors: Mapping[tuple[str, str], int]
    """(stage, code) to how often."""
    clamped: int
    reads: int
    read_bytes: int
    phases: Mapping[str, float]
    """Seconds of each phase of the last cycle; empty before the first."""
    cycle_seconds: float | None
    """The whole last cycle; None, like the two below, while the cluster is not fresh."""
    poll_seconds: float | None
    last_update: float | None
    """Seconds since the epoch."""
    compacted_partitions: int | None
    data_loss_partitions: int | None
    unread_partitions: int | None


def lag_blocks(
    cluster: str, labels: Mapping[str, str], report: LagReport, *, partition_series: bool, time_lag: bool
) -> LagBlocks:
    """The series of one cluster's report; without `partition_series` only aggregates and watermarks.

    Label values from Kafka are cut here; `cluster` and `labels` are the operator's and stay as they are.
    """
    values = LabelValues()
    blocks = [_watermarks(cluster, labels, report, values)]
    groups = [(values.fit(name), group) for name, group in report.groups.items()]
    if partition_series:
        rows = [row for _, group in groups for row in group.partitions]
        keys = [
            _member_labels(cluster, name, row, values) for name, group in groups for row in group.partitions
        ]
        blocks.append(_members(keys, labels, rows))
        if time_lag:
            blocks.append(_time_lags(keys, labels, rows))
    blocks.extend(_aggregates(cluster, labels, groups, values, time_lag=time_lag))
    return LagBlocks(blocks, values.cut)


def cluster_blocks(status: ClusterStatus) -> list[Block]:
    """What is said about a cluster apart from its lag; what is None is absent."""
    cluster, labels = status.name, status.labels
    blocks = [
        Block(
            f.CLUSTER,
            [(cluster,)],
            {
                f.POLL_TIME: [None if status.poll_seconds is None else status.poll_seconds * 1000],
                f.SCRAPE_DURATION: [status.cycle_seconds],
                f.LAST_UPDATE: [status.last_update],
                f.COMPACTION_DETECTED: [status.compacted_partitions],
                f.DATA_LOSS_PARTITIONS: [status.data_loss_partitions],
                f.CLUSTER_UP: [None if status.up is None else int(status.up)],
                f.CYCLES_OVERRUN: [status.overruns],
                f.TIME_LAG_READS: [status.reads],
                f.TIME_LAG_READ_BYTES: [status.read_bytes],
                f.TIME_LAG_UNREAD: [status.unread_partitions],
                f.NEGATIVE_LAG_CLAMPED: [status.clamped],
            },
            labels,
        ),
        Block(
            f.CYCLE_PHASE.labels,
            [(cluster, phase) for phase in status.phases],
            {f.CYCLE_PHASE: list(status.phases.values())},
            labels,
        ),
        Block(
            f.ERRORS.labels,
            [(cluster, stage, code) for stage, code in status.errors],
            {f.ERRORS: list(status.errors.values())},
            labels,
        ),
    ]
    return [block for block in blocks if block.rows]


def process_blocks(
    *,
    version: str,
    up: bool | None,
    leader: bool,
    values_cut: int,
    log_lines_dropped: int,
    exports: Mapping[str, int],
    reloads: Mapping[str, int],
) -> list[Block]:
    """What is said about the process: `up` None is absent.

    `values_cut` counts label values, `exports` OTLP exports by outcome, `reloads` changes of the web config.
    """
    return [
        Block(
            (),
            [()],
            {
                f.UP: [None if up is None else int(up)],
                f.LEADER: [int(leader)],
                f.LABEL_VALUES_CUT: [values_cut],
                f.LOG_LINES_DROPPED: [log_lines_dropped],
            },
            {},
        ),
        Block(f.OTLP_EXPORTS.labels, [(o,) for o in exports], {f.OTLP_EXPORTS: list(exports.values())}, {}),
        Block(
            f.WEB_CONFIG_RELOADS.labels,
            [(o,) for o in reloads],
            {f.WEB_CONFIG_RELOADS: list(reloads.values())},
            {},
        ),
        Block(f.BUILD_INFO.labels, [(version,)], {f.BUILD_INFO: [1]}, {}),
    ]


def _watermarks(cluster: str, labels: Mapping[str, str], report: LagReport, values: LabelValues) -> Block:
    return Block(
        f.P,
        [(cluster, values.fit(tp.topic), str(tp.partition)) for tp in report.offsets],
        {
            f.PARTITION_LATEST_OFFSET: [offsets.latest for offsets in report.offsets.values()],
            f.PARTITION_EARLIEST_OFFSET: [offsets.earliest for offsets in report.offsets.values()],
        },
        labels,
    )


def _member_labels(cluster: str, group: str, row: PartitionLag, values: LabelValues) -> tuple[str, ...]:
    member = row.member
    return (
        cluster,
        group,
        values.fit(row.topic),
        str(row.partition),
        values.fit(member.host),
        values.fit(member.consumer_id),
        values.fit(member.client_id),
    )


def _members(
    keys: Sequence[tuple[str, ...]], labels: Mapping[str, str], rows: Sequence[PartitionLag]
) -> Block:
    return Block(
        f.M,
        keys,
        {
            f.GROUP_OFFSET: [row.committed for row in rows],
            f.GROUP_LAG: [row.lag for row in rows],
            f.GROUP_MESSAGES_LOST: [row.messages_lost for row in rows],
            f.GROUP_RETENTION_MARGIN: [row.retention_margin for row in rows],
            f.GROUP_LAG_RETENTION_RATIO: [row.lag_retention_ratio for row in rows],
        },
        labels,
    )


def _time_lags(
    keys: Sequence[tuple[str, ...]], labels: Mapping[str, str], rows: Sequence[PartitionLag]
) -> Block:
    known = [(key, row) for key, row in zip(keys, rows, strict=True) if row.time_lag is not None]
    return Block(
        (*f.M, *f.FLAGS),
        [(*key, _flag(row.compaction_detected), _flag(row.data_loss_detected)) for key, row in known],
        {f.GROUP_LAG_SECONDS: [row.time_lag for _, row in known]},
        labels,
    )


def _aggregates(
    cluster: str,
    labels: Mapping[str, str],
    groups: Sequence[tuple[str, GroupLag]],
    values: LabelValues,
    *,
    time_lag: bool,
) -> list[Block]:
    # A group without a single commit has no lag, not a lag of 0.
    lagging = [(name, group) for name, group in groups if group.partitions]
    max_lags: dict[Family, Sequence[Value]] = {
        f.GROUP_MAX_LAG: [group.max_lag for _, group in lagging],
        f.GROUP_SUM_LAG: [group.sum_lag for _, group in lagging],
    }
    if time_lag:
        max_lags[f.GROUP_MAX_LAG_SECONDS] = [group.max_time_lag for _, group in lagging]
    topics = [
        (name, values.fit(topic), lag) for name, group in lagging for topic, lag in group.topic_sums().items()
    ]
    return [
        Block(f.G, [(cluster, name) for name, _ in lagging], max_lags, labels),
        Block(
            f.GROUP_TOPIC_SUM_LAG.labels,
            [(cluster, name, topic) for name, topic, _ in topics],
            {f.GROUP_TOPIC_SUM_LAG: [lag for _, _, lag in topics]},
            labels,
        ),
        Block(
            f.G,
            [(cluster, name) for name, _ in groups],
            {f.GROUP_STATE: [int(group.state) for _, group in groups]},
            labels,
        ),
    ]


def _flag(detected: bool) -> str:
    return "true" if detected else "false"
