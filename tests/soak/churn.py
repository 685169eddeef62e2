"""Topics and groups that come and go on a cluster, as fast as a soak asks for."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Self

import attrs
from tests.broker.driver import KafkaDriver

if TYPE_CHECKING:
    from collections.abc import Callable

PARTITIONS = 3
RECORDS = 2
COMMITTED = 1
LAG_OF_A_GROUP = PARTITIONS * (RECORDS - COMMITTED)


@attrs.frozen
class Pair:
    """A topic and the group that reads it."""

    topic: str
    group: str


@attrs.define
class Churn:
    """Makes a pair and deletes the oldest one, again and again, in a thread of its own.

    `alive` pairs exist at any time; a step is begun at most every `pause` seconds.
    """

    bootstrap: str
    alive: int
    pause: float
    made: int = 0
    failure: BaseException | None = None
    _pairs: deque[Pair] = attrs.field(factory=deque)
    _stopping: threading.Event = attrs.field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        with KafkaDriver(self.bootstrap) as driver:
            for number in range(self.alive):
                self._make(driver, number)
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin, or go on after a stop."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._guarded(self._churn))
        self._thread.start()

    def stop(self) -> list[Pair]:
        """End with the step that runs; returns the pairs that are left."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        return list(self._pairs)

    def check(self) -> None:
        """Raise what ended the churning before its time."""
        if self.failure is not None:
            raise self.failure

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as exc:  # told by check()
                self.failure = exc

        return run

    def _churn(self) -> None:
        with KafkaDriver(self.bootstrap) as driver:
            for number in itertools.count(self.made):
                self._make(driver, number)
                oldest = self._pairs.popleft()
                driver.delete_group(oldest.group)
                driver.delete_topic(oldest.topic)
                if self._stopping.wait(self.pause):
                    return

    def _make(self, driver: KafkaDriver, number: int) -> None:
        pair = Pair(f"topic-{number}", f"group-{number}")
        driver.create_topic(pair.topic, PARTITIONS)
        for partition in range(PARTITIONS):
            driver.produce(pair.topic, partition, RECORDS)
        driver.commit(pair.group, {(pair.topic, partition): COMMITTED for partition in range(PARTITIONS)})
        self._pairs.append(pair)
        self.made += 1
