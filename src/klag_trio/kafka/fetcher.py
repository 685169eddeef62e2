"""Fetches records of many partitions, each into a queue of its own.

confluent_kafka's Consumer has one queue for all of them. Of a fetched batch only the first record is wanted,
and there the others lie in front of the next partition's, unless its partition is let go of at once; but for
every partition that comes or goes librdkafka looks at all that the consumer has had, so that letting go of
them one by one took a third of the time of a read. Here whole chunks come and go, a partition's first record
is taken from its own queue, and keys and values never become Python objects.
"""

from __future__ import annotations

import itertools
import os
import select
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import byref, c_char_p, c_int
from typing import Any

import attrs
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException

from klag_trio.domain.offsets import TopicPartition
from klag_trio.kafka.handle import Handle, error_of
from klag_trio.kafka.text import text

_NUMBER = struct.Struct("i")
_NEWS_AT_ONCE = 4096 * _NUMBER.size
_NO_DESCRIPTOR = -1


@attrs.frozen
class Record:
    """What is to be known of a record."""

    offset: int
    timestamp: float | None
    """Seconds since the epoch; None where it has none."""
    size: int
    """Bytes of its key and value."""


@attrs.frozen
class _Fetched:
    """A partition that is fetched: the number it is announced by, its queue, and where the fetch began."""

    number: int
    queue: int
    start: int


