"""Writing and reading the records of one partition."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from tests.broker.waiting import SECONDS, unique

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Message

Record = tuple[int, int]
"""Offset and timestamp in milliseconds."""
Timestamps = Callable[[int], int] | Sequence[int] | None
"""What the i-th record is stamped with; None is the time of writing."""


def write(
    producer: Producer,
    topic: str,
    partition: int,
    n: int,
    *,
    timestamp_ms: Timestamps,
    value_size: int,
    key: Callable[[int], bytes] | None = None,
) -> list[Record]:
    """Write n records, wait until they are acknowledged, and return them in order of offset."""
    records: list[Record] = []
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            records.append(_record_of(message))
        else:
            errors.append(error)

    for i in range(n):
        arguments: dict[str, Any] = {"partition": partition, "on_delivery": delivered}
        if timestamp_ms is not None:
            arguments["timestamp"] = timestamp_ms(i) if callable(timestamp_ms) else timestamp_ms[i]
        if key is not None:
            arguments["key"] = key(i)
        while True:
            try:
                producer.produce(topic, b"x" * value_size, **arguments)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(SECONDS)
    if errors:
        raise KafkaException(errors[0])
    assert left == 0, f"{left} records were not delivered to {topic}-{partition}"
    return sorted(records)


def read(common: Mapping[str, Any], topic: str, partition: int, start: int) -> list[Record]:
    """Return what the log holds from this offset on, aborted records included."""
    properties = {
        **common,
        "group.id": unique("reader"),
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_uncommitted",
        "auto.offset.reset": "earliest",
    }
    consumer = Consumer(properties)
    deadline = time.monotonic() + SECONDS
    records: list[Record] = []
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        while True:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                records.append(_record_of(message))
            elif message is not None:
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return records
                raise KafkaException(error)
            assert time.monotonic() < deadline, f"the end of {topic}-{partition} was not reached"
    finally:
        consumer.close()


def _record_of(message: Message) -> Record:
    offset = message.offset()
    assert offset is not None
    return offset, message.timestamp()[1]
