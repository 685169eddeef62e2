"""`make demo`, run as people run it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from tests.kafka.test_stack import processes_below
from tests.kafka.waiting import wait_until

from stack import TEST_STACK
from stack.live import View
from stack.load import GROUPS
from stack.table import PartitionRow, Row, partitions, render, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = [sys.executable, str(TEST_STACK), "demo"]
SERVED = """\
# TYPE kafka_consumergroup_group_state gauge
kafka_consumergroup_group_state{cluster_name="c",group="b"} 3
kafka_consumergroup_group_state{cluster_name="c",group="a"} 5
# TYPE kafka_consumergroup_group_sum_lag gauge
kafka_consumergroup_group_sum_lag{cluster_name="c",group="b"} 1234
# TYPE kafka_consumergroup_group_max_lag_seconds gauge
kafka_consumergroup_group_max_lag_seconds{cluster_name="c",group="b"} 1.25
# TYPE kafka_consumergroup_group_messages_lost gauge
kafka_consumergroup_group_messages_lost{cluster_name="c",group="b",topic="t",partition="0",client_id=""} 2
kafka_consumergroup_group_messages_lost{cluster_name="c",group="b",topic="t",partition="1",client_id=""} 3
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
        [*DEMO, "--seconds", "20"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert 0 == run.returncode, run.stderr
    assert "prometheus http://127.0.0.1:" in run.stdout
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
        DEMO,
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


# In a terminal


def test_the_partitions_of_a_group_are_what_is_served() -> None:
    served = """\
# TYPE kafka_consumergroup_group_lag gauge
kafka_consumergroup_group_lag{cluster_name="c",group="b",topic="t",partition="10",client_id="me"} 4
kafka_consumergroup_group_lag{cluster_name="c",group="b",topic="t",partition="9",client_id="me"} 5
# TYPE kafka_consumergroup_group_lag_seconds gauge
kafka_consumergroup_group_lag_seconds{cluster_name="c",group="b",topic="t",partition="9",client_id="me"} 1.5
# TYPE kafka_consumergroup_group_sum_lag gauge
kafka_consumergroup_group_sum_lag{cluster_name="c",group="b"} 9
"""
    nine, ten = PartitionRow("t", 9, "me", lag=5, lag_seconds=1.5), PartitionRow("t", 10, "me", lag=4)
    assert {"b": [nine, ten]} == partitions(served)


def shown(metrics: list[str], *, height: int) -> str:
    console = Console(file=io.StringIO(), width=130, height=height, force_terminal=True, color_system=None)
    view = View(console, {"page": "http://127.0.0.1:1/"}, {"b": "keeps up"})
    for served in metrics:
        looked = view.render(served)
    with console.capture() as captured:
        console.print(looked)
    return captured.get()


def test_a_high_terminal_shows_the_partitions_and_a_low_one_the_groups() -> None:
    assert "t 0" in shown([SERVED], height=40)
    low = shown([SERVED], height=8)
    assert "t 0" not in low
    (line,) = [line.split() for line in low.splitlines() if line.startswith("b ")]
    assert ["b", "Stable", "1,234", "█", "1.2", "s", "5", "keeps", "up"] == line
    assert "http://127.0.0.1:1/" in low


@pytest.mark.parametrize(
    ("lags", "bars"),
    [
        ([0, 0], "▁▁"),
        ([0, 50, 100], "▁▅█"),
        ([100, 0], "█▁"),
        (list(range(161)), "▁▂▂▂▃▃▃▄▄▅▅▅▆▆▆▇▇▇██"),
    ],
)
def test_the_trend_is_drawn_from_0_to_its_highest_point(lags: list[int], bars: str) -> None:
    metrics = [SERVED.replace("1234", str(lag)) for lag in lags]
    assert bars in shown(metrics, height=40)


def test_the_demo_draws_in_a_terminal_until_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (50, 130))
    demo = subprocess.Popen(
        DEMO,
        env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = ""
    interrupted = False
    # Linux says EIO once the other side is closed.
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 65536):
            seen += chunk.decode(errors="replace")
            if not interrupted and seen.count("Ctrl-C stops everything") > 2:
                demo.send_signal(signal.SIGINT)
                interrupted = True
    os.close(ours)
    assert 0 == demo.wait(30), seen
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\].*?\x1b\\", "", seen)
    for step in ("Apache Kafka", "consumer groups", "klag-trio", "Prometheus"):
        assert step in text
    for said in (*GROUPS, "clicks 0", "orders 2", "http://127.0.0.1:"):
        assert said in text
    assert "stopped" in text
    assert [] == processes_below(str(tmp_path))
