"""What groups' coordinators are asked: members and committed offsets, over a handle that outlives a broker.

An AdminClient has calls for both, but librdkafka (up to 2.16 at least) ends the process in two of them:

- Where a broker says that it no longer coordinates the group, as each does while it is restarted, a
  segmentation fault: the consumer group of the handle is looked for, and an AdminClient has none (issue 5040
  of librdkafka). So the handle here is a consumer's.
- Where a request has timed out while its coordinator was away and the coordinator comes back, an assertion,
  on memory that was freed with the request (pull request 5397). So nothing here times out inside librdkafka:
  we stop waiting ourselves, and a handle that owes an answer is replaced, which also forgets a coordinator
  that is gone for good.

Python's Consumer offers neither call, so both are made through librdkafka's public C interface, in the
library that confluent_kafka has loaded.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ctypes import CDLL, byref, c_char_p, c_size_t, c_void_p
from math import ceil
from time import monotonic
from typing import Generic, TypeVar

import attrs
from confluent_kafka import KafkaError

from klag_trio.domain.offsets import TopicPartition
from klag_trio.kafka.handle import Handle, error_of
from klag_trio.kafka.text import text
from klag_trio.kafka.turns import Turns

T = TypeVar("T")

# The longest that librdkafka takes, in milliseconds; longer than any handle with a late answer lives.
_NEVER = 3_600_000
# The part of a group's time after which a coordinator that has not answered may be one that librdkafka looks
# for in vain. On a slow network an answer takes a while, and a new connection several times that.
_HELD_UP = 0.5
# How long one handle's answer is waited for before the other's.
_ALTERNATE_SECONDS = 0.02


@attrs.frozen
class Question(Generic[T]):
    """What can be asked about a group."""

    operation: int
    """librdkafka's rd_kafka_admin_op_t."""
    send: Callable[[CDLL, int, bytes, int, int], None]
    """Takes the library, the handle, the group, the options and the queue for the answer."""
    read: Callable[[CDLL, int], T | KafkaError]
    """Takes the library and the event."""


class Asking(Generic[T]):
    """Questions that are under way and their answers as they come; for one thread."""

    def __init__(self, coordinators: Coordinators, question: Question[T], queue: int) -> None:
        self._coordinators = coordinators
        self._lib = coordinators.lib
        self._question = question
        self._queue = queue
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[str, float]] = {}

    def send(self, group: str, timeout: float) -> None:
        """Ask about a group; an answer comes within `timeout` seconds, if only that time is up.

        No time may be up earlier than that of the question before.
        """
        lib, number = self._lib, next(self._numbers)
        options = lib.rd_kafka_AdminOptions_new(self._coordinators.handle, self._question.operation)
        try:
            lib.rd_kafka_AdminOptions_set_request_timeout(options, _NEVER, None, 0)
            lib.rd_kafka_AdminOptions_set_opaque(options, number)
            self._question.send(lib, self._coordinators.handle, group.encode(), options, self._queue)
        finally:
            lib.rd_kafka_AdminOptions_destroy(options)
        self._waiting[number] = group, monotonic() + timeout

    def receive(self, patience: float) -> tuple[str, T | KafkaError] | None:
        """Wait for the next answer; None where none came for `patience` seconds. One must be under way."""
        impatient = monotonic() + patience
        while True:
            number, (group, deadline) = next(iter(self._waiting.items()))
            left = min(deadline, impatient) - monotonic()
            event = self._lib.rd_kafka_queue_poll(self._queue, ceil(max(0.0, left) * 1000))
            if event:
                try:
                    answered = self._waiting.pop(self._lib.rd_kafka_event_opaque(event), None)
                    # None is for one that came after its time was up.
                    if answered is not None:
                        answer = self._answer(event)
                        self._coordinators.spent |= _is_lost(answer)
                        return answered[0], answer
                finally:
                    self._lib.rd_kafka_event_destroy(event)
            elif monotonic() >= deadline:
                self._coordinators.spent = True
                del self._waiting[number]
                return group, KafkaError(KafkaError._TIMED_OUT, "the group's coordinator did not answer")
            elif monotonic() >= impatient:
                return None

    @property
    def owed(self) -> int:
        """How many answers are still to come."""
        return len(self._waiting)

    def _answer(self, event: int) -> T | KafkaError:
        if code := self._lib.rd_kafka_event_error(event):
            return error_of(code, self._lib.rd_kafka_event_error_string(event))
        return self._question.read(self._lib, event)


