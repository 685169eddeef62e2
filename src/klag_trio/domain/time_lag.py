"""Which record timestamps a cycle needs, and which of them are known already: pure, without a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from klag_trio.domain.lag import NOTHING_LEFT, FirstRecord
from klag_trio.domain.offsets import CleanupPolicy, ClusterSnapshot, Fault, TopicPartition

Key = tuple[TopicPartition, int]
"""A partition and a committed offset in it; every group that committed there shares the answer."""

TIMED_OUT = Fault("_TIMED_OUT", "no record came in time", retriable=True)
"""Of a position in a partition that was waited for."""

NOT_TRIED = Fault("_TIMED_OUT", "the cycle had no time left for this read", retriable=True)
"""Of a position that no attempt was made to read, so that it is not to blame."""

NOT_ALONE = Fault(
    "_TIMED_OUT", "no record came in time from partitions that were read together", retriable=True
)
"""Of a position in one of several partitions, any of which may have kept the others waiting."""

LATE = Fault("_TIMED_OUT", "the process that reads did not answer in time", retriable=True)
"""Of all that the process was asked about, for which none of it is to blame."""

NO_PROCESS = "_CRIT_SYS_RESOURCE"
"""The code where no process could be started to read anything."""

CRASH = "crash"
"""The code where the process ended of a position."""

_LONGEST_PENALTY = 600.0


@attrs.frozen
class Wanted:
    """Where the first record at or after a committed offset is to be looked for."""

    position: int
    """max(committed, earliest): what lies below is gone."""
    latest: int


@attrs.frozen
class Reading:
    """What reading brought, by partition and position."""

    records: Mapping[Key, FirstRecord]
    faults: Mapping[Key, Fault]
    """Positions that brought no answer, and why."""
    count: int = 0
    """Records that were looked at."""
    bytes: int = 0
    """Of their keys and values."""


def wanted(snapshot: ClusterSnapshot, *, skip_data_loss: bool) -> dict[Key, Wanted]:
    """Give the timestamps that a snapshot calls for: none where lag is 0.

    With `skip_data_loss` none either where the committed record is gone.
    """
    keys: dict[Key, Wanted] = {}
    for group in snapshot.groups:
        for tp, committed in group.commits.items():
            earliest, latest = snapshot.earliest.get(tp), snapshot.latest.get(tp)
            if isinstance(committed, Fault) or earliest is None or latest is None or committed >= latest:
                continue
            if not (skip_data_loss and committed < earliest):
                keys[tp, committed] = Wanted(max(committed, earliest), latest)
    return keys


def positions(keys: Mapping[Key, Wanted]) -> dict[TopicPartition, list[int]]:
    """Give each partition's positions, ascending and each once, so that one pass can serve them all."""
    found: dict[TopicPartition, set[int]] = {}
    for (tp, _), want in keys.items():
        found.setdefault(tp, set()).add(want.position)
    return {tp: sorted(places) for tp, places in found.items()}


