"""The launcher and the driver that the other tests stand on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kafka.driver import KafkaDriver
from tests.kafka.waiting import unique, wait_until

from stack.kafka import KafkaCluster, StackError

if TYPE_CHECKING:
    from tests.kafka.conftest import Kafka

ROOT = Path(__file__).parents[2]
LAUNCHER = [sys.executable, str(ROOT / "test-stack"), "kafka", "start"]


def processes_below(folder: str) -> list[int]:
    """Processes whose command line names this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and folder in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_what_is_produced_is_read_back(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("plain"), partitions=2)
    written = driver.produce(topic, 1, 3, timestamp_ms=[1_000, 2_000, 3_000])
    assert [(0, 1_000), (1, 2_000), (2, 3_000)] == written
    assert written == driver.read(topic, 1)
    assert (0, 3) == driver.watermarks(topic, 1)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_member_is_assigned_and_may_commit(driver: KafkaDriver, protocol: str) -> None:
    topic = driver.create_topic(unique("joined"), partitions=2)
    with driver.consuming(unique("group"), [topic], protocol=protocol) as member:  # type: ignore[arg-type]
        assert {(topic, 0), (topic, 1)} == member.assignment
        assert member.member_id
        member.commit({(topic, 0): 0})


def test_records_are_deleted_topics_grow_and_go(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("changing"))
    driver.produce(topic, 0, 5)
    driver.delete_records(topic, 0, 3)
    assert (3, 5) == driver.watermarks(topic)
    driver.create_partitions(topic, 2)
    assert (0, 0) == driver.watermarks(topic, 1)
    group = unique("group")
    driver.commit(group, {(topic, 0): 4})
    driver.delete_group(group)
    driver.delete_topic(topic)


def test_a_transaction_leaves_a_marker_at_the_end(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("transactional"))
    assert [0, 1] == [offset for offset, _ in driver.produce_transaction(topic, n=2)]
    assert [3] == [offset for offset, _ in driver.produce_transaction(topic, n=1, commit=False)]
    assert [5] == [offset for offset, _ in driver.produce_transaction(topic, n=1, commit="open")]
    assert [0, 1, 3, 5] == [offset for offset, _ in driver.read(topic)]
    assert (0, 6) == driver.watermarks(topic)


def test_the_cleaner_removes_records_of_a_compacted_topic(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("compacted"), config={"cleanup.policy": "compact"})
    left = driver.compact(topic, keys=3, rounds=4)
    assert left[0][0] > 0
    assert left == driver.read(topic)


def test_the_oldest_supported_kafka_starts(oldest_kafka: Kafka) -> None:
    with KafkaDriver(oldest_kafka.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("old"), config={"cleanup.policy": "compact"})
        assert driver.compact(topic)[0][0] > 0


def test_a_node_keeps_its_data_over_a_restart() -> None:
    with KafkaCluster() as cluster, KafkaDriver(cluster.bootstrap_servers) as driver:
        topic = driver.create_topic("kept")
        written = driver.produce(topic, n=3)
        for end in (cluster.nodes[0].stop, cluster.nodes[0].kill):
            end()
            cluster.nodes[0].launch()
            cluster.wait_until_ready()
            assert written == driver.read(topic)


def test_three_nodes_form_a_cluster_that_outlives_one_of_them() -> None:
    with KafkaCluster(nodes=3) as cluster, KafkaDriver(cluster.bootstrap_servers) as driver:
        topic = driver.create_topic("replicated", partitions=3)
        cluster.nodes[0].kill()
        for partition in range(3):
            assert [0] == [offset for offset, _ in driver.produce(topic, partition)]
        cluster.nodes[0].launch()
        cluster.wait_until_ready()


def test_a_frozen_node_answers_again_once_it_is_thawed() -> None:
    with KafkaCluster() as cluster, KafkaDriver(cluster.bootstrap_servers) as driver:
        topic = driver.create_topic("frozen")
        cluster.nodes[0].freeze()
        state = Path(f"/proc/{cluster.nodes[0].pid}/stat")
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "the broker is stopped")
        cluster.nodes[0].thaw()
        assert [0] == [offset for offset, _ in driver.produce(topic)]


def test_ctrl_c_stops_the_launcher_and_its_brokers(tmp_path: Path) -> None:
    launched = start_launcher(tmp_path)
    launched.send_signal(signal.SIGINT)
    assert 0 == launched.wait(30)
    assert [] == processes_below(str(tmp_path))
    assert [] == list(tmp_path.iterdir())


def test_nothing_is_left_of_a_launcher_that_was_killed(tmp_path: Path) -> None:
    launched = start_launcher(tmp_path)
    launched.kill()
    launched.wait(30)
    wait_until(lambda: not processes_below(str(tmp_path)), "the broker is gone")
    wait_until(lambda: not list(tmp_path.iterdir()), "the data is gone")


def test_the_broker_goes_with_its_guard(tmp_path: Path) -> None:
    launched = start_launcher(tmp_path)
    (guard,) = (pid for pid in processes_below(str(tmp_path)) if "guard.py" in command_of(pid))
    os.kill(guard, signal.SIGKILL)
    assert 1 == launched.wait(30)
    wait_until(lambda: not processes_below(str(tmp_path)), "the broker is gone")


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
        env={"PATH": f"{tools}:/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert 1 == run.returncode
    assert "sudo apt-get install --yes default-jre-headless maven" in run.stderr
    assert f"there is no {missing}" in run.stderr


def start_launcher(tmp_path: Path) -> subprocess.Popen[str]:
    """Start the launcher with its data in this folder; it is ready when this returns."""
    launched = subprocess.Popen(
        LAUNCHER, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert launched.stdout is not None
    with launched.stdout as output:
        host, _, port = output.readline().strip().partition(":")
    socket.create_connection((host, int(port))).close()
    return launched


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
