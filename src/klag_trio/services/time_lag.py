"""The ways to a time lag: by reading records, by the production rate, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Protocol

import attrs
import trio

from klag_trio.domain.lag import FirstRecord
from klag_trio.domain.offsets import CleanupPolicy, ClusterSnapshot, ClusterUnavailable, Fault, TopicPartition
from klag_trio.domain.time_lag import (
    Key,
    Plan,
    RateEstimator,
    Reading,
    TimestampCache,
    Wanted,
    positions,
    wanted,
)
from klag_trio.services.board import Reads
from klag_trio.services.cluster_admin import is_denied
from klag_trio.services.faults import FaultLog

Earliest = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, "int | Fault"]]]

_OUT_OF_RANGE = "_AUTO_OFFSET_RESET"
# Of the time there is: without a policy an old answer is read again, and that takes time too.
_FOR_POLICIES = 0.25


class Policies(Protocol):
    """Tells cleanup policies."""

    async def __call__(self, topics: set[str], *, within: float) -> Mapping[str, CleanupPolicy]:
        """Those of these topics that are known within so many seconds."""


class TimeLag(Protocol):
    """Finds when the records were written that groups have to read next."""

    async def first_records(self, snapshot: ClusterSnapshot, *, within: float) -> Mapping[Key, FirstRecord]:
        """Give the first record for each partition and committed offset where it is known."""

    async def recycle(self) -> None:
        """Let go of the connections; the next read makes new ones."""


class Reader(Protocol):
    """Reads records."""

    async def read(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        *,
        alone: Set[TopicPartition] = frozenset(),
        within: float,
    ) -> Reading:
        """Give the first record at or after each position, within so many seconds.

        The partitions in `alone` are read one at a time, after the others.
        """

    async def rest(self) -> None:
        """Let go of the connections until something is to be read again."""

    async def aclose(self) -> None:
        """Let go of all that is kept."""


class NoTimeLag:
    """Timestamp sampling is off: no record is ever read."""

    async def first_records(self, snapshot: ClusterSnapshot, *, within: float) -> Mapping[Key, FirstRecord]:
        """Give nothing."""
        return {}

    async def recycle(self) -> None:
        """Do nothing."""


class RateTimeLag:
    """Estimates from the growth of the high watermarks; no record is ever read."""

    def __init__(self, estimator: RateEstimator) -> None:
        self._estimator = estimator

    async def first_records(self, snapshot: ClusterSnapshot, *, within: float) -> Mapping[Key, FirstRecord]:
        """Give estimates where the rate allows one."""
        return await trio.to_thread.run_sync(self._estimator.estimate, snapshot)

    async def recycle(self) -> None:
        """Do nothing: there is no connection."""


class MessageTimeLag:
    """Reads the timestamp of the record itself, once, and remembers it."""

    def __init__(
        self,
        reader: Reader,
        cache: TimestampCache,
        policies: Policies,
        earliest: Earliest,
        faults: FaultLog,
        reads: Reads,
        *,
        skip_data_loss: bool,
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._policies = policies
        self._earliest = earliest
        self._faults = faults
        self._reads = reads
        self._skip_data_loss = skip_data_loss
        # Topics of which some answer is older than the cache trusts without knowing their policy.
        self._aged: set[str] = set()
        self._denied: dict[str, Fault] = {}
        """Topics whose records may not be read, as was seen the last time that one was wanted."""

    async def first_records(self, snapshot: ClusterSnapshot, *, within: float) -> Mapping[Key, FirstRecord]:
        """Give what is known and what can be read within so many seconds."""
        deadline = trio.current_time() + within
        keys = await trio.to_thread.run_sync(lambda: wanted(snapshot, skip_data_loss=self._skip_data_loss))
        self._aged &= snapshot.topic_ids.keys()
        for_policies = within * _FOR_POLICIES
        plan = await self._plan(keys, snapshot, await self._policies(self._aged, within=for_policies))
        if not plan.unsure <= self._aged:
            self._aged |= plan.unsure
            plan = await self._plan(keys, snapshot, await self._policies(self._aged, within=for_policies))
        for (tp, _), fault in plan.waiting.items():
            self._faults.lasts("timestamps", tp.topic, fault)
        known = dict(plan.known)
        unanswered = set(plan.waiting)
        if plan.unread:
            reading = await self._read(plan.unread, plan.suspects, deadline)
            failed = await trio.to_thread.run_sync(self._take_in, plan.unread, reading, snapshot, known)
            for (tp, _), fault in failed.items():
                self._faults.record("timestamps", tp.topic, fault)
            unanswered.update(failed)
            self._note_denied(plan.unread.keys(), failed)
        else:
            # Where nothing moves a connection would be kept for nothing.
            await self._reader.rest()
        if self._denied:
            existing = {tp.topic for tp in snapshot.partitions}
            self._denied = {topic: fault for topic, fault in self._denied.items() if topic in existing}
        for topic, fault in self._denied.items():
            self._faults.lasts("timestamps", topic, fault)
        self._reads.unread_partitions = len({tp for tp, _ in unanswered})
        return known

    def _note_denied(self, asked: Iterable[Key], failed: Mapping[Key, Fault]) -> None:
        for key in asked:
            fault = failed.get(key)
            if fault is None:
                self._denied.pop(key[0].topic, None)
            elif is_denied(fault):
                self._denied[key[0].topic] = fault

    async def _read(
        self, unread: Mapping[Key, Wanted], suspects: Set[TopicPartition], deadline: float
    ) -> Reading:
        reading = await self._read_once(positions(unread), suspects, deadline)
        # Retention went on since the low watermark was asked for: the first record is where it is now.
        passed = {place for place, fault in reading.faults.items() if fault.code == _OUT_OF_RANGE}
        if not passed:
            return reading
        earliest: Mapping[TopicPartition, int | Fault] = {}
        # A leader that hangs just now may cost what it alone would have answered, not the cycle.
        with trio.move_on_at(deadline), suppress(ClusterUnavailable):
            earliest = await self._earliest(sorted({tp for tp, _ in passed}))
        moved = {
            (tp, position): (tp, now_at)
            for tp, position in passed
            if isinstance(now_at := earliest.get(tp), int) and now_at > position
        }
        again = await self._read_once({tp: [now_at] for tp, now_at in moved.values()}, suspects, deadline)
        found = {place: again.records[at] for place, at in moved.items() if at in again.records}
        return attrs.evolve(
            reading,
            records={**reading.records, **found},
            faults={place: fault for place, fault in reading.faults.items() if place not in found},
        )

    async def _read_once(
        self,
        places: Mapping[TopicPartition, Sequence[int]],
        suspects: Set[TopicPartition],
        deadline: float,
    ) -> Reading:
        left = max(0.0, deadline - trio.current_time())
        reading = await self._reader.read(places, alone=suspects, within=left)
        self._reads.records += reading.count
        self._reads.bytes += reading.bytes
        return reading

    async def _plan(
        self, keys: Mapping[Key, Wanted], snapshot: ClusterSnapshot, policies: Mapping[str, CleanupPolicy]
    ) -> Plan:
        return await trio.to_thread.run_sync(
            lambda: self._cache.plan(keys, topic_ids=snapshot.topic_ids, policies=policies, now=snapshot.now)
        )

    def _take_in(
        self,
        unread: Mapping[Key, Wanted],
        reading: Reading,
        snapshot: ClusterSnapshot,
        known: dict[Key, FirstRecord],
    ) -> dict[Key, Fault]:
        """Add what was read to what is known; returns the keys that brought none, and why."""
        failed: dict[Key, Fault] = {}
        for key, want in unread.items():
            tp = key[0]
            place = (tp, want.position)
            if (record := reading.records.get(place)) is not None:
                known[key] = record
                self._cache.store(
                    key, want, record, topic_id=snapshot.topic_ids.get(tp.topic), now=snapshot.now
                )
            elif (fault := reading.faults.get(place)) is not None:
                failed[key] = fault
                if (last := self._cache.last_known(key, want, snapshot.topic_ids)) is not None:
                    known[key] = last
                self._cache.store(key, want, fault, topic_id=None, now=snapshot.now)
        return failed

    async def recycle(self) -> None:
        """Start over with new connections; what is known stays."""
        await self._reader.aclose()
