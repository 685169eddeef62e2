"""Reads the record timestamps of one cluster, shared out over several readers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from time import monotonic

import trio

from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import NOT_ALONE, Reading, shards
from klag_trio.kafka.chunk import TIMED_OUT
from klag_trio.kafka.client import Client
from klag_trio.kafka.timestamps import TimestampReader

_POSITIONS_PER_READER = 32
# librdkafka looks at every partition that a consumer has had whenever it has anything to do, so that the time
# for one grows with their square: 3,750 reads took 0.73 s with one consumer, 0.59 s with two and 0.54 s with
# three; six were no faster.
_PARTITIONS_PER_READER = 1000
_READERS = 3
# Those with large batches; topics come and go as long as the process runs.
_TOPICS_REMEMBERED = 10_000
_REST_SECONDS = 0.5
# Readers keep their deadline themselves; this is how late one may be before it is left alone.
_OVERTIME_SECONDS = 0.5


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

    async def read(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        *,
        alone: Set[TopicPartition] = frozenset(),
        within: float,
    ) -> Reading:
        """Give the first record at or after each position, within so many seconds.

        The partitions in `alone` are read one at a time, and so are those that kept each other waiting when
        they were read together. What brought no answer is among the faults; nothing is raised for it.
        """
        deadline = monotonic() + within
        together = {tp: places for tp, places in wanted.items() if tp not in alone}
        reading = await self._read_together(together, deadline)
        left: dict[TopicPartition, list[int]] = {}
        if len(together) > 1:
            # One by one, and not in halves: each half with the same record in it would unpack it again.
            for (tp, position), fault in reading.faults.items():
                if fault == TIMED_OUT:
                    left.setdefault(tp, []).append(position)
        if left:
            # librdkafka may be unpacking such a record at this moment: no two of them at a time.
            await self.rest(within=max(_REST_SECONDS, (deadline - monotonic()) / 2))
        left |= {tp: list(places) for tp, places in wanted.items() if tp in alone}
        if not left:
            return reading
        return _merged([reading, await self._read_alone(left, deadline)])

    async def _read_together(
        self, wanted: Mapping[TopicPartition, Sequence[int]], deadline: float
    ) -> Reading:
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
            readings.append(await self._in_time(TimestampReader.read, part, TIMED_OUT, deadline))

        async with trio.open_nursery() as nursery:
            for part in parts:
                nursery.start_soon(read_part, part)
        return _merged(readings)

    async def _read_alone(self, wanted: Mapping[TopicPartition, list[int]], deadline: float) -> Reading:
        for positions in wanted.values():
            positions.sort()
        return await self._in_time(TimestampReader.read_alone, wanted, NOT_ALONE, deadline)

    async def _in_time(
        self,
        read: Callable[..., Reading],
        wanted: Mapping[TopicPartition, Sequence[int]],
        late: Fault,
        deadline: float,
    ) -> Reading:
        """Read in a thread, or say of all that it came too `late`."""
        # librdkafka may hold its thread up, in a look for a host's address for instance.
        with trio.move_on_after(max(0, deadline - monotonic()) + _OVERTIME_SECONDS):
            return await self._read(read, wanted, deadline)
        return Reading({}, {(tp, place): late for tp, places in wanted.items() for place in places})

    async def _read(
        self,
        read: Callable[..., Reading],
        wanted: Mapping[TopicPartition, Sequence[int]],
        deadline: float,
    ) -> Reading:
        abandoned = threading.Event()
        # A reader that a cancelled call still uses is not in the list; its thread closes it.
        reader = (
            self._idle.pop()
            if self._idle
            else TimestampReader(self._client.fetcher, self._client.fault, self._pass_of)
        )

        def run() -> Reading:
            try:
                return read(
                    reader,
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

    async def rest(self, *, within: float = _REST_SECONDS) -> None:
        """Let go of the connections that nobody uses, within so many seconds; the next read makes new ones.

        One that takes longer ends in its own thread. What no thread is free for stays for the next time.
        """
        most = int(self._closing.available_tokens)
        idle, self._idle = self._idle[:most], self._idle[most:]
        with trio.move_on_after(within):
            async with trio.open_nursery() as nursery:
                for reader in idle:
                    nursery.start_soon(self._close, reader)

    async def _close(self, reader: TimestampReader) -> None:
        await trio.to_thread.run_sync(reader.close, limiter=self._closing, abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Let go of all that is kept."""
        await self.rest()
        self._pass_of.clear()  # which would remember topics that are gone


def _merged(readings: Sequence[Reading]) -> Reading:
    """All that was read, each position's last answer."""
    records = {key: record for reading in readings for key, record in reading.records.items()}
    faults = {key: fault for reading in readings for key, fault in reading.faults.items()}
    return Reading(
        records=records,
        faults={key: fault for key, fault in faults.items() if key not in records},
        count=sum(reading.count for reading in readings),
        bytes=sum(reading.bytes for reading in readings),
    )
