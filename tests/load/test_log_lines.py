"""Ten thousand log lines a second, or as many as the machine makes, into a pipe that is read in bursts.

What is measured is printed, for docs/reliability.md: `pytest -s`.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

import attrs
import pytest
from benchmarks.family import status_bytes
from tests.broker.waiting import wait_until
from tests.load.test_program_under_load import Health, p99, watched
from tests.program.test_log_output import TALKATIVE, WHOLE_LINE, started

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 10
# More than its queue and the pipe hold, so that it has to catch up with itself.
LINES_A_BURST = 20_000
LOST_A_PAUSE = 10_000
# As many as the queue holds are 10 MB at most; by then it has been full once.
WARM, LEVEL_BYTES = 2, 10_000_000
# What is promised, 99 of 100 times; and at most.
FAST, SLOWEST = 0.1, 1.0
_CHUNK_BYTES = 1 << 20
_CLUSTERS = [{**TALKATIVE, "name": f"nowhere-{number}"} for number in range(4)]


@attrs.define
class Reader:
    """What reads the log, as fast as it can or not at all."""

    descriptor: int
    count: int = 0
    torn: list[bytes] = attrs.field(factory=list)
    _rest: bytes = b""

    def read(self, lines: int) -> None:
        """Read so many lines."""
        until = self.count + lines
        while self.count < until:
            chunk = os.read(self.descriptor, _CHUNK_BYTES)
            assert chunk, "it ended"
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            self.count += len(whole)
            self.torn += [line for line in whole if not WHOLE_LINE.fullmatch(line + b"\n")]


@pytest.mark.timeout(600)
def test_a_log_that_is_read_in_bursts_holds_up_no_probe_and_takes_no_memory(tmp_path: Path) -> None:
    with started(tmp_path, "", *_CLUSTERS, level="debug") as program:
        assert program.process.stderr is not None
        port = wait_until(program.port, "klag-trio serves")
        assert port is not None
        reader = Reader(program.process.stderr.fileno())
        health = Health(port, program.process.pid)
        held: list[int] = []
        began = time.monotonic()
        with watched(health):
            for _ in range(ROUNDS):
                before = program.lost_lines()
                wait_until(lambda: program.lost_lines() >= before + LOST_A_PAUSE, "lines are lost", 60)  # noqa: B023
                held.append(status_bytes(program.process.pid, "VmRSS"))
                reader.read(LINES_A_BURST)
            lost = program.lost_lines()
        seconds = time.monotonic() - began
    print(  # noqa: T201
        f"\n{reader.count / seconds:.0f} lines a second read and {lost / seconds:.0f} lost, {seconds:.0f} s\n"
        f"health: {len(health.took)} answers, median {statistics.median(health.took) * 1000:.0f} ms, "
        f"99th percentile {p99(health.took) * 1000:.0f} ms, slowest {max(health.took) * 1000:.0f} ms\n"
        f"without a thread's longest wait for a core: 99th percentile {p99(health.least) * 1000:.0f} ms, "
        f"slowest {max(health.least) * 1000:.0f} ms\n"
        f"resident: {', '.join(str(size >> 20) for size in held)} MiB"
    )
    assert {200} == health.statuses
    assert p99(health.least) < FAST
    assert max(health.least) < SLOWEST
    assert [] == reader.torn
    assert max(held[WARM:]) < held[WARM - 1] + LEVEL_BYTES
