"""The record timestamps that are read from a real broker, held against what was written."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from tests.broker.driver import KafkaDriver
from tests.broker.reading import FETCHED, PAST_MS, WITHIN, at, found, received, record_reader
from tests.broker.waiting import unique, wait_until

from klag_trio.domain.lag import NOTHING_LEFT, FirstRecord
from klag_trio.domain.offsets import TopicPartition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.conftest import Kafka

    from klag_trio.kafka.record_reader import RecordReader

# The heads of answers, and what clients of other tests are told meanwhile.
BESIDES = 64 * 1024
# Partitions with batches of a producer's size: as many behind the wanted one as before it.
PARTITIONS = 20
BATCH = 12 * 1024
HALF = 50
BEHIND = HALF * BATCH


@pytest.fixture
async def reader(kafka: Kafka) -> AsyncIterator[RecordReader]:
    # It gives no answer in time where it waits for what does not come.
    async with record_reader(kafka.bootstrap_servers, fetch_timeout=10 * WITHIN) as reader:
        yield reader


def write_batches(
    bootstrap: str,
    topic: str,
    partitions: int,
    batches: int,
    *,
    size: int,
    records: int = 1,
    codec: str = "none",
) -> None:
    """Write so many batches to each partition, of so many records with `size` bytes together.

    Batches are stamped a second apart.
    """
    properties = {"linger.ms": 1000, "batch.num.messages": records, "compression.type": codec, "log_level": 3}
    limits = {"message.max.bytes": 20_000_000, "queue.buffering.max.kbytes": 200_000}
    producer = Producer({"bootstrap.servers": bootstrap, **properties, **limits})
    for batch in range(batches):
        for partition in range(partitions):
            for _ in range(records):
                value = random.randbytes(size // records)
                producer.produce(topic, value, partition=partition, timestamp=PAST_MS + 1000 * batch)
            if partition % 20 == 0:
                producer.flush(30)
        assert 0 == producer.flush(60)


@pytest.mark.parametrize("broker", ["kafka", pytest.param("oldest_kafka", marks=pytest.mark.other_version)])
async def test_every_partition_is_answered_by_its_own_record(
    request: pytest.FixtureRequest, broker: str
) -> None:
    bootstrap = request.getfixturevalue(broker).bootstrap_servers
    with KafkaDriver(bootstrap) as driver:
        topic = driver.create_topic(unique("each"), partitions=40)
        written = {
            partition: driver.produce(
                topic, partition, 20, timestamp_ms=[PAST_MS + 1009 * partition + i for i in range(20)]
            )
            for partition in range(40)
        }
    places = {TopicPartition(topic, partition): [partition % 20] for partition in range(40)}
    async with record_reader(bootstrap) as reader:
        reading = await reader.read(places, within=WITHIN)
    assert {(topic, p, p % 20): (p % 20, written[p][p % 20][1] / 1000) for p in range(40)} == found(reading)


@pytest.mark.parametrize(
    "positions",
    [
        [0, 1000],
        [0, 1000, 1010, 1011, 4999],
        range(4500, 5000),
        range(0, 5000, 40),
        range(0, 5000, 500),
        range(0, 5000, 10),
    ],
    ids=["far", "near and far", "500 in a row", "125 near", "10 far", "500 near"],
)
async def test_many_positions_of_one_partition_are_each_answered_by_their_own_record(
    driver: KafkaDriver, reader: RecordReader, positions: Sequence[int]
) -> None:
    topic = driver.create_topic(unique("shared"))
    driver.produce(topic, 0, 5000, timestamp_ms=lambda i: PAST_MS + i)
    reading = await reader.read(at(topic, positions), within=WITHIN)
    assert {(topic, 0, p): (p, (PAST_MS + p) / 1000) for p in positions} == found(reading)


async def test_the_end_of_a_partition_is_found_at_once(driver: KafkaDriver, reader: RecordReader) -> None:
    topic = driver.create_topic(unique("drained"), partitions=20)
    driver.produce(topic, 0, 3)
    reading = await reader.read({**at(topic, partitions=20), TopicPartition(topic, 0): [3]}, within=WITHIN)
    assert {NOTHING_LEFT} == set(reading.records.values())
    assert {} == reading.faults


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
async def test_the_marker_of_a_transaction_is_no_record(
    driver: KafkaDriver, reader: RecordReader, commit: bool
) -> None:
    topic = driver.create_topic(unique("marked"))
    (record,) = driver.produce_transaction(topic, 0, 1, commit=commit, timestamp_ms=[PAST_MS])
    # The marker is written a moment after the answer to who ended the transaction.
    wait_until(lambda: driver.watermarks(topic) == (0, 2), "the marker is there")
    reading = await reader.read(at(topic, [0, 1]), within=WITHIN)
    # An aborted record counts as a record.
    assert {(topic, 0, 0): (record[0], PAST_MS / 1000), (topic, 0, 1): (None, None)} == found(reading)


async def test_an_open_transaction_holds_nothing_up(driver: KafkaDriver, reader: RecordReader) -> None:
    topic = driver.create_topic(unique("open"))
    driver.produce_transaction(topic, 0, 2, commit="open", timestamp_ms=[PAST_MS, PAST_MS + 1])
    driver.produce(topic, 0, 1, timestamp_ms=[PAST_MS + 2])
    reading = await reader.read(at(topic, [0, 1, 2]), within=WITHIN)
    assert {(topic, 0, p): (p, (PAST_MS + p) / 1000) for p in range(3)} == found(reading)


@pytest.mark.parametrize(
    ("partitions", "size"),
    [(100, 100_000), (30, 300_000), (6, 1_500_000)],
    ids=["100 KB", "300 KB", "1.5 MB"],
)
async def test_large_batches_are_read_too_and_hold_up_nothing_else(
    kafka: Kafka, driver: KafkaDriver, reader: RecordReader, partitions: int, size: int
) -> None:
    topic = driver.create_topic(unique("large"), partitions, {"max.message.bytes": "20000000"})
    small = driver.create_topic(unique("small"), 20)
    write_batches(kafka.bootstrap_servers, topic, partitions, 2, size=size)
    write_batches(kafka.bootstrap_servers, small, 20, 2, size=20)
    reading = await reader.read({**at(topic, [0, 1], partitions), **at(small, [0, 1], 20)}, within=WITHIN)
    assert {
        (name, partition, p): (p, PAST_MS / 1000 + p)
        for name, count in ((topic, partitions), (small, 20))
        for partition in range(count)
        for p in (0, 1)
    } == found(reading)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_batches_are_read_too(
    kafka: Kafka, driver: KafkaDriver, reader: RecordReader, codec: str
) -> None:
    topic = driver.create_topic(unique(codec), 5)
    properties = {"compression.type": codec, "linger.ms": 200, "batch.size": 200_000, "log_level": 3}
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, **properties})
    for partition in range(5):
        for i in range(1000):
            producer.produce(topic, os.urandom(100), partition=partition, timestamp=PAST_MS + i)
    assert 0 == producer.flush(60)
    reading = await reader.read(at(topic, [0, 500, 999], 5), within=WITHIN)
    assert {
        (topic, partition, p): (p, (PAST_MS + p) / 1000) for partition in range(5) for p in (0, 500, 999)
    } == found(reading)


async def test_where_the_broker_stamps_records_its_stamp_is_read(
    driver: KafkaDriver, reader: RecordReader
) -> None:
    topic = driver.create_topic(unique("stamped"), config={"message.timestamp.type": "LogAppendTime"})
    driver.produce(topic, 0, 2, timestamp_ms=[PAST_MS, PAST_MS])
    stamped = driver.read(topic)
    assert PAST_MS < stamped[1][1]
    reading = await reader.read(at(topic, [1]), within=WITHIN)
    assert {(topic, 0, 1): (1, stamped[1][1] / 1000)} == found(reading)


async def test_a_record_may_have_no_timestamp(driver: KafkaDriver, reader: RecordReader) -> None:
    topic = driver.create_topic(unique("timeless"))
    driver.produce(topic, 0, 1, timestamp_ms=[-1])
    driver.produce(topic, 0, 1, timestamp_ms=[PAST_MS])
    reading = await reader.read(at(topic, [0, 1]), within=WITHIN)
    assert {(topic, 0, 0): (0, None), (topic, 0, 1): (1, PAST_MS / 1000)} == found(reading)


async def test_a_position_that_retention_has_passed_is_a_fault_at_once_and_not_another_record(
    driver: KafkaDriver, reader: RecordReader
) -> None:
    topic = driver.create_topic(unique("trimmed"), 2)
    for partition in range(2):
        driver.produce(topic, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.delete_records(topic, 0, 5)
    reading = await reader.read(at(topic, [2], partitions=2), within=WITHIN)
    assert {(TopicPartition(topic, 0), 2): "_AUTO_OFFSET_RESET"} == {
        key: fault.code for key, fault in reading.faults.items()
    }
    assert {(TopicPartition(topic, 1), 2): FirstRecord(2, (PAST_MS + 2) / 1000)} == reading.records


async def test_where_retention_has_passed_many_partitions_each_is_read_where_it_begins_now(
    driver: KafkaDriver, reader: RecordReader
) -> None:
    partitions = 100
    topic = driver.create_topic(unique("trimmed"), partitions)
    for partition in range(partitions):
        driver.produce(topic, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.delete_all_records(topic, partitions, 5)
    for _ in range(5):
        reading = await reader.read(at(topic, [2], partitions), within=WITHIN)
        assert partitions == len(reading.faults)
        # The broker may answer for the old position once more, when it is no longer asked for.
        reading = await reader.read(at(topic, [5], partitions), within=WITHIN)
        assert {(topic, p, 5): (5, (PAST_MS + 5) / 1000) for p in range(partitions)} == found(reading)


async def test_little_is_read_for_each_timestamp(driver: KafkaDriver, reader: RecordReader) -> None:
    topic = driver.create_topic(unique("sparing"), 20)
    for partition in range(20):
        driver.produce(topic, partition, 500, value_size=100)
    reading = await reader.read(at(topic, [100], 20), within=WITHIN)
    assert 20 == len(found(reading))
    assert reading.count < 20 * 100


@pytest.mark.parametrize(
    ("records", "most"),
    [
        (10, PARTITIONS * FETCHED + BESIDES),
        # Where the record was all that had come, librdkafka fetches again until it is stopped.
        (1, PARTITIONS * BEHIND // 4),
    ],
    ids=["batches of ten", "batches of one"],
)
async def test_little_comes_over_the_wire_for_each_timestamp(
    kafka: Kafka,
    driver: KafkaDriver,
    reader: RecordReader,
    monkeypatch: pytest.MonkeyPatch,
    records: int,
    most: int,
) -> None:
    # On a busy machine the reader may take a pause between two answers for a sign of large batches.
    monkeypatch.setattr("klag_trio.kafka.chunk._STALL_SECONDS", WITHIN)
    topic = driver.create_topic(unique("wire"), PARTITIONS)
    write_batches(kafka.bootstrap_servers, topic, PARTITIONS, 2 * HALF, size=BATCH, records=records)
    await reader.read(at(topic, [0]), within=WITHIN)
    before = received()
    reading = await reader.read(at(topic, [HALF * records], PARTITIONS), within=WITHIN)
    assert PARTITIONS == len(found(reading))
    assert received() - before <= most
