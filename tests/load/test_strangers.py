"""A record that takes seconds and a gigabyte to unpack costs only its own group anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.family import status_bytes
from confluent_kafka import Producer
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import SECONDS, unique
from tests.program.hostile import watching

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Kafka

UNPACKED = 900_000_000
TIME_LAG = "kafka_consumergroup_group_max_lag_seconds"
CYCLES = 9


@pytest.mark.timeout(600)
def test_a_record_that_unpacks_to_900_mb_costs_no_other_group_its_time_lag(
    kafka: Kafka, tmp_path: Path
) -> None:
    name = unique("strangers")
    bomb = f"{name}-hostile-bomb"
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        driver.create_topic(bomb)
        write(kafka.bootstrap_servers, bomb)
        with watching(
            kafka, tmp_path, name=name, timestamp_sampling={"fetch_timeout": "1s"}, poll_interval="2s"
        ) as clusters:
            driver.commit(f"{name}-hostile-victim", {(bomb, 0): 0})
            program, innocent = clusters.program, f"{name}-hostile"
            program.shows(1, lambda page: page.value(TIME_LAG, group=innocent) is not None)
            driver.produce(innocent, n=CYCLES)
            for cycle in range(CYCLES):
                # Each time at another record, which has to be read.
                driver.commit(innocent, {(innocent, 0): 4 + cycle})
                page = program.next_cycle("hostile")
                assert page.value(TIME_LAG, cluster_name="hostile", group=innocent) is not None
                assert 200 == program.get("/health")[0]
            clusters.program.next_cycle("calm")
            print(f"peak: {status_bytes(program.process.pid, 'VmHWM') >> 20} MiB")  # noqa: T201


def write(bootstrap: str, topic: str) -> None:
    """Write one record of zeros, which takes less than a megabyte in the topic."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "gzip",
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            "log_level": 3,
        }
    )
    failed: list[object] = []
    producer.produce(topic, bytes(UNPACKED), on_delivery=lambda error, _: failed.append(error))
    producer.flush(10 * SECONDS)
    assert [None] == failed
