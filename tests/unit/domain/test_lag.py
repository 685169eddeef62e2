"""The arithmetic, reading by reading of the metric table, by example and by property."""

from __future__ import annotations

from math import isfinite

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.domain.snapshots import (
    ALICE,
    FAILED,
    NOW,
    T0,
    T1,
    THRESHOLD,
    first_records,
    lag_report,
    offsets,
    one_row,
    policies,
    snapshot,
    snapshots,
)

from klag_trio.domain.lag import EMPTY_REPORT, FirstRecord, GroupLag, PartitionOffsets, policies_wanted
from klag_trio.domain.offsets import NOBODY, CleanupPolicy, ClusterSnapshot, Fault, GroupState, TopicPartition

BOTH = CleanupPolicy.COMPACT | CleanupPolicy.DELETE
EXACT_FLOATS = 2**53


# Lag


@pytest.mark.parametrize(
    ("committed", "latest", "lag"),
    [
        (0, 0, 0),
        (0, 7, 7),
        (5, 7, 2),
        (7, 7, 0),
        (9, 7, 0),
        (EXACT_FLOATS, 2**62 + 1, 2**62 - EXACT_FLOATS + 1),
    ],
)
def test_lag_is_latest_minus_committed_and_never_negative(committed: int, latest: int, lag: int) -> None:
    assert lag == one_row(committed=committed, latest=latest).lag


def test_a_partition_without_a_commit_has_no_row() -> None:
    found = lag_report(snapshot({T0: (0, 10), T1: (0, 10)}, {"app": {T0: 4}}))
    assert [T0.partition] == [row.partition for row in found.rows()]


def test_a_group_without_a_commit_is_there_without_rows() -> None:
    found = lag_report(snapshot({T0: (0, 10)}, {"app": {}}))
    assert {"app": GroupLag("app", GroupState.STABLE, NOW, ())} == found.groups


def test_a_commit_on_a_partition_that_is_not_there_has_no_row() -> None:
    found = lag_report(snapshot({T0: (0, 10)}, {"app": {TopicPartition("deleted", 0): 4}}))
    assert found.groups["app"].partitions == ()


def test_commits_beyond_the_end_are_counted() -> None:
    found = lag_report(snapshot({T0: (0, 5), T1: (0, 5)}, {"a": {T0: 6, T1: 5}, "b": {T0: 7}}))
    assert found.clamped == 2


def test_the_owner_of_a_partition_is_named_and_nobody_where_there_is_none() -> None:
    found = lag_report(snapshot({T0: (0, 5), T1: (0, 5)}, {"app": {T0: 1, T1: 1}}, owners={T0: ALICE}))
    assert [row.member for row in found.rows()] == [ALICE, NOBODY]


def test_groups_rows_and_watermarks_are_sorted() -> None:
    b = TopicPartition("b", 0)
    a2, a10 = TopicPartition("a", 2), TopicPartition("a", 10)
    marks = {b: (0, 1), a10: (0, 1), a2: (0, 1)}
    found = lag_report(snapshot(marks, {"z": {b: 0, a10: 0, a2: 0}, "y": {}}))
    assert [a2, a10, b] == list(found.offsets)
    assert list(found.groups) == ["y", "z"]
    assert [a2, a10, b] == [(row.topic, row.partition) for row in found.rows()]


# Retention


@pytest.mark.parametrize(
    ("earliest", "committed", "margin"),
    [(0, 0, 0), (3, 10, 7), (10, 3, -7), (0, EXACT_FLOATS + 1, EXACT_FLOATS + 1)],
)
def test_the_retention_margin_is_committed_minus_earliest(earliest: int, committed: int, margin: int) -> None:
    assert margin == one_row(earliest=earliest, committed=committed, latest=2**62).retention_margin


