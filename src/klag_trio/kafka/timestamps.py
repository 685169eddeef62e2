"""Reads record timestamps, many partitions per fetch, with a consumer that joins and commits to no group."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import islice
from math import inf
from time import monotonic
from typing import Any

import attrs
import trio
from confluent_kafka import Consumer, KafkaError, KafkaException

from klag_trio import allocator
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import NOT_TRIED, Reading, shards
from klag_trio.kafka.chunk import TIMED_OUT, Chunk, Progress
from klag_trio.kafka.client import Client

_MEBIBYTE = 1024 * 1024
_POSITIONS_PER_READER = 32
# A consumer never forgets a partition that it has read, at 6 KB each: beyond this many it is replaced.
_PARTITIONS_KEPT = 1000


@attrs.frozen
class Pass:
    """How much is fetched of a partition, and of how many partitions at a time.

    A broker leaves out of an answer each partition whose next batch is larger than the limit, except the
    first one. Batches of up to 16 KiB, the default of producers, come in the first pass for the price of
    16 KiB a partition; a topic with larger ones is found out by its silence and read by a later pass.
    """

    fetch_bytes: int
    partitions: int


PASSES = (
    Pass(fetch_bytes=16 * 1024, partitions=1000),
    Pass(fetch_bytes=256 * 1024, partitions=64),
    Pass(fetch_bytes=_MEBIBYTE, partitions=16),
)

_OWN_PROPERTIES: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "isolation.level": "read_uncommitted",
    "allow.auto.create.topics": False,
    # Where a sum does not match, librdkafka goes on reading at a wrong place of the answer (up to 2.16 at
    # least): it misses other partitions, or aborts the process.
    "check.crcs": False,
    # One answer of a broker, which bounds memory.
    "fetch.max.bytes": 8 * _MEBIBYTE,
    "queued.min.messages": 1,
    "fetch.wait.max.ms": 10,
    # librdkafka waits a second by default before it fetches again what it has no room for.
    "fetch.queue.backoff.ms": 1,
    "fetch.error.backoff.ms": 0,
}


def _properties(fetch: Pass) -> dict[str, Any]:
    """Give a reader's own properties; the group.id names no group that exists."""
    return {
        **_OWN_PROPERTIES,
        "group.id": f"klag-trio-{secrets.token_hex(8)}",
        "max.partition.fetch.bytes": fetch.fetch_bytes,
    }


@attrs.define
class _Read:
    """One read under way."""

    progress: Progress
    owed: dict[TopicPartition, list[int]]
    fetch_timeout: float
    deadline: float
    abandoned: Callable[[], bool]
    give_up: dict[TopicPartition, float] = attrs.field(factory=dict)
    """When the wait for a partition ends; without an entry it has not begun."""

    def give_up_rest(self, failed: Fault | None) -> None:
        """Say of what has no answer why it has none."""
        for tp, left in self.owed.items():
            fault = failed or (TIMED_OUT if tp in self.give_up else NOT_TRIED)
            self.progress.faults.update(((tp, position), fault) for position in left)


