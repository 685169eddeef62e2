"""What klag-trio is in the middle of when a test begins."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tests.broker.waiting import unique, wait_until
from tests.program.program import Ended, Page, Program, config_text, run, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka

    from stack.kafka import KafkaCluster

LATEST = "kafka_partition_latest_offset"
CLIENTS = 100


def named(kafka: Kafka, **keys: object) -> dict[str, Any]:
    """A cluster of the configuration."""
    return {"name": "main", "bootstrap_servers": kafka.bootstrap_servers, **keys}


def up(page: Page, cluster: str) -> float | None:
    return page.value("klag_cluster_up", cluster_name=cluster)


@contextmanager
def cycling(kafka: Kafka, folder: Path) -> Iterator[Program]:
    with running(folder, config_text([named(kafka)])) as program:
        program.shows(1, lambda page: up(page, "main"))
        yield program


@contextmanager
def waiting_for_a_frozen_broker(fragile_kafka: KafkaCluster, folder: Path) -> Iterator[Program]:
    text = config_text([named(fragile_kafka)], {"performance": {"kafka_timeout": "1m"}})
    with running(folder, text) as program:
        program.shows(1, lambda page: up(page, "main"))
        fragile_kafka.nodes[0].freeze()
        try:
            _wait_until_a_cycle_hangs(program)
            yield program
        finally:
            fragile_kafka.nodes[0].thaw()


def check_beside_a_frozen_broker(fragile_kafka: KafkaCluster, folder: Path) -> Ended:
    path = folder / "config.toml"
    path.write_text(config_text([named(fragile_kafka)], {"performance": {"kafka_timeout": "1s"}}))
    fragile_kafka.nodes[0].freeze()
    try:
        return run("check", "-c", str(path))
    finally:
        fragile_kafka.nodes[0].thaw()


def _wait_until_a_cycle_hangs(program: Program) -> None:
    """Wait until no cycle has ended for many looks: the one that runs waits for the broker."""
    seen: list[object] = []

    def unchanged() -> bool:
        seen.append(program.metrics().rows("klag_cycle_phase_seconds"))
        return len(seen) > 20 and all(seen[-1] == earlier for earlier in seen[-20:])

    wait_until(unchanged, "a cycle hangs")


@contextmanager
def answering_clients_that_do_not_read(kafka: Kafka, driver: KafkaDriver, folder: Path) -> Iterator[Program]:
    # Long labels make an answer that no socket buffer takes whole.
    topic = driver.create_topic(unique("topic"), partitions=200)
    text = config_text([named(kafka, labels={"long": "x" * 20_000}, topic_whitelist=[f"^{topic}$"])])
    with running(folder, text) as program, ExitStack() as clients:
        program.shows(200, lambda page: len(page.rows(LATEST)))
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", program.port))
            clients.enter_context(client)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.recv(1) == b"H"
        yield program
