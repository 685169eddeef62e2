"""The record timestamps that are read from a real broker, held against what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kafka.reading import PAST_MS, at, found, record_reader
from tests.kafka.waiting import unique

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.kafka.conftest import Kafka
    from tests.kafka.driver import KafkaDriver

    from klag_trio.kafka.timestamps import RecordReader


@pytest.fixture
async def reader(kafka: Kafka) -> AsyncIterator[RecordReader]:
    async with record_reader(kafka.bootstrap_servers) as reader:
        yield reader


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
    reading = await reader.read(at(topic, positions), within=30)
    expected = {(topic, 0, p): (p, (PAST_MS + p) / 1000) for p in positions}
    assert expected == found(reading)
