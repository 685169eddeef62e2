"""Fills a broker with a workload, and moves commits; what it wrote is verified before it is believed."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import attrs
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from benchmarks.truth import Place
from benchmarks.workload import Workload

TIMEOUT = 60.0
LED_WITHIN = 240.0
_TOPICS_PER_CALL = 100
_CALLS_IN_FLIGHT = 100
# Index files are preallocated: 10 MB each by default, and there are two for every partition.
_TOPIC_CONFIG = {"segment.index.bytes": "65536", "retention.ms": "-1"}

T = TypeVar("T")


class FillError(RuntimeError):
    """The broker does not hold what the workload says."""


def pipelined(items: Iterable[T], call: Callable[[T], Iterable[Future[Any]]], in_flight: int) -> None:
    """Issue calls with so many in flight; the first failure is raised."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.extend(call(item))
        while len(waiting) >= in_flight:
            waiting.popleft().result(TIMEOUT)
    for future in waiting:
        future.result(TIMEOUT)


@attrs.define
class Filler:
    """One broker and one workload."""

    bootstrap: str
    workload: Workload
    base_ms: int = 0
    _admin: AdminClient = attrs.field(init=False)
    _step: int = 0

    def __attrs_post_init__(self) -> None:
        self._admin = admin_client(self.bootstrap)

    def fill(self, say: Callable[[str], None]) -> None:
        """Topics, records and commits; a broker that holds the workload already is used as it is."""
        started = time.monotonic()
        if self._create_topics():
            self.base_ms = int(time.time() * 1000) - 3_600_000
            say(f"{self.workload.topics} topics created after {time.monotonic() - started:.1f} s")
            self._produce()
            say(f"records produced after {time.monotonic() - started:.1f} s")
        self._verify()
        self.base_ms = self._first_timestamp()
        self.reset()
        say(f"{self.workload.name} filled and verified after {time.monotonic() - started:.1f} s")

    def reset(self) -> None:
        """Every group back to its first commit."""
        self._step = 0
        self._commit(range(self.workload.groups))

    def move(self) -> int:
        """One group in ten commits its next offsets; returns how many distinct offsets are new."""
        self._step += 1
        self._commit(self.workload.moving_groups(self._step))
        return self.workload.moved_offsets(self._step)

    def _create_topics(self) -> bool:
        known = self._admin.list_topics(timeout=TIMEOUT).topics
        names = [self.workload.topic(i) for i in range(self.workload.topics)]
        missing = [name for name in names if name not in known]
        if len(missing) not in (0, len(names)):
            raise FillError(
                f"{len(names) - len(missing)} of {len(names)} topics exist already: take a fresh broker"
            )
        create_topics(self._admin, missing, self.workload.partitions)
        if missing:
            self._wait_until_led()
            self._admin = admin_client(self.bootstrap)
        return bool(missing)

    def _wait_until_led(self) -> None:
        """A created topic is known at once, but its partitions are made one after the other."""
        deadline = time.monotonic() + LED_WITHIN
        waiting = set(self._places())
        while waiting:
            if time.monotonic() > deadline:
                raise FillError(f"{len(waiting)} partitions have no leader after {LED_WITHIN:.0f} s")
            # A client that found a topic unknown once goes on finding it so: librdkafka remembers.
            waiting -= latest_offsets(admin_client(self.bootstrap), sorted(waiting)).keys()
            time.sleep(2.0 if waiting else 0)

    def _places(self) -> list[Place]:
        return [self.workload.place(number) for number in range(self.workload.partition_count)]

    def _produce(self) -> None:
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failed.append(error)

        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "log_level": 2,  # not the retries while a fresh broker loads its coordinators
                # Long enough that a partition's records, produced one after the other, become one batch.
                "linger.ms": 50,
                "queue.buffering.max.messages": 200_000,
            }
        )
        value = b"x" * self.workload.record_bytes
        for number in range(self.workload.partition_count):
            topic, partition = self.workload.place(number)
            for offset in range(self.workload.records):
                stamp = self.workload.timestamp_ms(self.base_ms, number, offset)
                send(producer, topic, value, partition, stamp, delivered)
            producer.poll(0)
        if left := producer.flush(TIMEOUT):
            raise FillError(f"{left} records were not delivered within {TIMEOUT:.0f} s")
        if failed:
            raise FillError(f"{len(failed)} records were not delivered: {failed[0]}")

    def _verify(self) -> None:
        records = self.workload.records
        ends = latest_offsets(self._admin, self._places())
        wrong = [place for place in self._places() if ends.get(place) != records]
        if wrong:
            found = f"{wrong[0]} has {ends.get(wrong[0], 'no leader')}"
            raise FillError(f"{len(wrong)} partitions do not hold {records} records; {found}")

    def _first_timestamp(self) -> int:
        """The base of all timestamps, from the broker: it may have been filled by an earlier run."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "fill", "enable.auto.commit": False}
        )
        try:
            topic, partition = self.workload.place(0)
            consumer.assign([TopicPartition(topic, partition, 0)])
            message = consumer.poll(TIMEOUT)
            if message is None or message.error() is not None:
                raise FillError("the first record cannot be read back")
            return int(message.timestamp()[1])
        finally:
            consumer.close()

    def _commit(self, groups: Iterable[int]) -> None:
        pipelined(groups, self._commit_group, in_flight=_CALLS_IN_FLIGHT)

    def _commit_group(self, group: int) -> Iterable[Future[Any]]:
        workload = self.workload
        offsets = [
            (*workload.place(number), workload.committed(group, number, self._step))
            for number in workload.partitions_of(group)
        ]
        return commit(self._admin, workload.group(group), offsets)


def admin_client(bootstrap: str) -> AdminClient:
    """A client that fails by its futures alone, and says nothing besides."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})


