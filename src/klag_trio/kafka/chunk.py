"""Partitions that are fetched together: what comes in, which positions it answers, and where to go on."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import attrs
from confluent_kafka import KafkaError

from klag_trio.domain.lag import NOTHING_LEFT, FirstRecord
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import TIMED_OUT, Key, Reading
from klag_trio.kafka.faults import fault_of
from klag_trio.kafka.fetcher import Fetcher, Record

_EOF = KafkaError._PARTITION_EOF
_BAD_BATCH = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION})
_POLL_SECONDS = 0.02
# A next wanted offset this close is waited for in the stream; a farther one is jumped to.
_NEAR = 50
_STALL_SECONDS = 0.3
# Answers come fast enough while a tenth of what is open is answered in that time. With a fiftieth, topics of
# large batches among small ones were found out late or never: 3,000 partitions took 3.9 to 7.4 s, and with a
# tenth 2.1 to 3.8 s.
_PROGRESS = 10


@attrs.define
class Progress:
    """What one read has come to since `came` was given the last of it."""

    came: Callable[[Reading], None]
    records: dict[Key, FirstRecord] = attrs.field(factory=dict)
    faults: dict[Key, Fault] = attrs.field(factory=dict)
    count: int = 0
    bytes: int = 0

    def hand_over(self) -> None:
        """Give it away, and begin anew."""
        self.came(Reading(self.records, self.faults, self.count, self.bytes))
        self.records, self.faults, self.count, self.bytes = {}, {}, 0, 0

    @property
    def answers(self) -> int:
        """Positions that are settled, one way or the other."""
        return len(self.records) + len(self.faults)


class Chunk:
    """Partitions that are fetched together, each with the positions it still owes, ascending.

    A partition that has answered is taken out of `owed`.
    """

    def __init__(self, fetcher: Fetcher, owed: dict[TopicPartition, list[int]], progress: Progress) -> None:
        self._fetcher = fetcher
        self._owed = owed
        self._progress = progress
        self._start = {tp: places[0] for tp, places in owed.items()}
        self._done: set[TopicPartition] = set()
        """Those that have answered and are still fetched."""

    def read(self, deadline: float, *, may_stall: bool, patience: float) -> None:
        """Read until all is answered, the deadline passes, or answers stop coming while `may_stall`.

        After `patience` seconds without any answer, a partition goes on to its next position, if it has one:
        librdkafka says nothing of a batch whose records make no sense, and fetches it over and over.
        """
        self._fetcher.start(self._start)
        answered_at: float | None = None
        open_before = len(self._owed)
        answers, heard_at = self._progress.answers, monotonic()
        while self._owed and (now := monotonic()) < deadline:
            self._take_what_came(min(_POLL_SECONDS, deadline - now))
            if len(self._owed) < open_before - open_before // _PROGRESS:
                open_before, answered_at = len(self._owed), monotonic()
            elif may_stall and answered_at is not None and monotonic() - answered_at > _STALL_SECONDS:
                break
            if answers != self._progress.answers:
                answers, heard_at = self._progress.answers, now
            elif now - heard_at > patience:
                self._pass_over_silence()
                heard_at = now
        self._fetcher.stop(self._owed.keys() | self._done)

    def _take_what_came(self, timeout: float) -> None:
        news = self._fetcher.wait(timeout)
        if not news:
            # Nobody waits for these any more, and what they still fetch would be for nothing.
            self._fetcher.stop(self._done)
            self._done.clear()
        # What librdkafka announces is what comes to an empty queue: what came just before that is found so.
        for tp in news or list(self._owed):
            if tp in self._owed:
                self._take(tp)

    def _take(self, tp: TopicPartition) -> None:
        owed = self._owed[tp]
        while owed and (came := self._fetcher.take(tp)) is not None:
            if isinstance(came, Record):
                self._progress.count += 1
                self._progress.bytes += came.size
                self._answer(tp, owed, came)
                if owed and owed[0] - came.offset > _NEAR:
                    self._jump(tp)
                    return
            elif came.code() in _BAD_BATCH:
                self._skip(tp, owed, came)
                if owed:
                    # What follows is the first record after the batch, which answers no position in it.
                    self._jump(tp)
                    return
            else:
                self._settle(tp, owed, came)
        if not owed:
            del self._owed[tp]
            self._done.add(tp)

    def _jump(self, tp: TopicPartition) -> None:
        """Go on at the next position that is owed."""
        self._start[tp] = self._owed[tp][0]
        self._fetcher.stop([tp])
        self._fetcher.start({tp: self._start[tp]})

    def _answer(self, tp: TopicPartition, owed: list[int], came: Record) -> None:
        """Answer the positions that this record is the first one for."""
        record = FirstRecord(came.offset, came.timestamp)
        while owed and owed[0] <= came.offset:
            self._progress.records[tp, owed.pop(0)] = record

    def _skip(self, tp: TopicPartition, owed: list[int], error: KafkaError) -> None:
        """Give up the position that was jumped to; one that was waited for may lie behind the bad batch."""
        if owed[0] == self._start[tp]:
            self._progress.faults[tp, owed.pop(0)] = fault_of(error)

    def _pass_over_silence(self) -> None:
        for tp in [tp for tp, owed in self._owed.items() if len(owed) > 1]:
            self._progress.faults[tp, self._owed[tp].pop(0)] = TIMED_OUT
            self._jump(tp)

    def _settle(self, tp: TopicPartition, owed: list[int], error: KafkaError) -> None:
        """Answer all positions with the end of the partition, or with the fault."""
        if error.code() == _EOF:
            self._progress.records.update(((tp, position), NOTHING_LEFT) for position in owed)
        else:
            fault = fault_of(error)
            self._progress.faults.update(((tp, position), fault) for position in owed)
        owed.clear()
