from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from benchmarks.process import ExporterEndedError, running

IDLE = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]


def _wait_for(log: Path, text: str) -> None:
    while text not in log.read_text():
        time.sleep(0.01)


def test_what_was_started_is_gone_afterwards_also_when_the_block_fails(tmp_path: Path) -> None:
    run = running("x", IDLE, tmp_path / "log")
    process = run.__enter__()
    failure = KeyboardInterrupt()

    assert not run.__exit__(KeyboardInterrupt, failure, None)
    assert process.popen.returncode is not None
    assert process.stop_seconds is not None


def test_a_command_that_started_the_exporter_as_its_child_takes_it_along(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running("x", ["sh", "-c", "sleep 600 & echo $!; wait"], log):
        _wait_for(log, "\n")
    stat = Path(f"/proc/{int(log.read_text())}/stat")

    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


def test_memory_and_cpu_come_from_the_kernel(tmp_path: Path) -> None:
    work = [sys.executable, "-c", "x = bytearray(60_000_000); print('up', flush=True)\nwhile True: pass"]
    with running("x", work, tmp_path / "log") as process:
        _wait_for(tmp_path / "log", "up")
        while process.cpu_seconds() < 0.2:
            time.sleep(0.05)
        process.sample()

        assert 60 < process.resident_mb[-1][1] < 120
        assert process.peak_mb() >= process.resident_mb[-1][1]
        assert [process.resident_mb[-1][1]] == process.resident_between(process.resident_mb[-1][0], 1e12)


def test_an_exporter_that_ended_is_told_with_its_last_words(tmp_path: Path) -> None:
    fail = [sys.executable, "-c", "import sys; sys.exit('no such broker')"]
    with running("x", fail, tmp_path / "log") as process:
        process.popen.wait(30)

        with pytest.raises(ExporterEndedError, match="x ended with 1: no such broker"):
            process.check()
