"""How long reading timestamps takes where the broker does not answer, or says no; how little it fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from tests.broker.cycles import cycles_of
from tests.broker.driver import KafkaDriver
from tests.broker.reading import FETCHED, PAST_MS, at, found, received, record_reader
from tests.broker.test_time_lag_reading import BATCH, BESIDES, HALF, PARTITIONS, write_batches
from tests.broker.waiting import unique

if TYPE_CHECKING:
    from tests.conftest import Kafka

    from stack.kafka import KafkaCluster

FETCH_TIMEOUT = 2.0
# Of a fetch_timeout: what a read may take that waits for nothing, and what one that waits may take beyond it.
SHARE = 0.5


@pytest.mark.xdist_group("fragile")
async def test_a_broker_that_freezes_costs_one_cycle_its_fetch_timeout_twice_and_the_next_nothing(
    fragile_kafka: KafkaCluster,
) -> None:
    name = unique("frozen")
    node = fragile_kafka.nodes[0]
    with KafkaDriver(fragile_kafka.bootstrap_servers) as driver:
        driver.create_topic(name, 30)
        for partition in range(30):
            driver.produce(name, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
        driver.commit(name, {(name, partition): 3 for partition in range(30)})
        async with cycles_of(fragile_kafka.bootstrap_servers, name, fetch_timeout=FETCH_TIMEOUT) as cycles:
            await cycles.run()
            driver.commit(name, {(name, partition): 5 for partition in range(30)})
            try:
                await cycles.run(node.freeze, node.thaw)
            finally:
                node.thaw()
            # Once for all partitions together, once for the first of them alone.
            assert FETCH_TIMEOUT * 1.9 < cycles.seconds < FETCH_TIMEOUT * (2 + SHARE)
            await cycles.run()
            assert cycles.seconds < FETCH_TIMEOUT * SHARE


async def test_the_end_of_a_partition_and_a_position_that_is_gone_are_told_at_once(
    kafka: Kafka, driver: KafkaDriver
) -> None:
    drained, trimmed = (driver.create_topic(unique(kind), 20) for kind in ("drained", "trimmed"))
    driver.produce(trimmed, 0, 10)
    driver.delete_records(trimmed, 0, 5)
    for places in (at(drained, partitions=20), at(trimmed, [2])):
        async with record_reader(kafka.bootstrap_servers, fetch_timeout=FETCH_TIMEOUT) as reader:
            start = trio.current_time()
            await reader.read(places, within=30)
            assert trio.current_time() - start < FETCH_TIMEOUT * SHARE


async def test_where_batches_have_one_record_no_more_than_two_are_fetched_for_each_timestamp(
    kafka: Kafka, driver: KafkaDriver
) -> None:
    topic = driver.create_topic(unique("wire"), PARTITIONS)
    write_batches(kafka.bootstrap_servers, topic, PARTITIONS, 2 * HALF, size=BATCH)
    async with record_reader(kafka.bootstrap_servers) as reader:
        await reader.read(at(topic), within=30)
        before = received()
        reading = await reader.read(at(topic, [HALF], PARTITIONS), within=30)
        assert len(found(reading)) == PARTITIONS
        # Where the record was all that had come, librdkafka may fetch once more before it is stopped.
        assert received() - before <= PARTITIONS * 2 * FETCHED + BESIDES