class TimestampReader:
    """Reads in the thread that calls; it serves one thread at a time.

    `pass_of` remembers which topics have large batches, so that they are read right the next time.
    """

    def __init__(
        self,
        connect: Callable[[Mapping[str, Any]], Consumer],
        describe: Callable[[KafkaError], Fault],
        pass_of: dict[str, int],
    ) -> None:
        self._connect = connect
        self._describe = describe
        self._pass_of = pass_of
        self._consumer: Consumer | None = None
        self._topics: set[str] = set()
        self._partitions: set[TopicPartition] = set()

    def read(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        *,
        fetch_timeout: float,
        deadline: float,
        abandoned: Callable[[], bool],
    ) -> Reading:
        """Give the first record at or after each position.

        No partition is waited for longer than `fetch_timeout` seconds, and none beyond `deadline` on
        `time.monotonic`'s clock.
        """
        self._partitions |= wanted.keys()
        progress = Progress(self._describe)
        owed = {tp: list(positions) for tp, positions in wanted.items()}
        read = _Read(progress, owed, fetch_timeout, deadline, abandoned)
        failed: Fault | None = None
        try:
            for number in range(len(PASSES)):
                self._run_pass(number, read)
        except KafkaException as exc:
            failed = self._describe(exc.args[0])  # what was read before stays
        read.give_up_rest(failed)
        if len(self._partitions) > _PARTITIONS_KEPT:
            self.close()
        allocator.give_back()
        return Reading(progress.records, progress.faults, progress.count, progress.bytes)

    def _run_pass(self, number: int, read: _Read) -> None:
        now = monotonic()
        turn = [
            tp
            for tp in read.owed
            if self._pass_of.get(tp.topic, 0) <= number and read.give_up.get(tp, inf) > now
        ]
        if not turn or now >= read.deadline:
            return
        may_stall = number < len(PASSES) - 1
        seconds = min(read.fetch_timeout, read.deadline - now)
        with self._lent_consumer(number, {tp.topic for tp in turn}, seconds) as consumer:
            for chunk in _chunks(turn, PASSES[number].partitions):
                now = monotonic()
                if now >= read.deadline:
                    return
                for tp in chunk:
                    read.give_up.setdefault(tp, now + read.fetch_timeout)
                latest = min(read.deadline, max(read.give_up[tp] for tp in chunk))
                part = {tp: read.owed[tp] for tp in chunk}
                Chunk(consumer, part, read.progress).read(
                    latest, read.abandoned, may_stall=may_stall, patience=read.fetch_timeout / 2
                )
                for tp in chunk:
                    if tp not in part:
                        del read.owed[tp]
                        if number:
                            self._pass_of[tp.topic] = number

    @contextmanager
    def _lent_consumer(self, number: int, topics: Set[str], seconds: float) -> Iterator[Consumer]:
        """Lend the consumer of a pass: the first one's is kept for a while, the others' are rarely needed."""
        if number:
            consumer = self._connect(_properties(PASSES[number]))
            try:
                consumer.list_topics(timeout=seconds)
                yield consumer
            finally:
                consumer.close()
            return
        consumer = self._consumer or self._connect(_properties(PASSES[0]))
        self._consumer = None  # and stays so after an error: the next read starts with a new one
        try:
            if not topics <= self._topics:
                # librdkafka looks for the leaders of topics that are new to it once a second only.
                consumer.list_topics(timeout=seconds)
                self._topics |= topics
            yield consumer
        except BaseException:
            consumer.close()
            raise
        self._consumer = consumer

    def close(self) -> None:
        """Let go of the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
            self._topics = set()
            self._partitions = set()


class RecordReader:
    """The readers of one cluster, at most `max_concurrent_fetches` of them at a time."""

    def __init__(self, client: Client, *, max_concurrent_fetches: int, fetch_timeout: float) -> None:
        self._client = client
        self._limiter = trio.CapacityLimiter(max_concurrent_fetches)
        self._fetch_timeout = fetch_timeout
        self._pass_of: dict[str, int] = {}
        self._idle: list[TimestampReader] = []

    async def read(self, wanted: Mapping[TopicPartition, Sequence[int]], *, within: float) -> Reading:
        """Give the first record at or after each position, within so many seconds.

        What brought no answer is among the faults; nothing is raised for it.
        """
        deadline = monotonic() + within
        most = int(self._limiter.total_tokens - self._limiter.borrowed_tokens)
        parts = shards(wanted, most=max(1, most), length=_POSITIONS_PER_READER)
        readings: list[Reading] = []

        async def read_part(part: Mapping[TopicPartition, Sequence[int]]) -> None:
            readings.append(await self._read(part, deadline))

        async with trio.open_nursery() as nursery:
            for part in parts:
                nursery.start_soon(read_part, part)
        return Reading(
            records={key: record for reading in readings for key, record in reading.records.items()},
            faults={key: fault for reading in readings for key, fault in reading.faults.items()},
            count=sum(reading.count for reading in readings),
            bytes=sum(reading.bytes for reading in readings),
        )

    async def _read(self, wanted: Mapping[TopicPartition, Sequence[int]], deadline: float) -> Reading:
        abandoned = threading.Event()
        # A reader that a cancelled call still uses is not in the list; its thread closes it.
        reader = (
            self._idle.pop()
            if self._idle
            else TimestampReader(self._client.consumer, self._client.fault, self._pass_of)
        )

        def run() -> Reading:
            try:
                return reader.read(
                    wanted,
                    fetch_timeout=self._fetch_timeout,
                    deadline=deadline,
                    abandoned=abandoned.is_set,
                )
            finally:
                if abandoned.is_set():
                    reader.close()

        try:
            reading = await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            abandoned.set()
        self._idle.append(reader)
        return reading

    async def rest(self) -> None:
        """Let go of the connections that nobody uses; the next read makes new ones."""
        idle, self._idle = self._idle, []
        for reader in idle:
            await trio.to_thread.run_sync(reader.close, limiter=self._limiter, abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Let go of all that is kept."""
        await self.rest()
        self._pass_of.clear()  # which would remember topics that are gone


def _chunks(partitions: Sequence[TopicPartition], size: int) -> Iterator[list[TopicPartition]]:
    iterator = iter(partitions)
    while chunk := list(islice(iterator, size)):
        yield chunk
