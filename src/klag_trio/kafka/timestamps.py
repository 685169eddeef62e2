"""Reads record timestamps, many partitions per fetch, with a consumer that joins and commits to no group."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import islice
from time import monotonic
from typing import Any

import attrs
import trio
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from klag_trio import allocator
from klag_trio.domain.lag import NOTHING_LEFT, FirstRecord
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import Key, Reading, shards
from klag_trio.kafka.client import Client

_EOF = KafkaError._PARTITION_EOF
_MEBIBYTE = 1024 * 1024
_TIMED_OUT = Fault("_TIMED_OUT", "no record came within fetch_timeout", retriable=True)
_OUT_OF_TIME = Fault("_TIMED_OUT", "the cycle had no time left for this read", retriable=True)
# Records handed over at once: of a fetched partition only the first is wanted, and more than a few would be
# turned into Python objects for nothing before the partition is let go.
_MESSAGES_PER_POLL = 10
_POLL_SECONDS = 0.02
# A next wanted offset this close is waited for in the stream; a farther one is jumped to.
_NEAR = 50
_STALL_SECONDS = 0.3
_POSITIONS_PER_READER = 32
_METADATA_SECONDS = 10.0
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
class _Progress:
    """What one read has come to."""

    describe: Callable[[KafkaError], Fault]
    records: dict[Key, FirstRecord] = attrs.field(factory=dict)
    faults: dict[Key, Fault] = attrs.field(factory=dict)
    count: int = 0
    bytes: int = 0


class _Chunk:
    """Partitions that are fetched together, each with the positions it still owes, ascending."""

    def __init__(
        self, consumer: Consumer, owed: dict[TopicPartition, list[int]], progress: _Progress
    ) -> None:
        self._consumer = consumer
        self._owed = owed
        self._progress = progress

    def read(self, deadline: float, abandoned: Callable[[], bool], *, may_stall: bool) -> None:
        """Read until all is answered, the deadline passes, or answers stop coming while `may_stall`."""
        self._consumer.incremental_assign([_at(tp, owed[0]) for tp, owed in self._owed.items()])
        answered_at: float | None = None
        open_before = len(self._owed)
        while self._owed and not abandoned() and (now := monotonic()) < deadline:
            self._take(self._consumer.consume(_MESSAGES_PER_POLL, min(_POLL_SECONDS, deadline - now)))
            if len(self._owed) < open_before - open_before // 50:
                open_before, answered_at = len(self._owed), monotonic()
            elif may_stall and answered_at is not None and monotonic() - answered_at > _STALL_SECONDS:
                break
        if self._owed:
            self._consumer.incremental_unassign([_at(tp, 0) for tp in self._owed])

    def _take(self, messages: Sequence[Message]) -> None:
        # One entry a partition, however many of its records came: librdkafka aborts the process when a
        # partition is unassigned twice.
        far: dict[TopicPartition, int] = {}
        done: dict[TopicPartition, None] = {}
        for message in messages:
            topic, partition, error = message.topic(), message.partition(), message.error()
            if topic is None or partition is None:
                continue  # about the client, not about a partition; the partitions say it themselves
            tp = TopicPartition(topic, partition)
            if error is None:
                self._progress.count += 1
                self._progress.bytes += len(message) + len(message.key() or b"")
            owed = self._owed.get(tp)
            if owed is None:
                continue
            if error is None:
                self._answer(tp, owed, message)
            else:
                self._settle(tp, owed, error)
            far.pop(tp, None)
            if not owed:
                del self._owed[tp]
                done[tp] = None
            elif owed[0] - (message.offset() or 0) > _NEAR:
                far[tp] = owed[0]
        if far or done:
            self._consumer.incremental_unassign([_at(tp, 0) for tp in (*done, *far)])
        if far:
            self._consumer.incremental_assign([_at(tp, position) for tp, position in far.items()])

    def _answer(self, tp: TopicPartition, owed: list[int], message: Message) -> None:
        """Answer the positions that this record is the first one for."""
        offset = message.offset() or 0
        kind, milliseconds = message.timestamp()
        known = kind != TIMESTAMP_NOT_AVAILABLE and milliseconds >= 0
        record = FirstRecord(offset, milliseconds / 1000 if known else None)
        while owed and owed[0] <= offset:
            self._progress.records[tp, owed.pop(0)] = record

    def _settle(self, tp: TopicPartition, owed: list[int], error: KafkaError) -> None:
        """Answer all positions with the end of the partition, or with the fault."""
        if error.code() == _EOF:
            self._progress.records.update(((tp, position), NOTHING_LEFT) for position in owed)
        else:
            fault = self._progress.describe(error)
            self._progress.faults.update(((tp, position), fault) for position in owed)
        owed.clear()


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
        progress = _Progress(self._describe)
        self._partitions |= wanted.keys()
        owed = {tp: list(wanted_here) for tp, wanted_here in wanted.items()}
        give_up: dict[TopicPartition, float] = {}
        for number, fetch in enumerate(PASSES):
            turn = [tp for tp in owed if self._pass_of.get(tp.topic, 0) <= number]
            if not turn:
                continue
            last = number == len(PASSES) - 1
            with self._lent_consumer(number, {tp.topic for tp in turn}) as consumer:
                for chunk in _chunks(turn, fetch.partitions):
                    now = monotonic()
                    for tp in chunk:
                        give_up.setdefault(tp, now + fetch_timeout)
                    latest = min(deadline, max(give_up[tp] for tp in chunk))
                    part = {tp: owed[tp] for tp in chunk}
                    _Chunk(consumer, part, progress).read(latest, abandoned, may_stall=not last)
                    for tp in chunk:
                        if tp not in part:
                            del owed[tp]
                            if number:
                                self._pass_of[tp.topic] = number
        for tp, left in owed.items():
            fault = _TIMED_OUT if give_up.get(tp, deadline) <= deadline else _OUT_OF_TIME
            progress.faults.update(((tp, position), fault) for position in left)
        if len(self._partitions) > _PARTITIONS_KEPT:
            self.close()
        allocator.give_back()
        return Reading(progress.records, progress.faults, progress.count, progress.bytes)

    @contextmanager
    def _lent_consumer(self, number: int, topics: Set[str]) -> Iterator[Consumer]:
        """Lend the consumer of a pass: the first one's is kept for a while, the others' are rarely needed."""
        if number:
            consumer = self._connect(_properties(PASSES[number]))
            try:
                consumer.list_topics(timeout=_METADATA_SECONDS)
                yield consumer
            finally:
                consumer.close()
            return
        consumer = self._consumer or self._connect(_properties(PASSES[0]))
        self._consumer = None  # and stays so after an error: the next read starts with a new one
        try:
            if not topics <= self._topics:
                # librdkafka looks for the leaders of topics that are new to it once a second only.
                consumer.list_topics(timeout=_METADATA_SECONDS)
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
            except KafkaException as exc:
                fault = self._client.fault(exc.args[0])
                return Reading({}, {(tp, place): fault for tp, places in wanted.items() for place in places})
            finally:
                if abandoned.is_set():
                    reader.close()

        try:
            reading = await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            abandoned.set()
        self._idle.append(reader)
        return reading

    async def aclose(self) -> None:
        """Let go of the connections that nobody uses."""
        idle, self._idle = self._idle, []
        for reader in idle:
            await trio.to_thread.run_sync(reader.close, limiter=self._limiter, abandon_on_cancel=True)


def _at(tp: TopicPartition, offset: int) -> KafkaTopicPartition:
    return KafkaTopicPartition(tp.topic, tp.partition, offset)


def _chunks(partitions: Sequence[TopicPartition], size: int) -> Iterator[list[TopicPartition]]:
    iterator = iter(partitions)
    while chunk := list(islice(iterator, size)):
        yield chunk
