"""The load generator of the Compose stack, run as its container runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kafka.waiting import wait_until

from stack import TEST_STACK
from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATE = [sys.executable, str(TEST_STACK), "generate"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster() as cluster:
        yield cluster


@pytest.mark.parametrize("run", ["on an empty cluster", "again, as after a restart of its container"])
def test_it_says_when_it_runs_and_ends_when_it_is_told(
    cluster: KafkaCluster, tmp_path: Path, run: str
) -> None:
    running = tmp_path / "running"
    generator = subprocess.Popen([*GENERATE, cluster.bootstrap_servers, "--running-file", str(running)])
    try:
        wait_until(lambda: running.exists() or generator.poll() is not None, f"it runs {run}", 60)
        assert generator.poll() is None
        generator.send_signal(signal.SIGTERM)
        assert 0 == generator.wait(30)
    finally:
        generator.kill()
        generator.wait()
