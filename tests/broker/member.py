"""A consumer that is really in a group."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.broker.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Offsets = dict[tuple[str, int], int]


class Member:
    """A consumer in a group that polls in the background and commits only when told to.

    `member_id` and `assignment` are as of the last poll. confluent-kafka makes calls from other threads wait
    while a poll goes on, for ever if the next poll follows at once: the thread that polls does everything.
    """

    def __init__(self, properties: Mapping[str, str | int | bool], topics: Sequence[str]) -> None:
        self.member_id = ""
        self.assignment: frozenset[tuple[str, int]] = frozenset()
        self._properties = dict(properties)
        self._topics = list(topics)
        self._commits: queue.SimpleQueue[tuple[Offsets, Future[None]]] = queue.SimpleQueue()
        self._leaving = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit as this member; the partitions must be its own."""
        done: Future[None] = Future()
        self._commits.put((dict(offsets), done))
        done.result(SECONDS)

    def wait_until_assigned(self, seconds: float = SECONDS) -> None:
        """Wait for the first partitions."""
        wait_until(lambda: self._failure or (self.assignment and self.member_id), "an assignment", seconds)
        if self._failure is not None:
            raise self._failure

    def leave(self) -> None:
        self._leaving.set()
        self._thread.join()

    def _run(self) -> None:
        consumer = Consumer(self._properties)
        try:
            consumer.subscribe(self._topics)
            while not self._leaving.is_set():
                consumer.poll(0.1)
                self.assignment = frozenset((own.topic, own.partition) for own in consumer.assignment())
                if self.assignment and not self.member_id:
                    self.member_id = consumer.memberid()
                self._commit_what_is_asked(consumer)
        except KafkaException as exc:
            self._failure = exc
        finally:
            consumer.close()

    def _commit_what_is_asked(self, consumer: Consumer) -> None:
        while not self._commits.empty():
            offsets, done = self._commits.get()
            wanted = [
                TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()
            ]
            try:
                for committed in consumer.commit(offsets=wanted, asynchronous=False) or []:
                    if committed.error is not None:
                        raise KafkaException(committed.error)
            except KafkaException as exc:
                done.set_exception(exc)
            else:
                done.set_result(None)
