"""Reads record timestamps, many partitions per fetch, with a consumer that joins and commits to no group."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import islice
from math import inf
from time import monotonic

import attrs
import trio
from confluent_kafka import KafkaError, KafkaException

from klag_trio import allocator
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import NOT_TRIED, Reading, shards
from klag_trio.kafka.chunk import TIMED_OUT, Chunk, Progress
from klag_trio.kafka.client import Client
from klag_trio.kafka.fetcher import Fetcher

_MEBIBYTE = 1024 * 1024
_POSITIONS_PER_READER = 32
# librdkafka looks at every partition that a consumer has had whenever it has anything to do, so that the time
# for one grows with their square: 3,750 reads took 0.73 s with one consumer, 0.59 s with two and 0.54 s with
# three; six were no faster.
_PARTITIONS_PER_READER = 1000
_READERS = 3
# A consumer never forgets a partition that it has read, at 6 KB each: beyond this many it is replaced.
_PARTITIONS_KEPT = 1000
# Those with large batches; topics come and go as long as the process runs.
_TOPICS_REMEMBERED = 10_000
_REST_SECONDS = 0.5
# Readers keep their deadline themselves; this is how late one may be before it is left alone.
_OVERTIME_SECONDS = 0.5


@attrs.frozen
class Pass:
    """How much is fetched of a partition, and of how many partitions at a time.

    A broker leaves out of an answer each partition whose next batch is larger than the limit, except the
    first one. Batches of up to 16 KiB, the default of producers, come in the first pass for the price of
    16 KiB a partition; a topic with larger ones is found out by its silence and read by a later pass.
    """

    fetch_bytes: int
    partitions: int


# librdkafka looks at every partition that it has each time a fetch is due, so that fewer at a time cost less
# until their answers get too small to be worth a request: 250 to 500 took the same time, 1,000 a fifth more
# and 4,000 twice as much.
PASSES = (
    Pass(fetch_bytes=16 * 1024, partitions=400),
    Pass(fetch_bytes=256 * 1024, partitions=64),
    Pass(fetch_bytes=_MEBIBYTE, partitions=16),
)

_OWN_PROPERTIES: Mapping[str, str] = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "auto.offset.reset": "error",
    "enable.partition.eof": "true",
    "isolation.level": "read_uncommitted",
    "allow.auto.create.topics": "false",
    # Where a sum does not match, librdkafka goes on reading at a wrong place of the answer (up to 2.16 at
    # least): it misses other partitions, or aborts the process.
    "check.crcs": "false",
    # One answer of a broker, which bounds memory.
    "fetch.max.bytes": str(8 * _MEBIBYTE),
    "queued.min.messages": "1",
    "fetch.wait.max.ms": "10",
    # librdkafka waits a second by default before it fetches again what it has no room for.
    "fetch.queue.backoff.ms": "1",
    "fetch.error.backoff.ms": "0",
}


def _properties(fetch: Pass) -> dict[str, str]:
    """Give a reader's own properties; the group.id names no group that exists."""
    return {
        **_OWN_PROPERTIES,
        "group.id": f"klag-trio-{secrets.token_hex(8)}",
        "max.partition.fetch.bytes": str(fetch.fetch_bytes),
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
        connect: Callable[[Mapping[str, str]], Fetcher],
        describe: Callable[[KafkaError], Fault],
        pass_of: dict[str, int],
    ) -> None:
        self._connect = connect
        self._describe = describe
        self._pass_of = pass_of
        self._fetcher: Fetcher | None = None
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
        def gives_up(tp: TopicPartition) -> float:
            return read.give_up.get(tp, inf)

        now = monotonic()
        turn = [tp for tp in read.owed if self._pass_of.get(tp.topic, 0) <= number and gives_up(tp) > now]
        if not turn or now >= read.deadline:
            return
        # A chunk is waited for until its last one is given up: those together that are so at about one time.
        turn.sort(key=gives_up)
        may_stall = number < len(PASSES) - 1
        seconds = min(read.fetch_timeout, read.deadline - now)
        with self._lent_fetcher(number, {tp.topic for tp in turn}, seconds) as fetcher:
            for together in _chunks(turn, PASSES[number].partitions):
                now = monotonic()
                if now >= read.deadline:
                    return
                chunk = [tp for tp in together if gives_up(tp) > now]
                if not chunk:
                    continue
                for tp in chunk:
                    read.give_up.setdefault(tp, now + read.fetch_timeout)
                latest = min(read.deadline, max(read.give_up[tp] for tp in chunk))
                part = {tp: read.owed[tp] for tp in chunk}
                Chunk(fetcher, part, read.progress).read(
                    latest, read.abandoned, may_stall=may_stall, patience=read.fetch_timeout / 2
                )
                for tp in chunk:
                    if tp not in part:
                        del read.owed[tp]
                        if number:
                            self._pass_of[tp.topic] = number

    @contextmanager
    def _lent_fetcher(self, number: int, topics: Set[str], seconds: float) -> Iterator[Fetcher]:
        """Lend the fetcher of a pass: the first one's is kept for a while, the others' are rarely needed."""
        if number:
            fetcher = self._connect(_properties(PASSES[number]))
            try:
                fetcher.find_leaders(seconds)
                yield fetcher
            finally:
                fetcher.destroy()
            return
        fetcher = self._fetcher or self._connect(_properties(PASSES[0]))
        self._fetcher = None  # and stays so after an error: the next read starts with a new one
        try:
            if not topics <= self._topics:
                fetcher.find_leaders(seconds)
                self._topics |= topics
            yield fetcher
        except BaseException:
            fetcher.destroy()
            raise
        self._fetcher = fetcher

    def close(self) -> None:
        """Let go of the connection."""
        if self._fetcher is not None:
            self._fetcher.destroy()
            self._fetcher = None
            self._topics = set()
            self._partitions = set()


