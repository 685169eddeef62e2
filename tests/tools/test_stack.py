"""The launcher of brokers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique, wait_until
from tests.tools.processes import command_of, processes_below

from stack.kafka import KafkaCluster, StackError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LAUNCHER = [sys.executable, str(ROOT / "test-stack"), "kafka", "start"]


@pytest.mark.xdist_group("fragile")
def test_a_node_keeps_its_data_over_a_restart(fragile_kafka: KafkaCluster) -> None:
    (node,) = fragile_kafka.nodes
    with KafkaDriver(fragile_kafka.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("kept"))
        written = driver.produce(topic, n=3)
        for end in (node.stop, node.kill):
            end()
            node.launch()
            fragile_kafka.wait_until_ready()
            assert written == driver.read(topic)


@pytest.mark.xdist_group("fragile")
def test_a_frozen_node_answers_again_once_it_is_thawed(fragile_kafka: KafkaCluster) -> None:
    (node,) = fragile_kafka.nodes
    with KafkaDriver(fragile_kafka.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("frozen"))
        node.freeze()
        threads = [stat.read_text() for stat in Path(f"/proc/{node.pid}/task").glob("*/stat")]
        node.thaw()
        assert {"T"} == {stat.rpartition(")")[2].split()[0] for stat in threads}
        assert [0] == [offset for offset, _ in driver.produce(topic)]


@pytest.mark.xdist_group("three nodes")
def test_three_nodes_form_a_cluster_that_outlives_one_of_them() -> None:
    with KafkaCluster(nodes=3) as cluster, KafkaDriver(cluster.bootstrap_servers) as driver:
        topic = driver.create_topic("replicated", partitions=3)
        cluster.nodes[0].kill()
        for partition in range(3):
            assert [0] == [offset for offset, _ in driver.produce(topic, partition)]
        cluster.nodes[0].launch()
        cluster.wait_until_ready()


def test_ctrl_c_stops_the_launcher_and_its_brokers(tmp_path: Path) -> None:
    with launched(tmp_path) as launcher:
        launcher.send_signal(signal.SIGINT)
        assert 0 == launcher.wait(30)
        assert [] == processes_below(tmp_path)
        assert [] == list(tmp_path.iterdir())


def test_the_broker_goes_with_its_guard(tmp_path: Path) -> None:
    with launched(tmp_path) as launcher:
        (guard,) = (pid for pid in processes_below(tmp_path) if "guard.py" in command_of(pid))
        os.kill(guard, signal.SIGKILL)
        assert 1 == launcher.wait(30)
        wait_until(lambda: not processes_below(tmp_path), "the broker is gone")


def test_a_failed_start_shows_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wrong = KafkaCluster(properties={"authorizer.class.name": "NoSuchClass"})
    with pytest.raises(StackError, match="NoSuchClass"):
        wrong.start()
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["java", "mvn"])
def test_it_says_what_to_install(tmp_path: Path, missing: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    if missing != "java":
        (tools / "java").write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
        (tools / "java").chmod(0o755)
    run = subprocess.run(
        [*LAUNCHER, "--kafka", "0.0.0"],
        env={"PATH": f"{tools}:/nonexistent", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert 1 == run.returncode
    assert "sudo apt-get install --yes default-jre-headless maven" in run.stderr
    assert f"there is no {missing}" in run.stderr


@contextmanager
def launched(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the launcher with its data in this folder; it is ready when the block begins."""
    launcher = subprocess.Popen(
        LAUNCHER, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    try:
        assert launcher.stdout is not None
        with launcher.stdout as output:
            host, _, port = output.readline().strip().partition(":")
        socket.create_connection((host, int(port))).close()
        yield launcher
    finally:
        launcher.kill()
        launcher.wait()