def shards(
    wanted_positions: Mapping[TopicPartition, Sequence[int]], *, most: int, partitions: int, length: int
) -> list[dict[TopicPartition, Sequence[int]]]:
    """Share out the work over at most `most` readers: one more for each `partitions` partitions begun.

    Neighbours stay together. A partition is read in one stream, so that five hundred groups far apart in it
    would wait for each other: the positions of one that has more than `length` of them are shared out too.
    """
    longest = max(map(len, wanted_positions.values()), default=0)
    side_by_side = max(1, min(most, -(-len(wanted_positions) // partitions)))
    count = max(side_by_side, min(most, -(-longest // length)))
    shared: list[dict[TopicPartition, Sequence[int]]] = [{} for _ in range(count)]
    for index, (tp, places) in enumerate(wanted_positions.items()):
        step = max(length, -(-len(places) // count))
        first = index * side_by_side // len(wanted_positions) if len(places) <= step else 0
        for number, start in enumerate(range(0, len(places), step), first):
            shared[number][tp] = places[start : start + step]
    return shared


@attrs.frozen
class _Entry:
    record: FirstRecord
    topic_id: str
    latest: int
    """The end of the partition when it was read."""
    checked: float


@attrs.frozen
class _Penalty:
    position: int
    fault: Fault
    failures: int
    until: float

    @property
    def is_contagious(self) -> bool:
        """Whether others that are read with the partition may get no answer because of it."""
        return self.fault.code in (NOT_ALONE.code, CRASH)

    def lasts(self, now: float) -> bool:
        """Whether its time has not passed, nor the clock been set back since it began."""
        return 0 < self.until - now <= _LONGEST_PENALTY


@attrs.frozen
class Plan:
    """How a cycle comes to its timestamps."""

    known: Mapping[Key, FirstRecord]
    unread: Mapping[Key, Wanted]
    unsure: frozenset[str]
    """Topics whose cleanup policy would tell whether an old answer still holds."""
    waiting: Mapping[Key, Fault]
    """Positions that failed and whose turn to be tried again has not come."""
    suspects: frozenset[TopicPartition]
    """Partitions to be read alone, since they took others' answers, or may have, and brought none since."""


class TimestampCache:
    """What is known of record timestamps, which never change.

    What can change is which record is the first one at or after a committed offset: by retention, which the
    low watermark tells, by compaction, which nothing tells and which `ttl` bounds, and by the topic being
    made anew, which its id tells. So an answer holds as long as the topic's id is the same and its record is
    not below the low watermark; in a topic that is compacted, or may be, for `ttl` seconds. That only
    transaction markers are left holds until the partition grows.

    It holds at most one entry for each key that the last cycle wanted.
    """

    def __init__(self, *, ttl: float, first_penalty: float) -> None:
        self._ttl = ttl
        self._first_penalty = first_penalty
        self._entries: dict[Key, _Entry] = {}
        self._penalties: dict[Key, _Penalty] = {}
        self._suspects: set[TopicPartition] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def plan(
        self,
        keys: Mapping[Key, Wanted],
        *,
        topic_ids: Mapping[str, str],
        policies: Mapping[str, CleanupPolicy],
        now: float,
    ) -> Plan:
        """Tell what is known from what must be read, and forget what nobody wants any more."""
        self._suspects |= {tp for (tp, _), penalty in self._penalties.items() if penalty.is_contagious}
        self._suspects &= {tp for tp, _ in keys}
        self._entries = {key: entry for key, entry in self._entries.items() if key in keys}
        self._penalties = {key: penalty for key, penalty in self._penalties.items() if key in keys}
        known: dict[Key, FirstRecord] = {}
        unread: dict[Key, Wanted] = {}
        waiting: dict[Key, Fault] = {}
        unsure: set[str] = set()
        for key, want in keys.items():
            if want.position >= want.latest:
                known[key] = NOTHING_LEFT
                continue
            topic = key[0].topic
            entry = self._entries.get(key)
            if entry is not None and self._holds(entry, want, topic_ids.get(topic)):
                policy = policies.get(topic)
                # An answer of a time to come is one from before the clock was set back.
                if 0 <= now - entry.checked < self._ttl or (
                    policy is not None and CleanupPolicy.COMPACT not in policy
                ):
                    known[key] = entry.record
                    continue
                if policy is None:
                    unsure.add(topic)
            penalty = self._penalties.get(key)
            # Where retention has moved the position meanwhile, what failed before says nothing.
            if penalty is not None and penalty.position == want.position and penalty.lasts(now):
                waiting[key] = penalty.fault
                if (last := self.last_known(key, want, topic_ids)) is not None:
                    known[key] = last
            else:
                unread[key] = want
        return Plan(known, unread, frozenset(unsure), waiting, frozenset(self._suspects))

    def last_known(self, key: Key, want: Wanted, topic_ids: Mapping[str, str]) -> FirstRecord | None:
        """Give the last answer, however old, for a key that could not be read again."""
        entry = self._entries.get(key)
        if entry is None or not self._holds(entry, want, topic_ids.get(key[0].topic)):
            return None
        return entry.record

    def store(
        self, key: Key, want: Wanted, answer: FirstRecord | Fault, *, topic_id: str | None, now: float
    ) -> None:
        """Take in what reading brought; without a topic id an answer serves for this cycle only."""
        if answer in (NOT_TRIED, LATE) or (isinstance(answer, Fault) and answer.code == NO_PROCESS):
            return
        if isinstance(answer, Fault):
            last = self._penalties.get(key)
            failures = 0 if last is None or last.position != want.position else last.failures
            if answer == NOT_ALONE:
                # Not to blame, but to be read alone in the next cycle.
                self._penalties[key] = _Penalty(want.position, answer, failures, now)
                return
            failures += 1
            delay = min(_LONGEST_PENALTY, self._first_penalty * 2.0 ** min(failures - 1, 1000))
            self._penalties[key] = _Penalty(want.position, answer, failures, now + delay)
            return
        self._penalties.pop(key, None)
        self._suspects.discard(key[0])
        if topic_id is not None:
            self._entries[key] = _Entry(answer, topic_id, want.latest, now)

    @staticmethod
    def _holds(entry: _Entry, want: Wanted, topic_id: str | None) -> bool:
        if entry.topic_id != topic_id:
            return False
        if entry.record.offset is None:
            return entry.latest == want.latest
        return entry.record.offset >= want.position


@attrs.frozen
class _Sample:
    at: float
    latest: int


class RateEstimator:
    """Time lag from the production rate, as klag-exporter's mode "rate" has it: lag / rate.

    The rate is the growth of the high watermark over a short history of cycles; below `floor` records a
    second, or with fewer than two samples, there is no estimate.
    """

    def __init__(self, *, samples: int, max_age: float, floor: float) -> None:
        self._samples = max(2, samples)
        self._max_age = max_age
        self._floor = floor
        self._history: dict[TopicPartition, Sequence[_Sample]] = {}

    def estimate(self, snapshot: ClusterSnapshot) -> dict[Key, FirstRecord]:
        """Take in the snapshot's high watermarks and estimate when each wanted record was written."""
        now = snapshot.now
        # A partition that did not answer keeps its history; one that is gone has none.
        self._history = {tp: self._next(tp, snapshot.latest.get(tp), now) for tp in snapshot.partitions}
        records: dict[Key, FirstRecord] = {}
        for (tp, committed), want in wanted(snapshot, skip_data_loss=False).items():
            rate = self._rate(tp)
            if rate is not None:
                records[tp, committed] = FirstRecord(committed, now - (want.latest - committed) / rate)
        return records

    def _next(self, tp: TopicPartition, latest: int | None, now: float) -> Sequence[_Sample]:
        samples = [sample for sample in self._history.get(tp, ()) if 0 <= now - sample.at <= self._max_age]
        if latest is not None:
            samples.append(_Sample(now, latest))
        return samples[-self._samples :]

    def _rate(self, tp: TopicPartition) -> float | None:
        first, last = self._history[tp][0], self._history[tp][-1]
        seconds, grown = last.at - first.at, last.latest - first.latest
        if seconds <= 0 or grown <= 0 or grown / seconds < self._floor:
            return None
        return grown / seconds
