from __future__ import annotations

import pytest
from benchmarks.accuracy import IDLE, CycleTime, Errors, Row, idle_truth, judge, read_rows
from benchmarks.subjects import DIALECTS
from benchmarks.truth import Commit, PartitionTruth, Truth

PLACE = ("t", 0)


def _truth() -> Truth:
    partition = PartitionTruth(stamps=[100.0, 110.0, 120.0], delivered=[100.5, 110.5, 120.5])
    commits = [Commit(101.0, 101.1, 0), Commit(112.0, 112.1, 1), Commit(122.0, 122.1, 3)]
    return Truth({PLACE: partition}, {("g", PLACE): commits})


def _judge(row: Row, scraped: float, now: float | None) -> Errors:
    errors = Errors()
    cycle = None if now is None else CycleTime(now, now - 1, now)
    judge([row], _truth(), errors, scraped=scraped, cycle=cycle)
    return errors


def test_the_age_is_that_of_the_first_record_not_consumed() -> None:
    partition = _truth().partitions[PLACE]

    assert 15.0 == partition.age(1, 3, 125.0)
    assert 0.0 == partition.age(3, 3, 125.0)


def test_a_stamp_ahead_of_the_clock_is_no_negative_age() -> None:
    assert 0.0 == _truth().partitions[PLACE].age(2, 3, 119.0)


def test_a_consumer_that_stays_behind_never_commits_past_what_was_delivered() -> None:
    partition = _truth().partitions[PLACE]

    assert 1 == partition.behind(112.0, 5.0)
    assert 2 == partition.behind(120.1, 0.0)
    assert 3 == partition.behind(121.0, 0.0)


def test_the_commit_of_an_instant_is_the_newest_acknowledged_by_then() -> None:
    truth = _truth()

    assert truth.committed("g", PLACE, 100.0) is None
    assert 0 == _offset(truth, 112.05)
    assert 1 == _offset(truth, 112.1)


def _offset(truth: Truth, now: float) -> int:
    commit = truth.committed("g", PLACE, now)
    assert commit is not None
    return commit.offset


@pytest.mark.parametrize(
    ("offset", "start", "end", "expected"),
    [
        (0, 105, 106, True),
        (0, 112.05, 113, True),
        (0, 112.2, 113, False),
        (1, 111, 111.9, False),
        (1, 111, 112.05, True),
        (3, 130, 131, True),
        (2, 105, 130, False),
    ],
)
def test_a_commit_counts_from_when_it_was_sent_until_the_next_is_acknowledged(
    offset: int, start: float, end: float, expected: bool
) -> None:
    assert expected == _truth().was_committed("g", PLACE, offset, start, end)


def test_an_error_against_now_uses_the_commit_that_the_body_tells() -> None:
    errors = _judge(Row("g", PLACE, committed=1, latest=3, age=5.25), scraped=120.0, now=115.0)

    assert [0.25] == errors.against_now
    assert [4.75] == errors.at_scrape
    assert [] == errors.wrong_commits


def test_a_drained_partition_rightly_told_dilutes_no_percentile() -> None:
    errors = _judge(Row("g", PLACE, committed=3, latest=3, age=0.0), scraped=124.0, now=123.0)

    assert ([], []) == (errors.against_now, errors.at_scrape)


def test_a_lagging_row_without_a_time_lag_is_counted_and_one_without_lag_is_not() -> None:
    assert [False] == _judge(Row("g", PLACE, committed=1, latest=3, age=None), 120.0, 115.0).rows
    assert [] == _judge(Row("g", PLACE, committed=3, latest=3, age=None), 124.0, 123.0).rows


def test_a_commit_that_was_long_over_when_the_cycle_began_is_wrong() -> None:
    row = Row("g", PLACE, committed=0, latest=3, age=1.0)

    assert [row] == _judge(row, scraped=118.0, now=116.0).wrong_commits


def test_a_cycle_seen_before_is_judged_at_the_scrape_only() -> None:
    errors = _judge(Row("g", PLACE, committed=1, latest=3, age=10.0), scraped=120.0, now=None)

    assert ([0.0], [], []) == (errors.at_scrape, errors.against_now, errors.rows)


def test_the_truth_of_an_idle_workload_is_its_arithmetic() -> None:
    truth = idle_truth(IDLE, base_ms=1_000_000)
    place = IDLE.place(1)
    commit = truth.commits[IDLE.group(0), place][0]

    assert 7 == commit.offset
    assert 1000.0 + 7 + 0.001 == truth.partitions[place].stamps[commit.offset]


def test_rows_come_from_a_body_with_their_offsets_and_ages() -> None:
    partition = 'cluster_name="bench",topic="t",partition="0"'
    body = (
        f"kafka_partition_latest_offset{{{partition}}} 9\n"
        f'kafka_consumergroup_group_offset{{group="g",{partition}}} 4\n'
        f'kafka_consumergroup_group_offset{{group="h",{partition}}} 9\n'
        f'kafka_consumergroup_group_lag_seconds{{group="g",{partition}}} 1.5\n'
    )

    assert [Row("g", PLACE, 4, 9, 1.5), Row("h", PLACE, 9, 9, None)] == read_rows(
        body.encode(), DIALECTS["klag-trio"]
    )


def test_whole_seconds_of_a_cycles_end_are_given_the_room_that_they_need() -> None:
    body = (
        b'\nkafka_lag_exporter_last_update_timestamp_seconds{cluster_name="c"} %s\n'
        b"kafka_lag_exporter_scrape_duration_seconds 0.5\n"
    )
    whole = CycleTime.of(body % b"100", DIALECTS["klag-exporter"])
    exact = CycleTime.of(body % b"100.25", DIALECTS["klag-exporter"])

    assert CycleTime(100.0, 98.4, 101.1) == whole
    assert CycleTime(100.25, 99.74, 100.26) == exact
    assert CycleTime.of(b"", DIALECTS["klag-exporter"]) is None
