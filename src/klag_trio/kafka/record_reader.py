"""Reads the record timestamps of one cluster: what together, what alone, and what is to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from time import monotonic
from typing import Any

import attrs
import trio

from klag_trio.domain.lag import FirstRecord
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import NOT_ALONE, NOT_TRIED, TIMED_OUT, Key, Reading, shards
from klag_trio.kafka.client import Client
from klag_trio.kafka.worker_process import WorkerError, in_halves

_POSITIONS_PER_READER = 32
# librdkafka looks at every partition that a consumer has had whenever it has anything to do, so that the time
# for one grows with their square: 3,750 reads took 0.73 s with one consumer, 0.59 s with two and 0.54 s with
# three; six were no faster.
_PARTITIONS_PER_READER = 1000
_READERS = 3
# After so many partitions in a row, each read alone, that bring nothing.
_SILENT_IN_A_ROW = 2


@attrs.define
class _Found:
    """What one read has brought so far."""

    wanted: Mapping[TopicPartition, Sequence[int]]
    client: Client
    records: dict[Key, FirstRecord] = attrs.field(factory=dict)
    faults: dict[Key, Fault] = attrs.field(factory=dict)
    count: int = 0
    bytes: int = 0

    def take(self, records: list[Any], faults: list[Any], count: int, size: int) -> None:
        """Take in what the worker hands over."""
        for topic, number, position, offset, timestamp in records:
            self.records[TopicPartition(topic, number), position] = FirstRecord(offset, timestamp)
        for topic, number, position, fault in faults:
            found = Fault(*fault)
            ours = found in (TIMED_OUT, NOT_TRIED)
            self.faults[TopicPartition(topic, number), position] = (
                found if ours else self.client.refine(found)
            )
        self.count += count
        self.bytes += size

    def owed(self, tp: TopicPartition) -> list[int]:
        """The positions in a partition that nothing is known of, ascending."""
        keys = ((tp, position) for position in sorted(self.wanted[tp]))
        return [key[1] for key in keys if key not in self.records and key not in self.faults]

    def is_answered(self, tp: TopicPartition) -> bool:
        return not self.owed(tp)

    def blame(self, partitions: Sequence[TopicPartition], fault: Fault) -> None:
        """Give the fault for what is owed in these partitions."""
        for tp in partitions:
            self.faults.update(((tp, position), fault) for position in self.owed(tp))

    def forgive(self, fault: Fault) -> list[TopicPartition]:
        """Forget this fault; returns the partitions that had it."""
        keys = [key for key, found in self.faults.items() if found == fault]
        for key in keys:
            del self.faults[key]
        return list(dict.fromkeys(tp for tp, _ in keys))

    def reading(self) -> Reading:
        return Reading(self.records, self.faults, self.count, self.bytes)


class RecordReader:
    """The readers of one cluster, at most `max_concurrent_fetches` of them at a time."""

    def __init__(self, client: Client, *, max_concurrent_fetches: int, fetch_timeout: float) -> None:
        self._client = client
        self._most = max_concurrent_fetches
        self._fetch_timeout = fetch_timeout

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
        found = _Found(wanted, self._client)
        together = [tp for tp in wanted if tp not in alone]
        await self._read(together, found, deadline)
        silent = []
        if len(together) > 1 and (silent := found.forgive(TIMED_OUT)):
            # It may be unpacking such a record at this moment, and is not to do so twice.
            await self._client.worker.end()
        await self._read_alone([*silent, *(tp for tp in wanted if tp in alone)], found, deadline)
        return found.reading()

    async def _read_alone(self, partitions: Sequence[TopicPartition], found: _Found, deadline: float) -> None:
        """Read one partition at a time, so that none can take another's time.

        Where several in a row bring nothing their leader does not answer, and the others are not tried.
        """
        silent = 0
        for tp in partitions:
            if monotonic() >= deadline or silent == _SILENT_IN_A_ROW:
                break
            if (nothing := await self._read([tp], found, deadline)) is not None:
                # No broker says who leads, say, which goes for the others too.
                found.blame(partitions, nothing)
                return
            if any(found.faults.get((tp, position)) == TIMED_OUT for position in found.wanted[tp]):
                silent += 1
                await self._client.worker.end()
            else:
                silent = 0
        found.blame(partitions, NOT_ALONE)

    async def _read(
        self, partitions: Sequence[TopicPartition], found: _Found, deadline: float
    ) -> Fault | None:
        """Read partitions together; returns why nothing can be read at all, where that is so."""

        def request(part: Sequence[TopicPartition]) -> list[Any]:
            shared = shards(
                {tp: found.owed(tp) for tp in part},
                most=self._most,
                # No more than a few for many partitions: what each spends on connecting adds up.
                partitions=max(_PARTITIONS_PER_READER, -(-len(part) // _READERS)),
                length=_POSITIONS_PER_READER,
            )
            return [[[*tp, places] for tp, places in shard.items()] for shard in shared]

        async def ask(part: Sequence[TopicPartition]) -> None:
            rows = await trio.to_thread.run_sync(request, part)
            left = max(0.0, deadline - monotonic())
            await self._client.worker.ask(found.take, "read", rows, self._fetch_timeout, left, within=left)

        def blame(tp: TopicPartition, fault: Fault) -> None:
            found.blame([tp], fault)

        nothing = None
        try:
            await in_halves(partitions, ask, found.is_answered, blame, deadline)
        except WorkerError as exc:
            nothing = self._client.refine(exc.fault)
        await trio.to_thread.run_sync(found.blame, partitions, nothing or NOT_TRIED)
        return nothing

    async def rest(self) -> None:
        """Let go of the connections that nobody uses; the next read makes new ones."""
        await self._client.worker.rest()

    async def aclose(self) -> None:
        """Let go of all that is kept."""
        await self._client.worker.end()