@pytest.mark.parametrize(
    ("earliest", "committed", "latest", "ratio"),
    [
        (0, 0, 100, 100.0),
        (0, 100, 100, 0.0),
        (50, 75, 100, 50.0),
        (50, 25, 100, 150.0),
        (0, 3, 10, 70.0),
        (0, 18, 25, 28.0),  # 7 / 25 * 100 would be 28.000000000000004
        (0, 150, 100, 0.0),
        (10, 10, 10, 0.0),
        (10, 12, 10, 0.0),
        (10, 9, 10, 200.0),
        (10, 4, 10, 700.0),
    ],
)
def test_the_retention_ratio_is_the_lag_in_percent_of_what_is_retained(
    earliest: int, committed: int, latest: int, ratio: float
) -> None:
    assert ratio == one_row(earliest=earliest, committed=committed, latest=latest).lag_retention_ratio


@pytest.mark.parametrize("policy", [CleanupPolicy.DELETE, BOTH])
def test_a_commit_below_the_log_of_a_topic_that_deletes_is_data_loss(policy: CleanupPolicy) -> None:
    row = one_row(earliest=10, committed=4, latest=20, policy=policy)
    assert (row.data_loss_detected, row.messages_lost) == (True, 6)


@pytest.mark.parametrize("policy", [CleanupPolicy.COMPACT, CleanupPolicy.NONE])
def test_nothing_is_lost_in_a_topic_that_does_not_delete(policy: CleanupPolicy) -> None:
    row = one_row(earliest=10, committed=4, latest=20, policy=policy)
    assert (row.data_loss_detected, row.messages_lost) == (False, 0)
    assert row.retention_margin == -6
    assert row.lag_retention_ratio == 160.0


def test_a_policy_that_is_not_known_counts_as_delete() -> None:
    (row,) = lag_report(snapshot({T0: (10, 20)}, {"app": {T0: 4}})).rows()
    assert row.data_loss_detected


def test_a_commit_at_the_low_watermark_is_no_loss() -> None:
    row = one_row(earliest=10, committed=10, latest=20)
    assert (row.data_loss_detected, row.messages_lost, row.lag_retention_ratio) == (False, 0, 100.0)


# Time lag and compaction


def test_time_lag_is_the_age_of_the_first_record() -> None:
    assert one_row(committed=4, latest=9, record=FirstRecord(4, NOW - 30.5)).time_lag == 30.5


@pytest.mark.parametrize("record", [None, FirstRecord(4, NOW - 30)])
@pytest.mark.parametrize("committed", [9, 12])
def test_time_lag_is_zero_where_lag_is(committed: int, record: FirstRecord | None) -> None:
    assert one_row(committed=committed, latest=9, record=record).time_lag == 0.0


def test_time_lag_is_zero_where_only_transaction_markers_are_left() -> None:
    assert one_row(committed=8, latest=9, record=FirstRecord(None, None)).time_lag == 0.0


def test_time_lag_is_absent_where_the_record_is_unknown_or_has_no_timestamp() -> None:
    assert one_row(committed=4, latest=9).time_lag is None
    assert one_row(committed=4, latest=9, record=FirstRecord(4, None)).time_lag is None


def test_a_record_from_a_clock_that_is_ahead_is_zero_seconds_old() -> None:
    assert one_row(committed=4, latest=9, record=FirstRecord(4, NOW + 60)).time_lag == 0.0


@pytest.mark.parametrize(
    ("first", "policy", "detected"),
    [
        (6, CleanupPolicy.COMPACT, True),
        (6, BOTH, True),
        (6, CleanupPolicy.DELETE, False),
        (6, CleanupPolicy.NONE, False),
        (4, CleanupPolicy.COMPACT, False),
        (None, CleanupPolicy.COMPACT, False),
    ],
)
def test_compaction_shows_as_a_gap_after_the_commit_in_a_compacted_topic(
    first: int | None, policy: CleanupPolicy, detected: bool
) -> None:
    row = one_row(committed=4, latest=9, record=FirstRecord(first, NOW), policy=policy)
    assert detected == row.compaction_detected


def test_a_gap_below_the_low_watermark_is_not_told_from_compaction() -> None:
    row = one_row(earliest=6, committed=4, latest=9, record=FirstRecord(6, NOW), policy=BOTH)
    assert (row.compaction_detected, row.data_loss_detected) == (False, True)


