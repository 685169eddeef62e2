"""The formula for the number of series holds for what is rendered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.domain.snapshots import NOW, lag_report, snapshot

from klag_trio.domain.lag import FirstRecord
from klag_trio.domain.offsets import TopicPartition
from klag_trio.exposition.samples import lag_blocks

PAGE = (Path(__file__).parents[3] / "docs" / "performance.md").read_text()
PARTITIONS = [TopicPartition(topic, number) for topic in ("a", "b") for number in range(4)]
GROUPS = {
    "one": dict.fromkeys(PARTITIONS, 5),
    "two": dict.fromkeys(PARTITIONS[:3], 7),
    "three": dict.fromkeys(PARTITIONS[2:6], 0),
}
REPORT = lag_report(
    snapshot(dict.fromkeys(PARTITIONS, (0, 10)), GROUPS),
    records={(tp, at): FirstRecord(at, NOW - 1) for commits in GROUPS.values() for tp, at in commits.items()},
)
SIZES = {
    "P": len(PARTITIONS),
    "G": len(GROUPS),
    "T": sum(len({tp.topic for tp in commits}) for commits in GROUPS.values()),
    "M": sum(map(len, GROUPS.values())),
}


def by_formula(granularity: str, *, time_lag: bool) -> int:
    [formula] = re.findall(rf'^\| `"{granularity}"` \| (.*) \|$', PAGE, re.MULTILINE)
    if not time_lag:
        assert "Without time lag it is 3 G and 5 M" in PAGE
        formula = formula.replace("4 G", "3 G").replace("6 M", "5 M")
    terms = re.findall(r"(\d*) ?([PGTM])", formula)
    return sum(int(factor or 1) * SIZES[size] for factor, size in terms)


@pytest.mark.parametrize("granularity", ["topic", "partition"])
@pytest.mark.parametrize("time_lag", [True, False])
def test_there_are_as_many_series_as_the_page_says(granularity: str, time_lag: bool) -> None:
    found = lag_blocks("c", {}, REPORT, partition_series=granularity == "partition", time_lag=time_lag)
    values = [value for block in found.blocks for column in block.columns.values() for value in column]
    assert by_formula(granularity, time_lag=time_lag) == len([value for value in values if value is not None])
