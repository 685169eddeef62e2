"""The reports that benchmarks and tests make up."""

from __future__ import annotations

import pytest
from benchmarks.reports import blocks_of, count, report_of, report_with
from benchmarks.workload import PRESETS


def test_a_report_has_the_shape_of_its_workload() -> None:
    small = PRESETS["small"]
    report = report_of(small, 5.0)
    assert small.partition_count == len(report.offsets)
    assert small.groups == len(report.groups)
    assert small.lagging_group_partitions == sum(row.lag > 0 for row in report.rows())


@pytest.mark.parametrize(("samples", "like"), [(1_000, "small"), (39_256, "L"), (208_006, "XL")])
def test_a_report_has_exactly_as_many_samples_as_it_is_asked_for(samples: int, like: str) -> None:
    assert samples == count(blocks_of(report_with(samples, PRESETS[like], 5.0)))
