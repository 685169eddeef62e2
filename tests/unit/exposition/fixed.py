"""Two small clusters that never change: every family has a sample, every kind of value occurs."""

from __future__ import annotations

from collections.abc import Mapping

from klag_trio.domain.lag import EMPTY_REPORT, FirstRecord, LagReport, report
from klag_trio.domain.offsets import (
    CleanupPolicy,
    ClusterSnapshot,
    ConsumerGroup,
    GroupState,
    Member,
    TopicPartition,
)
from klag_trio.exposition import samples, text
from klag_trio.exposition.samples import Block, ClusterStatus

NOW = 1_700_000_000.5
LABELS: Mapping[str, Mapping[str, str]] = {
    "alpha": {"env": "prod", "site": 'Köln "Süd" 100%'},
    "beta": {"path": "C:\\kafka\n{beta}"},
}

_ORDERS = [TopicPartition("orders", partition) for partition in range(3)]
_CHANGES = TopicPartition("changes", 0)
_ALICE = Member(consumer_id="billing-1-6f1c", client_id="billing-1", host="/10.0.0.1")
_FAR = 2**53


def alpha() -> LagReport:
    """A group that is behind, has lost records and met compaction; an empty one; one without a commit."""
    return _report(
        {
            _ORDERS[0]: (10, 110),
            _ORDERS[1]: (500, 900),
            _ORDERS[2]: (_FAR + 1, _FAR + 2_000_001),
            _CHANGES: (0, 40),
        },
        [
            ConsumerGroup(
                "billing",
                GroupState.STABLE,
                {_ORDERS[0]: 100, _ORDERS[1]: 400, _ORDERS[2]: _FAR + 1_000_001, _CHANGES: 4},
                {_ORDERS[0]: _ALICE, _CHANGES: _ALICE},
            ),
            ConsumerGroup("audit", GroupState.EMPTY, {_ORDERS[0]: 115}, {}),
            ConsumerGroup("newcomer", GroupState.PREPARING_REBALANCE, {}, {}),
        ],
        {
            (_ORDERS[0], 100): FirstRecord(100, NOW - 12.25),
            (_ORDERS[1], 400): FirstRecord(500, NOW - 86_400),
            (_CHANGES, 4): FirstRecord(9, NOW - 3.5),
        },
    )


def beta() -> LagReport:
    """The same names as in alpha, so that only the cluster tells the series apart; no time lag is known."""
    return _report(
        {_ORDERS[0]: (0, 7)}, [ConsumerGroup("billing", GroupState.UNKNOWN, {_ORDERS[0]: 5}, {})], {}
    )


def _report(
    watermarks: Mapping[TopicPartition, tuple[int, int]],
    groups: list[ConsumerGroup],
    records: Mapping[tuple[TopicPartition, int], FirstRecord],
) -> LagReport:
    snapshot = ClusterSnapshot(
        now=NOW,
        partitions=sorted(watermarks),
        earliest={tp: low for tp, (low, _) in watermarks.items()},
        latest={tp: high for tp, (_, high) in watermarks.items()},
        groups=groups,
        failed_groups={},
    )
    return report(
        snapshot,
        records=records,
        policies={"changes": CleanupPolicy.COMPACT},
        previous=EMPTY_REPORT,
        keep_after=NOW,
    )


def status(name: str, found: LagReport | None, **changes: object) -> ClusterStatus:
    """What is said of a cluster besides its lag; None where it is not fresh."""
    fresh = found is not None
    values: dict[str, object] = {
        "name": name,
        "labels": LABELS[name],
        "up": fresh,
        "overruns": 1,
        "errors": {("committed", "_TIMED_OUT"): 3, ("topics", "_TRANSPORT"): 1},
        "clamped": 2,
        "reads": 5,
        "read_bytes": 81_920,
        "phases": {"topics": 0.001, "report": 0.25},
        "cycle_seconds": 0.75 if fresh else None,
        "poll_seconds": 0.5 if fresh else None,
        "last_update": NOW if fresh else None,
        "compacted_partitions": found.compacted_partitions if found else None,
        "data_loss_partitions": found.data_loss_partitions if found else None,
        "unread_partitions": 1 if fresh else None,
    }
    return ClusterStatus(**{**values, **changes})  # type: ignore[arg-type]


def lag_blocks(name: str, found: LagReport) -> list[Block]:
    return samples.lag_blocks(name, LABELS[name], found, partition_series=True, time_lag=True).blocks


def bodies(extra: Mapping[text.Format, bytes] | None = None) -> text.Bodies:
    """Both clusters whole, and the process."""
    reports = {"alpha": alpha(), "beta": beta()}
    shared = text.prefix([text.lines(lag_blocks(name, found)) for name, found in reports.items()])
    said = [block for name, found in reports.items() for block in samples.cluster_blocks(status(name, found))]
    said += samples.process_blocks(
        version="1.2.3",
        up=True,
        leader=True,
        values_cut=3,
        log_lines_dropped=6,
        exports={"success": 4},
        reloads={"success": 2},
    )
    return text.finish(shared, [text.lines(said)], extra=extra or {"text": b"", "openmetrics": b""})