def test_affected_partitions_count_once_however_many_groups_are_hit() -> None:
    records = {(T1, 4): FirstRecord(7, NOW)}
    found = lag_report(
        snapshot({T0: (5, 9), T1: (0, 9)}, {"a": {T0: 1, T1: 4}, "b": {T0: 2, T1: 4}}),
        records=records,
        policies={T0.topic: BOTH},
    )
    assert (found.data_loss_partitions, found.compacted_partitions) == (1, 1)


def test_only_the_topics_whose_policy_decides_a_flag_are_wanted() -> None:
    lost, gap, fine = (TopicPartition(topic, 0) for topic in ("lost", "gap", "fine"))
    taken = snapshot(
        {lost: (5, 9), gap: (0, 9), fine: (0, 9)},
        {"app": {lost: 1, gap: 4, fine: 4, T0: FAILED, T1: 7}},
    )
    records = {
        (gap, 4): FirstRecord(6, NOW),
        (fine, 4): FirstRecord(4, NOW),
        (T1, 7): FirstRecord(None, None),
    }
    assert {"lost", "gap"} == policies_wanted(taken, records)


# Aggregates


def test_aggregates_run_over_the_partitions_of_a_group() -> None:
    other = TopicPartition("payments", 0)
    found = lag_report(
        snapshot({T0: (0, 10), T1: (0, 10), other: (0, 10)}, {"app": {T0: 3, T1: 10, other: 6}}),
        records={(T0, 3): FirstRecord(3, NOW - 5), (other, 6): FirstRecord(6, NOW - 9)},
    )
    group = found.groups["app"]
    assert (group.max_lag, group.sum_lag, group.max_time_lag) == (7, 11, 9.0)
    assert group.topic_sums() == {"orders": 7, "payments": 4}


def test_the_longest_time_lag_is_of_those_that_are_known() -> None:
    taken = snapshot({T0: (0, 10), T1: (0, 10)}, {"app": {T0: 3, T1: 4}})
    assert lag_report(taken).groups["app"].max_time_lag is None
    known = lag_report(taken, records={(T1, 4): FirstRecord(4, NOW - 2)})
    assert known.groups["app"].max_time_lag == 2.0


# What is kept


def test_a_group_that_failed_keeps_its_rows_as_they_were() -> None:
    before = lag_report(snapshot({T0: (0, 10)}, {"app": {T0: 4}}, owners={T0: ALICE}))
    after = lag_report(snapshot({T0: (0, 99)}, {}, now=NOW + 30, failed=("app",)), previous=before)
    assert before.groups == after.groups
    assert {T0: PartitionOffsets(0, 99, NOW + 30)} == after.offsets


def test_a_commit_that_failed_keeps_its_row_beside_new_ones() -> None:
    before = lag_report(snapshot({T0: (0, 10), T1: (0, 10)}, {"app": {T0: 4, T1: 4}}))
    after = lag_report(
        snapshot({T0: (0, 20), T1: (0, 20)}, {"app": {T0: FAILED, T1: 6}}, now=NOW + 30), previous=before
    )
    kept, new = after.rows()
    assert before.groups["app"].partitions[0] == kept
    assert (new.committed, new.latest, new.as_of) == (6, 20, NOW + 30)


@pytest.mark.parametrize("marks", [(None, 20), (0, None), (None, None)])
def test_a_partition_whose_watermarks_failed_keeps_its_row_and_its_watermarks(
    marks: tuple[int | None, int | None],
) -> None:
    before = lag_report(snapshot({T0: (0, 10)}, {"app": {T0: 4}}))
    after = lag_report(snapshot({T0: marks}, {"app": {T0: 6}}, now=NOW + 30), previous=before)
    assert before.offsets == after.offsets
    assert before.groups["app"].partitions == after.groups["app"].partitions


@pytest.mark.parametrize(("age", "rows"), [(THRESHOLD, 1), (THRESHOLD + 1, 0)])
def test_what_failed_is_kept_until_the_staleness_threshold(age: float, rows: int) -> None:
    before = lag_report(snapshot({T0: (0, 10)}, {"app": {T0: 4}, "other": {T0: 4}}))
    after = lag_report(
        snapshot({T0: (None, None)}, {"app": {T0: 4}}, now=NOW + age, failed=("other",)), previous=before
    )
    assert rows == len(after.offsets)
    assert 2 * rows == len(list(after.rows()))
    assert ["app", "other"][: 1 + rows] == list(after.groups)


