"""Reading record timestamps from a real broker, without the rest of a cycle."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks.family import socket_inodes
from benchmarks.sockets import open_connections

from klag_trio.domain.offsets import TopicPartition
from klag_trio.kafka.client import Client
from klag_trio.kafka.record_reader import RecordReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from klag_trio.domain.time_lag import Reading

FETCH_TIMEOUT = 5.0
WITHIN = 30.0
FETCHED = 16 * 1024
"""How many bytes are fetched of a partition at a time."""
PAST_MS = 1_600_000_000_000
"""An instant long ago that records are stamped with."""


@asynccontextmanager
async def record_reader(
    bootstrap: str,
    *,
    max_concurrent_fetches: int = 10,
    fetch_timeout: float = FETCH_TIMEOUT,
    properties: Mapping[str, str] | None = None,
) -> AsyncIterator[RecordReader]:
    """A reader of one cluster; `properties` are those of a login."""
    client = await Client.open(
        "reading", {"bootstrap.servers": bootstrap, **(properties or {})}, threads=4, timeout=30
    )
    reader = RecordReader(client, max_concurrent_fetches=max_concurrent_fetches, fetch_timeout=fetch_timeout)
    try:
        yield reader
    finally:
        await reader.aclose()
        assert await client.aclose()


def at(topic: str, positions: Iterable[int] = (0,), partitions: int = 1) -> dict[TopicPartition, list[int]]:
    """The same positions in each of the first partitions of a topic."""
    return {TopicPartition(topic, partition): list(positions) for partition in range(partitions)}


def found(reading: Reading) -> dict[tuple[str, int, int], tuple[int | None, float | None]]:
    """What was found, by topic, partition and position: offset and timestamp in seconds; nothing failed."""
    assert {} == reading.faults
    return {
        (tp.topic, tp.partition, position): (record.offset, record.timestamp)
        for (tp, position), record in reading.records.items()
    }


def received() -> int:
    """The bytes that have come in over the TCP connections that this process and its workers have now."""
    own = socket_inodes(os.getpid())
    return sum(connection.received for connection in open_connections() if connection.inode in own)
