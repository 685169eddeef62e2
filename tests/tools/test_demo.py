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
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from rich.console import Console
from tests.broker.waiting import wait_until
from tests.tools.processes import processes_below

import stack.demo
from stack import TEST_STACK
from stack.demo import Demo, KlagTrio
from stack.kafka.guarded import GuardedProcess
from stack.live import View
from stack.load import GROUPS, STOPPED_AT, Load
from stack.table import PartitionRow, Row, partitions, render, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEMO = [sys.executable, str(TEST_STACK), "demo"]
SECONDS = 90.0
STOPPED = STOPPED_AT.keys()
STEPS = ("Apache Kafka", "consumer groups", "klag-trio", "Prometheus")
DRAWN = (*STEPS, *GROUPS, "clicks 0", "orders 2", "http://127.0.0.1:")
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


@pytest.mark.xdist_group("demo")
def test_every_group_lags_in_its_own_way_and_nothing_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        DEMO, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert demo.stdout is not None
        deadline = time.monotonic() + SECONDS
        with demo.stdout as output:
            for where, table in tables(output):
                assert "prometheus http://127.0.0.1:" in where
                if all_have_diverged(table):
                    break
                assert time.monotonic() < deadline, table
            else:
                raise AssertionError("the demo has ended")
    finally:
        demo.kill()
        demo.wait()
    assert STOPPED == {group for group, cells in table.items() if cells[1] == "Empty"}
    assert {"0"} == {cells[4] for group, cells in table.items() if group != "clicks-report"}
    wait_until(lambda: not processes_below(tmp_path), "all processes are gone")
    wait_until(lambda: not list(tmp_path.iterdir()), "all data is gone")


def tables(output: Iterable[str]) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """The line with the addresses, and the cells of each group, again and again."""
    lines = iter(output)
    for where in lines:
        if "/metrics" in where:
            next(lines)
            assert next(lines).startswith("group ")
            cells = [re.split(r"\s{2,}", line.strip()) for line in iter(lines.__next__, "\n")]
            yield where, {line[0]: line for line in cells}


def all_have_diverged(table: dict[str, list[str]]) -> bool:
    if table.keys() != GROUPS.keys() or "-" in (
        cell for cells in table.values() for cell in (cells[2], cells[4])
    ):
        return False
    lag = {group: int(cells[2].replace(",", "")) for group, cells in table.items()}
    lost = int(table["clicks-report"][4].replace(",", ""))
    return lag["orders-billing"] < lag["orders-search"] < lag["orders-export"] and lost > 0


# Its ends, without all that it runs


class FakeExporter(KlagTrio):
    def __init__(self) -> None:
        self.address = "http://127.0.0.1:1"

    def metrics(self) -> str:
        return SERVED


def fake_demo() -> Demo:
    return Demo(Load("127.0.0.1:1"), FakeExporter(), prometheus=None)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Callable[[Demo], int]:
    """Let this demo run for no second."""

    def run(running: Demo) -> int:
        monkeypatch.setattr("stack.demo.demo", lambda _: contextlib.nullcontext(running))
        monkeypatch.setattr("signal.signal", lambda *_: None)
        monkeypatch.setattr("sys.argv", ["demo", "--seconds", "0"])
        return stack.demo.main()

    return run


def test_it_ends_by_itself_after_its_seconds(
    main: Callable[[Demo], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == main(fake_demo())
    out, err = capsys.readouterr()
    assert "metrics http://127.0.0.1:1/metrics" in out
    assert render(rows(SERVED), GROUPS) in out
    assert "" == err


def test_it_ends_with_what_went_wrong_in_the_load(
    main: Callable[[Demo], int], capsys: pytest.CaptureFixture[str]
) -> None:
    demo = fake_demo()
    demo.load.failure = ValueError("no such topic")
    assert 1 == main(demo)
    assert "the load generator failed: ValueError('no such topic')\n" == capsys.readouterr().err


def test_it_ends_with_what_klag_trio_said_last(
    main: Callable[[Demo], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        command = ["sh", "-c", "echo no such cluster; exit 3"]
        process = GuardedProcess(command, folder=tmp_path / "gone", output=output)
    wait_until(lambda: not process.running, "it has ended")
    assert 1 == main(attrs.evolve(fake_demo(), exporter=KlagTrio(process, log, "http://127.0.0.1:1")))
    assert "klag-trio ended with exit code 3:\nno such cluster\n" == capsys.readouterr().err
    process.wait(1)


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


@pytest.mark.xdist_group("demo")
def test_the_demo_draws_in_a_terminal_until_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (50, 130))
    # Rich believes these rather than the terminal, and workers of pytest-xdist have them.
    size = {"COLUMNS", "LINES"}
    inherited = {name: value for name, value in os.environ.items() if name not in size}
    demo = subprocess.Popen(
        DEMO,
        env={**inherited, "TMPDIR": str(tmp_path), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = text = ""
    interrupted = False
    deadline = time.monotonic() + SECONDS
    try:
        # Linux says EIO once the other side is closed.
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 65536):
                seen += chunk.decode(errors="replace")
                text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\].*?\x1b\\", "", seen)
                drawn = text.count("Ctrl-C stops everything")
                if not interrupted and drawn > 2 and all(said in text for said in DRAWN):
                    demo.send_signal(signal.SIGINT)
                    interrupted = True
                assert time.monotonic() < deadline, text[-3000:]
        assert interrupted, text[-3000:]
        assert 0 == demo.wait(30), text[-3000:]
    finally:
        os.close(ours)
        demo.kill()
        demo.wait()
    assert text.endswith("stopped\r\n")
    assert [] == processes_below(tmp_path)
    assert [] == list(tmp_path.iterdir())
