"""Producers at known rates and consumers that stay known times behind, all in one thread."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import attrs
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient

from benchmarks.fill import TIMEOUT, FillError, admin_client, commit, create_topics, send
from benchmarks.truth import Commit, PartitionTruth, Place, Truth
from benchmarks.workload import Workload

RATES = (0.5, 2.0, 10.0, 50.0)  # records a second in each partition, by topic
DELAYS = (0.0, 1.0, 5.0, 30.0, 90.0)  # seconds that a group stays behind, by group
_TICK = 0.02
_COMMIT_EVERY = 1.0
_VALUE = b"x" * 100


def live_workload() -> Workload:
    """The topics and groups of one run, under names of their own; `records` has no meaning here."""
    name = f"live{int(time.time())}"
    return Workload(name, topics=20, partitions=5, records=1, groups=10, group_partitions=10)


@attrs.define
class LiveTraffic:
    """Runs while entered; `truth` tells what it did so far."""

    bootstrap: str
    workload: Workload
    truth: Truth = attrs.field(factory=Truth)
    _failure: Exception | None = None
    _stop: threading.Event = attrs.field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        admin = admin_client(self.bootstrap)
        names = [self.workload.topic(i) for i in range(self.workload.topics)]
        create_topics(admin, names, self.workload.partitions)
        self._thread = threading.Thread(target=self._run, args=(admin,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=TIMEOUT)

    def check(self) -> None:
        """Raise FillError where the traffic has stopped by itself."""
        if self._failure is not None:
            raise FillError(f"the live traffic stopped: {self._failure}") from self._failure

    def _run(self, admin: AdminClient) -> None:
        try:
            self._loop(admin)
        except Exception as exc:
            self._failure = exc

    def _loop(self, admin: AdminClient) -> None:
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 2}
        )
        places = [self.workload.place(number) for number in range(self.workload.partition_count)]
        for place in places:
            self.truth.partitions[place] = PartitionTruth()
        due = dict.fromkeys(places, time.time())
        next_commit = time.time() + _COMMIT_EVERY
        while not self._stop.wait(_TICK):
            now = time.time()
            for number, place in enumerate(places):
                rate = RATES[number // self.workload.partitions % len(RATES)]
                while due[place] <= now:
                    self._produce(producer, place, round(due[place] * 1000))
                    due[place] += 1 / rate
            producer.poll(0)
            if now >= next_commit:
                next_commit += _COMMIT_EVERY
                self._commit_all(admin, now)
        producer.flush(TIMEOUT)

    def _produce(self, producer: Producer, place: Place, stamp_ms: int) -> None:
        partition = self.truth.partitions[place]

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                raise FillError(f"a record was not delivered: {error}")
            partition.delivered.append(time.time())

        partition.stamps.append(stamp_ms / 1000)
        send(producer, place[0], _VALUE, place[1], stamp_ms, delivered)

    def _commit_all(self, admin: AdminClient, now: float) -> None:
        sent = time.time()
        wanted: dict[str, dict[Place, int]] = {}
        for group in range(self.workload.groups):
            places = map(self.workload.place, self.workload.partitions_of(group))
            delay = DELAYS[group % len(DELAYS)]
            wanted[self.workload.group(group)] = {
                place: self.truth.partitions[place].behind(now, delay) for place in places
            }
        answers: list[Future[Any]] = []
        for name, offsets in wanted.items():
            answers.extend(commit(admin, name, [(*place, offset) for place, offset in offsets.items()]))
        for answer in answers:
            answer.result(TIMEOUT)
        acknowledged = time.time()
        for name, offsets in wanted.items():
            for place, offset in offsets.items():
                self.truth.commits.setdefault((name, place), []).append(Commit(sent, acknowledged, offset))