def create_topics(admin: AdminClient, names: Sequence[str], partitions: int) -> None:
    """New topics, many in one call; raises where one of them cannot be created."""

    def create(batch: Sequence[str]) -> Iterable[Future[Any]]:
        topics = [NewTopic(name, partitions, replication_factor=1, config=_TOPIC_CONFIG) for name in batch]
        return admin.create_topics(topics, operation_timeout=TIMEOUT, request_timeout=TIMEOUT).values()

    batches = [names[i : i + _TOPICS_PER_CALL] for i in range(0, len(names), _TOPICS_PER_CALL)]
    pipelined(batches, create, in_flight=2 * _TOPICS_PER_CALL)


def send(
    producer: Producer,
    topic: str,
    value: bytes,
    partition: int,
    timestamp_ms: int,
    delivered: Callable[[KafkaError | None, Any], None],
) -> None:
    """Produce, and wait for room where the queue is full, at most TIMEOUT."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            producer.produce(topic, value, partition=partition, timestamp=timestamp_ms, on_delivery=delivered)
        except BufferError:
            if time.monotonic() > deadline:
                raise FillError(f"the broker took no record for {TIMEOUT:.0f} s") from None
            producer.poll(0.1)
        else:
            return


def commit(admin: AdminClient, group: str, offsets: Iterable[tuple[str, int, int]]) -> Iterable[Future[Any]]:
    """Set committed offsets of a group without members; the result fails where one partition does."""
    request = ConsumerGroupTopicPartitions(group, [TopicPartition(t, p, o) for t, p, o in offsets])
    return admin.alter_consumer_group_offsets([request], request_timeout=TIMEOUT).values()


def latest_offsets(admin: AdminClient, places: Iterable[Place]) -> dict[Place, int]:
    """The end of each partition; one that cannot tell is not in it."""
    specification: Any = OffsetSpec
    request = {TopicPartition(topic, partition): specification.latest() for topic, partition in places}
    ends: dict[Place, int] = {}
    for tp, future in admin.list_offsets(request, request_timeout=TIMEOUT).items():
        with contextlib.suppress(KafkaException):
            ends[tp.topic, tp.partition] = future.result(TIMEOUT).offset
    return ends
