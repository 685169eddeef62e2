"""Clusters as the pages are told of them: a small one that has everything, and any number of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from klag_trio.domain.history import History
from klag_trio.domain.lag import EMPTY_REPORT, FirstRecord, LagReport, report
from klag_trio.domain.offsets import (
    CleanupPolicy,
    ClusterSnapshot,
    ConsumerGroup,
    Fault,
    GroupState,
    Member,
    TopicPartition,
)
from klag_trio.exposition.pages.state import ClusterState, Published

NOW = 1_700_000_000.0
HOSTILE = '"><script>alert(1)</script>/ %2F & \u202e'
DENIED = Fault("GROUP_AUTHORIZATION_FAILED", "Broker: Group authorization failed")
REFUSED = Fault("_TRANSPORT", "connection refused", retriable=True)


def small_report(now: float = NOW, behind: int = 100) -> LagReport:
    """`billing` is behind and has a member, `lossy` lost 50 records, `idle` is done, `newcomer` is new."""
    orders = [TopicPartition("orders", partition) for partition in range(2)]
    clicks = TopicPartition("clicks", 0)
    owner = Member("billing-1-6f1c", "billing-1", "/10.0.0.1")
    groups = [
        ConsumerGroup(
            "billing",
            GroupState.STABLE,
            {orders[0]: 1000 - behind, orders[1]: 1990, clicks: 100},
            dict.fromkeys(orders, owner),
            members=1,
        ),
        ConsumerGroup("lossy", GroupState.EMPTY, {clicks: 50}, {}),
        ConsumerGroup("idle", GroupState.EMPTY, {orders[0]: 1000}, {}),
        ConsumerGroup("newcomer", GroupState.PREPARING_REBALANCE, {}, {}),
        ConsumerGroup(HOSTILE, GroupState.UNKNOWN, {orders[0]: 999}, {}),
    ]
    snapshot = ClusterSnapshot(
        now=now,
        partitions=[clicks, *orders],
        earliest={orders[0]: 0, orders[1]: 0, clicks: 100},
        latest={orders[0]: 1000, orders[1]: 2000, clicks: 200},
        groups=groups,
        failed_groups={},
    )
    records = {
        (orders[0], 1000 - behind): FirstRecord(1000 - behind, now - 125),
        (orders[1], 1990): FirstRecord(1990, now - 3.4),
    }
    return report(snapshot, records=records, policies={}, previous=EMPTY_REPORT, keep_after=now)


def cluster(name: str, found: LagReport | None, **changes: object) -> ClusterState:
    """A cluster that is up; or, without a report, one whose first cycle has not ended."""
    values: dict[str, object] = {
        "name": name,
        "report": found,
        "last_good": None if found is None else found.now,
        "failing": False,
        "history": History() if found is None else History().add(found),
        "phases": {} if found is None else {"topics": 0.25, "groups": 0.75},
        "cycle_seconds": None if found is None else 1.2,
    }
    return ClusterState(**{**values, **changes})  # type: ignore[arg-type]


def published(*clusters: ClusterState, now: float = NOW + 5, leader: bool = True) -> Published:
    return Published(
        version="1.2.3",
        now=now,
        leader=leader,
        poll_interval=30.0,
        staleness_threshold=90.0,
        clusters=clusters,
    )


def many_groups(groups: int, partitions: int, *, now: float = NOW, shift: int = 0) -> LagReport:
    """Groups of one topic each; every fourth is done, every 50th lost records, half of them have members."""
    topics = max(1, groups // 2)
    found = []
    for number in range(groups):
        mine = [TopicPartition(f"topic-{number % topics:05d}", p) for p in range(partitions)]
        lag = 0 if number % 4 == 0 else (number * 37 + shift * (number % 11 - 5)) % 9000
        committed = dict.fromkeys(mine, 400 if number % 50 == 1 else 10_000 - lag)
        owner = Member(f"client-{number}-6f1c", f"client-{number}", "/10.0.0.1")
        state = GroupState.STABLE if number % 2 else GroupState.EMPTY
        owners = dict.fromkeys(mine, owner) if number % 2 else {}
        found.append(ConsumerGroup(f"group-{number:06d}", state, committed, owners, members=number % 2))
    return _whole(found, earliest=500, latest=10_000, now=now)


def one_group(partitions: int, *, now: float = NOW) -> LagReport:
    """A group that is ever further behind from partition to partition."""
    mine = [TopicPartition("wide", p) for p in range(partitions)]
    commits: Mapping[TopicPartition, int] = {tp: 10_000 - tp.partition for tp in mine}
    return _whole([ConsumerGroup("wide", GroupState.EMPTY, commits, {})], earliest=0, latest=10_000, now=now)


def _whole(groups: Sequence[ConsumerGroup], *, earliest: int, latest: int, now: float) -> LagReport:
    partitions = sorted({tp for group in groups for tp in group.commits})
    snapshot = ClusterSnapshot(
        now=now,
        partitions=partitions,
        earliest=dict.fromkeys(partitions, earliest),
        latest=dict.fromkeys(partitions, latest),
        groups=groups,
        failed_groups={},
    )
    records = {
        (tp, committed): FirstRecord(committed, now - (latest - committed) / 10)
        for group in groups
        for tp, committed in group.commits.items()
        if not isinstance(committed, Fault) and committed < latest
    }
    policies = {tp.topic: CleanupPolicy.DELETE for tp in partitions}
    return report(snapshot, records=records, policies=policies, previous=EMPTY_REPORT, keep_after=now)