class Fetcher(Handle):
    """A consumer that is given partitions and positions, for one thread at a time; it joins no group."""

    def __init__(self, properties: Mapping[str, str], log: Callable[[str], None]) -> None:
        """Check the properties; nothing is connected yet. `log` gets librdkafka's lines, from who calls us.

        Raises:
            KafkaException: librdkafka refuses one of them, or no descriptor is left.

        """
        self._log = log
        self._fetched: dict[TopicPartition, _Fetched] = {}
        self._by_number: dict[int, TopicPartition] = {}
        self._numbers = itertools.count()
        try:
            # librdkafka writes a partition's number to it when an empty queue gets something.
            self._pipe = os.pipe()
        except OSError as exc:
            reason = f"no descriptor for a reader: {exc.strerror}"
            raise KafkaException(KafkaError(KafkaError._CRIT_SYS_RESOURCE, reason)) from None
        for end in self._pipe:
            os.set_blocking(end, False)
        self._news = select.poll()
        self._news.register(self._pipe[0], select.POLLIN)
        try:
            super().__init__({**properties, "log.queue": "true"})
        except BaseException:
            self._close_pipe()
            raise
        # A queue instead of a callback, which would want the interpreter's lock in librdkafka's threads.
        self._lines = self.lib.rd_kafka_queue_new(self.handle)
        self.lib.rd_kafka_set_log_queue(self.handle, self._lines)

    def find_leaders(self, timeout: float) -> None:
        """Ask for all topics; by itself librdkafka looks once a second for the leaders of those new to it.

        Raises:
            KafkaException: there was no answer within `timeout` seconds.

        """
        try:
            self.ask_for_metadata(timeout, topics=True)
        finally:
            self._hand_out_log()

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Fetch these partitions too, none of which is fetched yet, from these positions on."""
        for tp, start in positions.items():
            queue = self.lib.rd_kafka_queue_get_partition(self.handle, tp.topic.encode(), tp.partition)
            number = next(self._numbers) % 2**31
            self._fetched[tp] = _Fetched(number, queue, start)
            self._by_number[number] = tp
            # To nowhere else: it keeps what is fetched.
            self.lib.rd_kafka_queue_forward(queue, None)
            self.lib.rd_kafka_queue_io_event_enable(queue, self._pipe[1], _NUMBER.pack(number), _NUMBER.size)
        self._tell(self.lib.rd_kafka_incremental_assign, positions)

    def stop(self, partitions: Iterable[TopicPartition]) -> None:
        """Let go of these partitions, all of which are fetched, and of what has come of them."""
        # Each once: librdkafka ends the process when it is told twice to let go of a partition.
        leaving = dict.fromkeys(partitions, 0)
        if not leaving:
            return
        self._tell(self.lib.rd_kafka_incremental_unassign, leaving)
        self._forget(leaving)
        self._hand_out_log()

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        leaving = [self._fetched.pop(tp) for tp in partitions]
        for fetched in leaving:
            del self._by_number[fetched.number]
            self.lib.rd_kafka_queue_io_event_enable(fetched.queue, _NO_DESCRIPTOR, None, 0)
        # A partition keeps its queue, and the queue would keep what nobody takes.
        self.drop(fetched.queue for fetched in leaving)

    def wait(self, timeout: float) -> Sequence[TopicPartition]:
        """Give the partitions of which something has come; none once `timeout` seconds are over."""
        if not self._news.poll(timeout * 1000):
            self._hand_out_log()
            return ()
        numbers = _NUMBER.iter_unpack(os.read(self._pipe[0], _NEWS_AT_ONCE))
        return [self._by_number[number] for (number,) in numbers if number in self._by_number]

    def take(self, tp: TopicPartition) -> Record | KafkaError | None:
        """Give the next that has come of a partition, if something has; the end is an error too."""
        fetched = self._fetched[tp]
        message = self.lib.rd_kafka_consume_queue(fetched.queue, 0)
        if not message:
            return None
        try:
            there = message.contents
            if not there.err:
                return self._record(message)
            if there.err != KafkaError._AUTO_OFFSET_RESET or there.offset >= fetched.start:
                return error_of(there.err, self.lib.rd_kafka_message_errstr(message))
        finally:
            self.lib.rd_kafka_message_destroy(message)
        # The broker's answer to a fetch of an earlier assignment. It ended this one too: librdkafka
        # compares no versions when it resets an offset (rd_kafka_offset_reset).
        self.stop([tp])
        self.start({tp: fetched.start})
        return None

    def _record(self, message: Any) -> Record:
        there = message.contents
        kind = c_int()
        milliseconds = self.lib.rd_kafka_message_timestamp(message, byref(kind))
        known = kind.value != TIMESTAMP_NOT_AVAILABLE and milliseconds >= 0
        timestamp = milliseconds / 1000 if known else None
        return Record(there.offset, timestamp, there.value_size + there.key_size)

    def _tell(self, call: Any, positions: Mapping[TopicPartition, int]) -> None:
        listed = self.lib.rd_kafka_topic_partition_list_new(len(positions))
        try:
            for tp, offset in positions.items():
                added = self.lib.rd_kafka_topic_partition_list_add(listed, tp.topic.encode(), tp.partition)
                added.contents.offset = offset
            error = call(self.handle, listed)
        finally:
            self.lib.rd_kafka_topic_partition_list_destroy(listed)
        if error:
            code, reason = self.lib.rd_kafka_error_code(error), self.lib.rd_kafka_error_string(error)
            self.lib.rd_kafka_error_destroy(error)
            raise KafkaException(error_of(code, reason))

    def _hand_out_log(self) -> None:
        facility, line = c_char_p(), c_char_p()
        while event := self.lib.rd_kafka_queue_poll(self._lines, 0):
            self.lib.rd_kafka_event_log(event, byref(facility), byref(line), byref(c_int()))
            said = f"{text(facility.value)} {text(line.value)}"
            self.lib.rd_kafka_event_destroy(event)
            self._log(said)

    def destroy(self) -> None:
        """End it, and wait for its threads."""
        self._forget(list(self._fetched))
        self._hand_out_log()
        self.lib.rd_kafka_queue_destroy(self._lines)
        super().destroy()
        # Only now: what is opened next may get the same number, and librdkafka would write to it.
        self._close_pipe()

    def _close_pipe(self) -> None:
        for end in self._pipe:
            os.close(end)
