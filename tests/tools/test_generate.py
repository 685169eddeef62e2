"""The load generator of the Compose stack, run as its container runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.broker.waiting import wait_until

from stack import TEST_STACK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Kafka

GENERATE = [sys.executable, str(TEST_STACK), "generate"]


def test_it_says_when_it_runs_and_ends_when_it_is_told_also_after_a_restart_of_its_container(
    kafka: Kafka, tmp_path: Path
) -> None:
    for run in ("first", "second"):
        running = tmp_path / run
        generator = subprocess.Popen([*GENERATE, kafka.bootstrap_servers, "--running-file", str(running)])
        try:
            wait_until(lambda: running.exists() or generator.poll() is not None, f"the {run} runs", 60)  # noqa: B023
            assert generator.poll() is None
            generator.send_signal(signal.SIGTERM)
            assert 0 == generator.wait(30)
        finally:
            generator.kill()
            generator.wait()
