"""Partitions that are fetched together: what comes in, which positions it answers, and where to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from time import monotonic

import attrs
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from klag_trio.domain.lag import NOTHING_LEFT, FirstRecord
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import Key

TIMED_OUT = Fault("_TIMED_OUT", "no record came in time", retriable=True)

_EOF = KafkaError._PARTITION_EOF
_BAD_BATCH = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION})
# Records handed over at once: of a fetched partition only the first is wanted, and more than a few would be
# turned into Python objects for nothing before the partition is let go.
_MESSAGES_PER_POLL = 10
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
    """What one read has come to."""

    describe: Callable[[KafkaError], Fault]
    records: dict[Key, FirstRecord] = attrs.field(factory=dict)
    faults: dict[Key, Fault] = attrs.field(factory=dict)
    count: int = 0
    bytes: int = 0

    @property
    def answers(self) -> int:
        """Positions that are settled, one way or the other."""
        return len(self.records) + len(self.faults)


class Chunk:
    """Partitions that are fetched together, each with the positions it still owes, ascending.

    A partition that has answered is taken out of `owed`.
    """

    def __init__(self, consumer: Consumer, owed: dict[TopicPartition, list[int]], progress: Progress) -> None:
        self._consumer = consumer
        self._owed = owed
        self._progress = progress
        self._start = {tp: places[0] for tp, places in owed.items()}

    def read(
        self, deadline: float, abandoned: Callable[[], bool], *, may_stall: bool, patience: float
    ) -> None:
        """Read until all is answered, the deadline passes, or answers stop coming while `may_stall`.

        After `patience` seconds without any answer, a partition goes on to its next position, if it has one:
        librdkafka says nothing of a batch whose records make no sense, and fetches it over and over.
        """
        self._consumer.incremental_assign([_at(tp, start) for tp, start in self._start.items()])
        answered_at: float | None = None
        open_before = len(self._owed)
        answers, heard_at = self._progress.answers, monotonic()
        while self._owed and not abandoned() and (now := monotonic()) < deadline:
            self._take(self._consumer.consume(_MESSAGES_PER_POLL, min(_POLL_SECONDS, deadline - now)))
            if len(self._owed) < open_before - open_before // _PROGRESS:
                open_before, answered_at = len(self._owed), monotonic()
            elif may_stall and answered_at is not None and monotonic() - answered_at > _STALL_SECONDS:
                break
            if answers != self._progress.answers:
                answers, heard_at = self._progress.answers, now
            elif now - heard_at > patience:
                self._pass_over_silence()
                heard_at = now
        if self._owed:
            self._consumer.incremental_unassign([_at(tp, 0) for tp in self._owed])

    def _take(self, messages: Sequence[Message]) -> None:
        leaving: set[TopicPartition] = set()
        broken: set[TopicPartition] = set()
        for message in messages:
            topic, partition, error = message.topic(), message.partition(), message.error()
            if topic is None or partition is None:
                continue  # about the client, not about a partition; the partitions say it themselves
            tp = TopicPartition(topic, partition)
            owed = self._owed.get(tp)
            if error is None:
                self._progress.count += 1
                self._progress.bytes += len(message) + len(message.key() or b"")
            if not owed or tp in broken:
                continue
            if error is None:
                self._answer(tp, owed, message)
            elif error.code() in _BAD_BATCH:
                self._skip(tp, owed, error)
                # What follows is the first record after the batch, which answers no position in it.
                broken.add(tp)
            else:
                self._settle(tp, owed, error)
            if not owed or tp in broken or owed[0] - (message.offset() or 0) > _NEAR:
                leaving.add(tp)
            else:
                leaving.discard(tp)
        if leaving:
            self._leave(leaving)

    def _leave(self, leaving: Set[TopicPartition]) -> None:
        """Let go of partitions that have answered, and jump to the next position of the others."""
        # Each once: librdkafka ends the process when it is told twice to let go of a partition.
        self._consumer.incremental_unassign([_at(tp, 0) for tp in leaving])
        for tp in leaving:
            if owed := self._owed[tp]:
                self._start[tp] = owed[0]
            else:
                del self._owed[tp]
        if moved := leaving & self._owed.keys():
            self._consumer.incremental_assign([_at(tp, self._start[tp]) for tp in moved])

    def _answer(self, tp: TopicPartition, owed: list[int], message: Message) -> None:
        """Answer the positions that this record is the first one for."""
        offset = message.offset() or 0
        kind, milliseconds = message.timestamp()
        known = kind != TIMESTAMP_NOT_AVAILABLE and milliseconds >= 0
        record = FirstRecord(offset, milliseconds / 1000 if known else None)
        while owed and owed[0] <= offset:
            self._progress.records[tp, owed.pop(0)] = record

    def _skip(self, tp: TopicPartition, owed: list[int], error: KafkaError) -> None:
        """Give up the position that was jumped to; one that was waited for may lie behind the bad batch."""
        if owed[0] == self._start[tp]:
            self._progress.faults[tp, owed.pop(0)] = self._progress.describe(error)

    def _pass_over_silence(self) -> None:
        silent = {tp for tp, owed in self._owed.items() if len(owed) > 1}
        for tp in silent:
            self._progress.faults[tp, self._owed[tp].pop(0)] = TIMED_OUT
        if silent:
            self._leave(silent)

    def _settle(self, tp: TopicPartition, owed: list[int], error: KafkaError) -> None:
        """Answer all positions with the end of the partition, or with the fault."""
        if error.code() == _EOF:
            self._progress.records.update(((tp, position), NOTHING_LEFT) for position in owed)
        else:
            fault = self._progress.describe(error)
            self._progress.faults.update(((tp, position), fault) for position in owed)
        owed.clear()


def _at(tp: TopicPartition, offset: int) -> KafkaTopicPartition:
    return KafkaTopicPartition(tp.topic, tp.partition, offset)
