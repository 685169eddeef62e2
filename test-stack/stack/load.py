"""Producers and consumer groups that show what lag looks like: each group has its own way to fall behind."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Self

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GROUPS = {
    "orders-billing": "keeps up",
    "orders-search": "falls behind",
    "orders-reports": "rests, then catches up, again and again",
    "orders-export": "stopped, its lag grows",
    "clicks-report": "stopped, retention took what it had not read",
    "profiles-backup": "stopped, on a compacted topic",
    "payments-fraud": "keeps up, by the KIP-848 protocol",
}
TOPICS = [
    NewTopic("orders", 3),
    NewTopic("payments", 2),
    NewTopic("clicks", 1, config={"retention.ms": "4000", "segment.ms": "1000"}),
    NewTopic(
        "profiles",
        1,
        config={"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "1000"},
    ),
]
# Records a second; orders-search reads this much of 60.
RATES = {"orders": 60, "payments": 20, "clicks": 20, "profiles": 20}
TICKS = 10
SLOW_RATE = 15
# orders-reports reads so fast for so long, then rests; it has caught up before the next rest.
BATCH_RATE, WORK_SECONDS, REST_SECONDS = 180, 40.0, 40.0
COMMIT_SECONDS = 0.1
SECONDS = 30.0
STOPPED_AT = {
    "orders-export": {("orders", 0): 10, ("orders", 1): 10, ("orders", 2): 10},
    "clicks-report": {("clicks", 0): 5},
    "profiles-backup": {("profiles", 0): 1},
}


class Load:
    """Runs against one cluster as long as its `with` block; when that begins every group has its offsets.

    `failure` is what ended one of its threads before its time.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self.failure: Exception | None = None
        self._common: dict[str, str | int | float | bool] = {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 3,
        }
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        admin = AdminClient(self._common)
        for created in admin.create_topics(TOPICS).values():
            try:
                created.result(SECONDS)
            except KafkaException as exc:
                # They are there from an earlier run.
                if exc.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        self._write_first_records()
        for group, offsets in STOPPED_AT.items():
            _commit(admin, group, offsets)
        try:
            self._run(self._produce)
            consuming = [
                self._consume("orders-billing", "orders"),
                self._consume("orders-search", "orders", pause=1 / SLOW_RATE),
                self._consume("orders-reports", "orders", pause=1 / BATCH_RATE, rests=True),
                self._consume("payments-fraud", "payments", protocol="consumer"),
            ]
            for committed in consuming:
                while not committed.wait(0.1):
                    if self.failure is not None:
                        raise self.failure
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as exc:
                self.failure = exc

        thread = threading.Thread(target=guarded)
        self._threads.append(thread)
        thread.start()

    def _write_first_records(self) -> None:
        producer = Producer(self._common)
        for topic, partition in itertools.chain(*STOPPED_AT.values()):
            for i in range(50):
                producer.produce(topic, b"first", key=b"%d" % (i % 10), partition=partition)
        if producer.flush(SECONDS):
            raise TimeoutError("the first records were not delivered")

    def _produce(self) -> None:
        producer = Producer({**self._common, "linger.ms": 50})
        for tick in itertools.count():
            for topic, rate in RATES.items():
                for i in range(rate // TICKS):
                    producer.produce(topic, b"%d" % tick, key=b"%d" % ((tick + i) % 10))
            producer.poll(0)
            if self._stopping.wait(1 / TICKS):
                break
        producer.flush(SECONDS)

    def _consume(
        self,
        group: str,
        topic: str,
        *,
        protocol: str = "classic",
        pause: float = 0.0,
        rests: bool = False,
    ) -> threading.Event:
        """Read on in a thread of its own; the event is set at the group's first commit."""
        committed = threading.Event()
        properties = {
            **self._common,
            "group.id": group,
            "client.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }

        def work() -> None:
            consumer = Consumer(properties)
            try:
                consumer.subscribe([topic])
                read = False
                last = 0.0
                work_until = time.monotonic() + WORK_SECONDS if rests else float("inf")
                while not self._stopping.is_set():
                    if time.monotonic() > work_until:
                        self._stopping.wait(REST_SECONDS)
                        work_until = time.monotonic() + WORK_SECONDS
                    message = consumer.poll(COMMIT_SECONDS)
                    if message is not None:
                        if (error := message.error()) is not None:
                            raise KafkaException(error)
                        read = True
                        self._stopping.wait(pause)
                    if read and time.monotonic() - last >= COMMIT_SECONDS:
                        consumer.commit(asynchronous=False)
                        committed.set()
                        read = False
                        last = time.monotonic()
            finally:
                consumer.close()

        self._run(work)
        return committed


def _commit(admin: AdminClient, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
    wanted = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
    deadline = time.monotonic() + SECONDS
    while True:
        request = ConsumerGroupTopicPartitions(group, wanted)
        try:
            answer = admin.alter_consumer_group_offsets([request], request_timeout=SECONDS)[group].result()
        except KafkaException as exc:
            # A coordinator that has only just been found may still be loading its groups.
            if exc.args[0].code() != KafkaError.COORDINATOR_LOAD_IN_PROGRESS or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        for done in answer.topic_partitions:
            if done.error is not None:
                raise KafkaException(done.error)
        return
