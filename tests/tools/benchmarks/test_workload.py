from __future__ import annotations

import pytest
from benchmarks.workload import PRESETS, Workload


@pytest.mark.parametrize(
    ("name", "partitions", "group_partitions", "lagging", "distinct"),
    [("small", 50, 50, 38, 38), ("L", 5000, 5000, 3750, 3750), ("XL", 8000, 32000, 24000, 6000)],
)
def test_a_preset_has_exactly_as_many_lagging_rows_as_it_is_known_for(
    name: str, partitions: int, group_partitions: int, lagging: int, distinct: int
) -> None:
    workload = PRESETS[name]

    assert partitions == workload.partition_count
    assert group_partitions == workload.groups * workload.group_partitions
    assert lagging == workload.lagging_group_partitions
    assert distinct == workload.distinct_offsets


@pytest.mark.parametrize("name", ["small", "L", "XL"])
@pytest.mark.parametrize("step", [0, 1, 7, 10, 33])
def test_the_offsets_that_are_committed_agree_with_the_counts_at_every_step(name: str, step: int) -> None:
    workload = PRESETS[name]
    rows = [
        (number, workload.committed(group, number, step))
        for group in range(workload.groups)
        for number in workload.partitions_of(group)
    ]
    lagging = [(number, offset) for number, offset in rows if offset < workload.records]

    assert workload.lagging_group_partitions == len(lagging)
    assert workload.distinct_offsets == len(set(lagging))
    assert all(0 <= offset <= workload.records for _, offset in rows)


@pytest.mark.parametrize(("name", "moved"), [("L", {350, 400}), ("XL", {600})])
def test_ten_steps_move_every_lagging_commit_once_and_about_a_tenth_of_them_each_time(
    name: str, moved: set[int]
) -> None:
    workload = PRESETS[name]
    steps = [workload.moved_offsets(step) for step in range(1, 11)]

    assert moved == set(steps)
    assert workload.distinct_offsets == sum(steps)
    for group in range(0, workload.groups, 17):
        for number in workload.partitions_of(group):
            before, after = workload.committed(group, number, 0), workload.committed(group, number, 10)
            expected = (before + 1) % workload.records if workload.lags(number) else before
            assert expected == after


def test_only_the_moving_groups_change_between_two_steps() -> None:
    workload = PRESETS["small"]
    for step in range(1, 25):
        changed = {
            group
            for group in range(workload.groups)
            for number in workload.partitions_of(group)
            if workload.committed(group, number, step) != workload.committed(group, number, step - 1)
        }
        assert set(workload.moving_groups(step)) == changed


def test_no_two_partitions_of_a_topic_have_the_same_timestamps() -> None:
    workload = PRESETS["small"]
    stamps = [workload.timestamp_ms(0, number, offset) for number in range(5) for offset in range(100)]

    assert len(stamps) == len(set(stamps))


def test_the_expression_of_a_workload_matches_its_own_names_only() -> None:
    import re

    expression = re.compile(PRESETS["L"].whitelist)

    assert expression.search(PRESETS["L"].topic(999))
    assert expression.search(PRESETS["L"].group(499))
    assert not expression.search(PRESETS["XL"].topic(0))
    assert not expression.search("__consumer_offsets")


def test_numbers_that_make_no_workload_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="records is 0"):
        Workload("w", topics=1, partitions=1, records=0, groups=1, group_partitions=1)
    with pytest.raises(ValueError, match="group_partitions is more than all 2 partitions"):
        Workload("w", topics=1, partitions=2, records=1, groups=1, group_partitions=3)
