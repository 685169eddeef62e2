"""`make demo`, run as people run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kafka.test_stack import processes_below
from tests.kafka.waiting import wait_until

from load import GROUPS
from table import Row, render, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = Path(__file__).parents[2] / "test-stack" / "demo.py"
SERVED = """\
# TYPE kafka_consumergroup_group_state gauge
kafka_consumergroup_group_state{cluster_name="c",group="b"} 3
kafka_consumergroup_group_state{cluster_name="c",group="a"} 5
# TYPE kafka_consumergroup_group_sum_lag gauge
kafka_consumergroup_group_sum_lag{cluster_name="c",group="b"} 1234
# TYPE kafka_consumergroup_group_max_lag_seconds gauge
kafka_consumergroup_group_max_lag_seconds{cluster_name="c",group="b"} 1.25
# TYPE kafka_consumergroup_group_messages_lost gauge
kafka_consumergroup_group_messages_lost{cluster_name="c",group="b",topic="t",partition="0"} 2
kafka_consumergroup_group_messages_lost{cluster_name="c",group="b",topic="t",partition="1"} 3
# TYPE kafka_partition_latest_offset gauge
kafka_partition_latest_offset{cluster_name="c",topic="t",partition="0"} 7
"""


def test_rows_hold_what_is_served_and_nothing_else() -> None:
    expected = [Row("a", state="Empty"), Row("b", "Stable", lag=1234, lag_seconds=1.25, messages_lost=5)]
    assert expected == rows(SERVED)


def test_the_table_has_a_dash_where_nothing_is_known() -> None:
    expected = [
        "group  state     lag  time lag  lost  what it does",
        "a      Empty       -         -     -",
        "b      Stable  1,234     1.2 s     5  keeps up",
    ]
    assert expected == render(rows(SERVED), {"b": "keeps up"}).splitlines()


def test_the_demo_shows_every_group_and_ends_by_itself(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(DEMO), "--seconds", "20"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert 0 == run.returncode, run.stderr
    last = run.stdout.rpartition("what it does\n")[2]
    cells = {line.split()[0]: re.split(r"\s{2,}", line) for line in last.splitlines() if line}
    assert set(GROUPS) == set(cells)
    stopped = {"orders-export", "clicks-report", "profiles-backup"}
    assert stopped == {group for group, (_, state, *_) in cells.items() if state == "Empty"}
    lag = {group: int(row[2].replace(",", "")) for group, row in cells.items()}
    assert lag["orders-billing"] < lag["orders-search"] < lag["orders-export"]
    assert int(cells["clicks-report"][4]) > 0
    assert {0} == {int(row[4]) for group, row in cells.items() if group != "clicks-report"}
    assert [] == list(tmp_path.iterdir())
    assert [] == processes_below(str(tmp_path))


@pytest.fixture
def running_demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has shown its address."""
    demo = subprocess.Popen(
        [sys.executable, str(DEMO)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    with demo.stdout as output:
        for line in output:
            if "/metrics" in line:
                break
        yield demo
    demo.kill()
    demo.wait()


def test_ctrl_c_leaves_nothing_running(tmp_path: Path, running_demo: subprocess.Popen[str]) -> None:
    running_demo.send_signal(signal.SIGINT)
    assert 0 == running_demo.wait(30)
    assert [] == processes_below(str(tmp_path))
    assert [] == list(tmp_path.iterdir())


def test_nothing_outlives_a_demo_that_was_killed(tmp_path: Path, running_demo: subprocess.Popen[str]) -> None:
    running_demo.kill()
    running_demo.wait(30)
    wait_until(lambda: not processes_below(str(tmp_path)), "all processes are gone")
    wait_until(lambda: not list(tmp_path.iterdir()), "all data is gone")