class RecordReader:
    """The readers of one cluster, at most `max_concurrent_fetches` of them at a time."""

    def __init__(self, client: Client, *, max_concurrent_fetches: int, fetch_timeout: float) -> None:
        self._client = client
        self._limiter = trio.CapacityLimiter(max_concurrent_fetches)
        # Of its own, so that no read waits for a connection that does not close.
        self._closing = trio.CapacityLimiter(max_concurrent_fetches)
        self._fetch_timeout = fetch_timeout
        self._pass_of: dict[str, int] = {}
        self._idle: list[TimestampReader] = []

    async def read(self, wanted: Mapping[TopicPartition, Sequence[int]], *, within: float) -> Reading:
        """Give the first record at or after each position, within so many seconds.

        What brought no answer is among the faults; nothing is raised for it.
        """
        deadline = monotonic() + within
        while len(self._pass_of) > _TOPICS_REMEMBERED:
            del self._pass_of[next(iter(self._pass_of))]
        most = int(self._limiter.total_tokens - self._limiter.borrowed_tokens)
        parts = shards(
            wanted,
            most=max(1, most),
            # No more than a few for many partitions: what each spends on connecting adds up.
            partitions=max(_PARTITIONS_PER_READER, -(-len(wanted) // _READERS)),
            length=_POSITIONS_PER_READER,
        )
        readings: list[Reading] = []

        async def read_part(part: Mapping[TopicPartition, Sequence[int]]) -> None:
            with trio.move_on_after(max(0, deadline - monotonic()) + _OVERTIME_SECONDS) as scope:
                readings.append(await self._read(part, deadline))
            if scope.cancelled_caught:
                # librdkafka holds its thread up, in a look for a host's address for instance.
                unread = ((tp, position) for tp, positions in part.items() for position in positions)
                readings.append(Reading({}, dict.fromkeys(unread, TIMED_OUT)))

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
            else TimestampReader(self._client.fetcher, self._client.fault, self._pass_of)
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
        """Let go of the connections that nobody uses, within half a second; the next read makes new ones.

        One that takes longer ends in its own thread. What no thread is free for stays for the next time.
        """
        most = int(self._closing.available_tokens)
        idle, self._idle = self._idle[:most], self._idle[most:]
        with trio.move_on_after(_REST_SECONDS):
            async with trio.open_nursery() as nursery:
                for reader in idle:
                    nursery.start_soon(self._close, reader)

    async def _close(self, reader: TimestampReader) -> None:
        await trio.to_thread.run_sync(reader.close, limiter=self._closing, abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Let go of all that is kept."""
        await self.rest()
        self._pass_of.clear()  # which would remember topics that are gone


def _chunks(partitions: Sequence[TopicPartition], size: int) -> Iterator[list[TopicPartition]]:
    iterator = iter(partitions)
    while chunk := list(islice(iterator, size)):
        yield chunk
