"""What the page about klag-exporter says of its queries holds for the series of both exporters."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[3] / "docs" / "migration" / "klag-exporter.md"
BLOCK = re.compile(r'```promql title="(before|after)"\n(.*?)```', re.DOTALL)
QUERIES = BLOCK.findall(PAGE.read_text())
PAIRS = [(before, after) for (_, before), (_, after) in zip(QUERIES[::2], QUERIES[1::2], strict=True)]

SCRAPED = 'job="j",instance="i"'
PARTITION = f'{SCRAPED},cluster_name="c",topic="t",partition="0"'
OF_GROUP = f'{PARTITION},group="g"'
OWNED = f'{OF_GROUP},member_host="/h",consumer_id="c-1",client_id="c"'
COMMON = {
    f"kafka_partition_latest_offset{{{PARTITION}}}": 1000,
    f"kafka_lag_exporter_up{{{SCRAPED}}}": 1,
}
THEIRS = {
    f"kafka_consumergroup_group_lag_retention_ratio{{{OF_GROUP}}}": 90,
    f"kafka_consumergroup_group_retention_margin{{{OF_GROUP}}}": 100,
    f"kafka_lag_exporter_scrape_duration_seconds{{{SCRAPED}}}": 3,
}
OURS = {
    f"kafka_consumergroup_group_lag_retention_ratio{{{OWNED}}}": 90,
    f"kafka_consumergroup_group_retention_margin{{{OWNED}}}": 100,
    f'kafka_lag_exporter_scrape_duration_seconds{{{SCRAPED},cluster_name="c"}}': 3,
}
# One for each pair of the page, in its order.
VALUES = [90, 900, 3]


def gives(series: dict[str, int], query: str, values: Sequence[int], folder: Path) -> bool:
    """Whether the query gives one sample for each of the values, in whatever labels."""
    # Without labels, nothing has to be said of them.
    folded = f"sum({query})"
    expected = [{"labels": "{}", "value": value} for value in values]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{value}x5"} for name, value in series.items()],
        "promql_expr_test": [{"expr": folded, "eval_time": "5m", "exp_samples": expected}],
    }
    file = folder / "test.yml"
    # JSON is YAML too.
    file.write_text(json.dumps({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize(("pair", "value"), list(zip(PAIRS, VALUES, strict=True)), ids=map(str, VALUES))
def test_the_query_after_gives_of_our_series_what_the_one_before_gave_of_theirs(
    pair: tuple[str, str], value: int, tmp_path: Path
) -> None:
    before, after = pair
    assert gives(COMMON | THEIRS, before, [value], tmp_path)
    assert gives(COMMON | OURS, after, [value], tmp_path)


@pytest.mark.parametrize("pair", PAIRS[1:], ids=map(str, VALUES[1:]))
def test_the_joins_that_are_said_to_break_do(pair: tuple[str, str], tmp_path: Path) -> None:
    assert gives(COMMON | OURS, pair[0], [], tmp_path)