@pytest.mark.parametrize(("age", "rows"), [(THRESHOLD, 2), (THRESHOLD + 1, 1)])
def test_a_single_commit_that_failed_is_kept_until_the_staleness_threshold(age: float, rows: int) -> None:
    marks = {T0: (0, 10), T1: (0, 10)}
    before = lag_report(snapshot(marks, {"app": {T0: 4, T1: 4}}))
    half = lag_report(snapshot(marks, {"app": {T0: FAILED, T1: 6}}, now=NOW + 30), previous=before)
    after = lag_report(snapshot(marks, {}, now=NOW + age, failed=("app",)), previous=half)
    assert rows == len(after.groups["app"].partitions)
    direct = lag_report(snapshot(marks, {"app": {T0: FAILED, T1: 6}}, now=NOW + age), previous=half)
    assert rows == len(direct.groups["app"].partitions)


def test_nothing_is_kept_when_the_clock_was_set_back() -> None:
    before = lag_report(snapshot({T0: (0, 10)}, {"app": {T0: 4}, "other": {T0: 4}}))
    taken = snapshot({T0: (None, None)}, {"app": {T0: 4}}, now=NOW - 1, failed=("other",))
    after = lag_report(taken, previous=before)
    assert ({}, []) == (after.offsets, list(after.rows()))


def test_keeping_does_not_make_a_row_younger() -> None:
    at_first = lag_report(snapshot({T0: (0, 10)}, {"app": {T0: 4}}))
    failing = at_first
    for seconds in (40, 80):
        taken = snapshot({T0: (0, 10)}, {}, now=NOW + seconds, failed=("app",))
        failing = lag_report(taken, previous=failing)
        assert at_first.groups == failing.groups
    assert (
        lag_report(snapshot({T0: (0, 10)}, {}, now=NOW + 91, failed=("app",)), previous=failing).groups == {}
    )


def test_what_is_gone_from_kafka_disappears_at_once() -> None:
    before = lag_report(snapshot({T0: (0, 10), T1: (0, 10)}, {"app": {T0: 4, T1: 4}, "gone": {T0: 4}}))
    after = lag_report(snapshot({T0: (0, 10)}, {"app": {T0: 4, T1: 4}}, now=NOW + 30), previous=before)
    assert list(after.groups) == ["app"]
    assert list(after.offsets) == [T0]
    assert [row.partition for row in after.rows()] == [0]


def test_an_expired_commit_disappears_at_once() -> None:
    before = lag_report(snapshot({T0: (0, 10)}, {"app": {T0: 4}}))
    after = lag_report(snapshot({T0: (0, 10)}, {"app": {}}, now=NOW + 30), previous=before)
    assert after.groups["app"].partitions == ()


def test_a_kept_group_loses_the_partitions_that_are_gone() -> None:
    before = lag_report(snapshot({T0: (0, 10), T1: (0, 10)}, {"app": {T0: 4, T1: 4}}))
    after = lag_report(snapshot({T1: (0, 10)}, {}, now=NOW + 30, failed=("app",)), previous=before)
    assert [row.partition for row in after.rows()] == [1]


def test_a_group_that_never_answered_is_absent() -> None:
    assert lag_report(snapshot({T0: (0, 10)}, {}, failed=("app",))).groups == {}


# For whatever was read


@given(earliest=offsets, committed=offsets, latest=offsets, policy=st.sampled_from([*CleanupPolicy, BOTH]))
def test_no_figure_of_a_row_is_negative_or_not_a_number(
    earliest: int, committed: int, latest: int, policy: CleanupPolicy
) -> None:
    row = one_row(earliest=earliest, committed=committed, latest=latest, policy=policy)
    assert row.lag >= 0
    assert row.messages_lost >= 0
    assert isfinite(row.lag_retention_ratio)
    assert row.lag_retention_ratio >= 0


