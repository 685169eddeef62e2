"""Snapshots in few words, and hypothesis strategies for them."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from klag_trio.domain.lag import EMPTY_REPORT, FirstRecord, LagReport, PartitionLag, report
from klag_trio.domain.offsets import (
    CleanupPolicy,
    ClusterSnapshot,
    Commits,
    ConsumerGroup,
    Fault,
    GroupState,
    Member,
    TopicPartition,
)

NOW = 1_700_000_000.0
THRESHOLD = 90.0
T0 = TopicPartition("orders", 0)
T1 = TopicPartition("orders", 1)
FAILED = Fault("_TIMED_OUT", "timed out", retriable=True)
ALICE = Member(consumer_id="app-1-6f1c", client_id="app-1", host="/10.0.0.1")

Watermarks = Mapping[TopicPartition, tuple[int | None, int | None]]
"""(earliest, latest), None where the question failed."""
Records = Mapping[tuple[TopicPartition, int], FirstRecord]


def snapshot(
    watermarks: Watermarks,
    groups: Mapping[str, Commits],
    *,
    now: float = NOW,
    owners: Mapping[TopicPartition, Member] | None = None,
    failed: tuple[str, ...] = (),
) -> ClusterSnapshot:
    return ClusterSnapshot(
        now=now,
        partitions=sorted(watermarks),
        earliest={tp: low for tp, (low, _) in watermarks.items() if low is not None},
        latest={tp: high for tp, (_, high) in watermarks.items() if high is not None},
        groups=[
            ConsumerGroup(name, GroupState.STABLE, commits, owners or {}) for name, commits in groups.items()
        ],
        failed_groups=dict.fromkeys(failed, GroupState.STABLE),
    )


def lag_report(
    taken: ClusterSnapshot,
    *,
    records: Records | None = None,
    policies: Mapping[str, CleanupPolicy] | None = None,
    previous: LagReport = EMPTY_REPORT,
) -> LagReport:
    return report(
        taken,
        records=records or {},
        policies=policies or {},
        previous=previous,
        keep_after=taken.now - THRESHOLD,
    )


def one_row(
    *,
    earliest: int = 0,
    committed: int,
    latest: int,
    record: FirstRecord | None = None,
    policy: CleanupPolicy = CleanupPolicy.DELETE,
) -> PartitionLag:
    """The row of one group with one partition."""
    found = lag_report(
        snapshot({T0: (earliest, latest)}, {"app": {T0: committed}}),
        records={} if record is None else {(T0, committed): record},
        policies={T0.topic: policy},
    )
    (row,) = found.rows()
    return row


offsets = st.one_of(st.integers(0, 20), st.integers(0, 2**63 - 1))
partitions = st.builds(TopicPartition, st.sampled_from(["orders", "payments"]), st.integers(0, 2))
policies = st.dictionaries(
    st.sampled_from(["orders", "payments"]),
    st.sampled_from(
        [
            CleanupPolicy.NONE,
            CleanupPolicy.DELETE,
            CleanupPolicy.COMPACT,
            CleanupPolicy.COMPACT | CleanupPolicy.DELETE,
        ]
    ),
)
_answers = st.one_of(offsets, st.none())
_commits = st.dictionaries(partitions, st.one_of(offsets, st.just(FAILED)))
_names = st.sampled_from(["app", "billing", "search"])


@st.composite
def snapshots(draw: st.DrawFn, now: float = NOW) -> ClusterSnapshot:
    """Anything that may have been read, answers in disorder and failures included."""
    groups = draw(st.dictionaries(_names, _commits))
    return snapshot(
        draw(st.dictionaries(partitions, st.tuples(_answers, _answers))),
        groups,
        now=now,
        failed=tuple(draw(st.sets(_names)) - groups.keys()),
    )


@st.composite
def first_records(draw: st.DrawFn, taken: ClusterSnapshot) -> dict[tuple[TopicPartition, int], FirstRecord]:
    """What may have been found at some of the committed offsets."""
    wanted = [
        (tp, committed)
        for group in taken.groups
        for tp, committed in group.commits.items()
        if not isinstance(committed, Fault)
    ]
    known = draw(st.lists(st.sampled_from(wanted), unique=True)) if wanted else []
    timestamps = st.one_of(st.none(), st.floats(0, 2 * NOW))
    return {
        (tp, committed): draw(
            st.builds(
                FirstRecord, st.one_of(st.none(), st.integers(0, 50).map(committed.__add__)), timestamps
            )
        )
        for tp, committed in known
    }