class Coordinators(Handle):
    """A handle for asking coordinators."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        """Check the properties, as every handle does; the group.id names no group that exists."""
        super().__init__({**properties, "group.id": f"klag-trio-{uuid.uuid4()}"})
        self.spent = False
        """Whether another one is to take its place.

        An answer did not come in time, and may come later, or never; or a broker is taken for a coordinator
        that it is no more, and librdkafka goes on asking it.
        """
        self.used = False
        """Whether groups have been asked about over it."""

    @contextmanager
    def asking(self, question: Question[T]) -> Iterator[Asking[T]]:
        """Ask within this block; what has not been answered at its end is dropped."""
        queue = self.lib.rd_kafka_queue_new(self.handle)
        asking = Asking(self, question, queue)
        try:
            yield asking
        finally:
            self.spent |= asking.owed > 0
            self.lib.rd_kafka_queue_destroy(queue)


def ask_each(
    coordinators: Coordinators,
    another: Callable[[], Coordinators | None],
    question: Question[T],
    turns: Turns,
    came: Callable[[str, T | KafkaError], None],
    *,
    timeout: float,
    deadline: float,
    abandoned: Callable[[], bool] = lambda: False,
) -> None:
    """Ask about groups in their turn, and wait at most `timeout` seconds for the answer about each.

    librdkafka looks for a coordinator at the broker that it used last. Where that hangs, groups of any
    coordinator have no answer; but it has not been used yet by a handle that is new. So where one is silent
    for half of the time, those without an answer are asked about over `another` handle too, with as much time
    again, and whichever answers first counts: on a slow network, that is the one with connections.

    `deadline` is on `time.monotonic`'s clock; after it nothing more is asked.
    """
    left = set(turns.left())
    may_be_held_up, coordinators.used = coordinators.used, True
    with ExitStack() as ending:
        askings = [ending.enter_context(coordinators.asking(question))]
        while left and not abandoned():
            now = monotonic()
            if may_be_held_up and turns.is_held_up(now, timeout * _HELD_UP):
                may_be_held_up = False
                if (fresh := another()) is not None:
                    askings.append(ending.enter_context(fresh.asking(question)))
                    turns = turns.again()
            if now < deadline:
                for group in turns.take(now):
                    askings[-1].send(group, max(0.001, min(timeout, deadline - monotonic())))
            if not askings[-1].owed:
                break
            for group, answer, is_final in _next_answers(askings, turns.patience):
                settled = [group]
                if not _is_timeout(answer):
                    turns.answered(group, monotonic())
                elif is_final:
                    settled += turns.timed_out(group)
                else:
                    continue
                for each in left.intersection(settled):
                    came(each, answer)
                left.difference_update(settled)


def _next_answers(
    askings: Sequence[Asking[T]], patience: float
) -> Iterator[tuple[str, T | KafkaError, bool]]:
    """Wait for the next answer of the last one; those of the one before it that are there come first.

    False where another answer about the group is to come yet, should this one be a timeout.
    """
    *before, last = askings
    for asking in before:
        while asking.owed and (answered := asking.receive(0.0)):
            yield *answered, False
    if answered := last.receive(min(patience, _ALTERNATE_SECONDS) if before else patience):
        yield *answered, True


def _is_timeout(answer: object) -> bool:
    return isinstance(answer, KafkaError) and answer.code() == KafkaError._TIMED_OUT


def _is_lost(answer: object) -> bool:
    return isinstance(answer, KafkaError) and answer.code() == KafkaError.NOT_COORDINATOR


Offsets = dict[TopicPartition, "int | KafkaError"]
"""Committed offsets; a negative one is none."""


def _send_offsets(lib: CDLL, handle: int, group: bytes, options: int, queue: int) -> None:
    request = lib.rd_kafka_ListConsumerGroupOffsets_new(group, None)
    lib.rd_kafka_ListConsumerGroupOffsets(handle, (c_void_p * 1)(request), 1, options, queue)
    lib.rd_kafka_ListConsumerGroupOffsets_destroy(request)


def _read_offsets(lib: CDLL, event: int) -> Offsets | KafkaError:
    result = lib.rd_kafka_event_ListConsumerGroupOffsets_result(event)
    group = lib.rd_kafka_ListConsumerGroupOffsets_result_groups(result, byref(c_size_t()))[0]
    if error := lib.rd_kafka_group_result_error(group):
        return error_of(lib.rd_kafka_error_code(error), lib.rd_kafka_error_string(error))
    listed = lib.rd_kafka_group_result_partitions(group).contents
    return {
        TopicPartition(text(found.topic), found.partition): KafkaError(found.err)
        if found.err
        else found.offset
        for found in listed.elems[: listed.cnt]
    }


@attrs.frozen
class DescribedMember:
    """A member of a group and the partitions that it owns."""

    consumer_id: str
    client_id: str
    host: str
    assignment: list[TopicPartition]


@attrs.frozen
class Described:
    """A group's state, as an `rd_kafka_consumer_group_state_t`, and its members."""

    state: int
    members: list[DescribedMember]


def _send_description(lib: CDLL, handle: int, group: bytes, options: int, queue: int) -> None:
    lib.rd_kafka_DescribeConsumerGroups(handle, (c_char_p * 1)(group), 1, options, queue)


def _read_description(lib: CDLL, event: int) -> Described | KafkaError:
    result = lib.rd_kafka_event_DescribeConsumerGroups_result(event)
    group = lib.rd_kafka_DescribeConsumerGroups_result_groups(result, byref(c_size_t()))[0]
    error = lib.rd_kafka_ConsumerGroupDescription_error(group)
    if error and (code := lib.rd_kafka_error_code(error)):
        return error_of(code, lib.rd_kafka_error_string(error))
    count = lib.rd_kafka_ConsumerGroupDescription_member_count(group)
    members = (lib.rd_kafka_ConsumerGroupDescription_member(group, index) for index in range(count))
    return Described(
        lib.rd_kafka_ConsumerGroupDescription_state(group), [_read_member(lib, member) for member in members]
    )


def _read_member(lib: CDLL, member: int) -> DescribedMember:
    assignment = lib.rd_kafka_MemberDescription_assignment(member)
    owned = lib.rd_kafka_MemberAssignment_partitions(assignment).contents
    return DescribedMember(
        consumer_id=text(lib.rd_kafka_MemberDescription_consumer_id(member)),
        client_id=text(lib.rd_kafka_MemberDescription_client_id(member)),
        host=text(lib.rd_kafka_MemberDescription_host(member)),
        assignment=[TopicPartition(text(tp.topic), tp.partition) for tp in owned.elems[: owned.cnt]],
    )


OFFSETS = Question(14, _send_offsets, _read_offsets)
DESCRIPTION = Question(13, _send_description, _read_description)