@given(earliest=offsets, committed=offsets, retained=st.integers(0, 2**40))
@example(earliest=1, committed=0, retained=2**40)
def test_the_ratio_passes_100_exactly_where_the_group_was_overtaken(
    earliest: int, committed: int, retained: int
) -> None:
    row = one_row(earliest=earliest, committed=committed, latest=earliest + retained)
    assert (committed < earliest) == (row.lag_retention_ratio > 100)


@given(offsets, offsets, offsets)
def test_offsets_are_exact_beyond_what_floats_hold(a: int, b: int, c: int) -> None:
    earliest, committed, latest = sorted((a, b, c))
    row = one_row(earliest=earliest, committed=committed, latest=latest)
    assert latest == committed + row.lag
    assert committed == earliest + row.retention_margin
    overtaken = one_row(earliest=committed, committed=earliest, latest=latest)
    assert overtaken.messages_lost == -overtaken.retention_margin


@given(st.data(), snapshots(), policies)
def test_every_row_follows_its_own_reading(
    data: st.DataObject, taken: ClusterSnapshot, policies: dict[str, CleanupPolicy]
) -> None:
    records = data.draw(first_records(taken))
    found = lag_report(taken, records=records, policies=policies)
    commits = {group.name: group.commits for group in taken.groups}
    for group in found.groups.values():
        for row in group.partitions:
            tp = TopicPartition(row.topic, row.partition)
            read = (taken.earliest[tp], commits[group.group][tp], taken.latest[tp])
            assert read == (row.earliest, row.committed, row.latest)
            assert not (row.compaction_detected and row.data_loss_detected)
            policy = policies.get(tp.topic, CleanupPolicy.DELETE)
            assert row.data_loss_detected <= (CleanupPolicy.DELETE in policy)
            assert row.data_loss_detected <= (row.committed < row.earliest)
            assert row.compaction_detected <= (CleanupPolicy.COMPACT in policy)
            assert row.time_lag is None or row.time_lag >= 0
            assert row.lag > 0 or row.time_lag == 0
            record = records.get((tp, row.committed))
            assert (row.time_lag is None) == (
                row.lag > 0 and (record is None or (record.offset is not None and record.timestamp is None))
            )


@given(st.data(), snapshots())
def test_aggregates_equal_what_they_are_the_aggregates_of(
    data: st.DataObject, taken: ClusterSnapshot
) -> None:
    for group in lag_report(taken, records=data.draw(first_records(taken))).groups.values():
        assert sum(row.lag for row in group.partitions) == group.sum_lag == sum(group.topic_sums().values())
        assert group.max_lag <= group.sum_lag <= group.max_lag * max(1, len(group.partitions))
        known = [row.time_lag for row in group.partitions if row.time_lag is not None]
        assert (max(known) if known else None) == group.max_time_lag


@given(snapshots(), snapshots(now=NOW + 30))
def test_a_row_is_new_or_kept_whole_and_only_where_something_failed(
    earlier: ClusterSnapshot, later: ClusterSnapshot
) -> None:
    before = lag_report(earlier)
    after = lag_report(later, previous=before)
    answered = {group.name: group.commits for group in later.groups}
    for group in after.groups.values():
        for row in group.partitions:
            tp = TopicPartition(row.topic, row.partition)
            assert tp in later.partitions
            if row.as_of == later.now:
                assert row.committed == answered[group.group][tp]
                continue
            assert row in before.groups[group.group].partitions
            failed_commit = group.group in later.failed_groups or isinstance(
                answered.get(group.group, {}).get(tp), Fault
            )
            assert failed_commit or tp not in later.earliest or tp not in later.latest
    assert set(after.groups) == set(answered) | (set(later.failed_groups) & set(before.groups))
    assert set(after.offsets) <= set(later.partitions)


@given(snapshots())
def test_a_snapshot_alone_says_the_same_after_a_report_that_is_too_old(taken: ClusterSnapshot) -> None:
    old = lag_report(attrs.evolve(taken, now=NOW - THRESHOLD - 1))
    assert lag_report(taken) == lag_report(taken, previous=old)


def test_the_empty_report_is_empty() -> None:
    assert (EMPTY_REPORT.offsets, EMPTY_REPORT.groups, list(EMPTY_REPORT.rows())) == ({}, {}, [])
