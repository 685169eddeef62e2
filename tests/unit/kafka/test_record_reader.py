"""What is read together and what alone, where one partition keeps the others waiting or ends the worker.

Real ones do so in tests/program/test_strangers.py and tests/load/test_strangers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import attrs
import pytest

from klag_trio.domain.lag import FirstRecord
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import NOT_ALONE, NOT_TRIED, TIMED_OUT, Reading
from klag_trio.kafka.client import Client
from klag_trio.kafka.record_reader import RecordReader
from klag_trio.kafka.worker_process import WorkerDied, WorkerError

WITHIN = 60.0
BOMB = TopicPartition("bomb", 0)
ORDERS = [TopicPartition("orders", number) for number in range(50)]
CRASH = Fault("crash", "it ended with SIGABRT")


@attrs.define
class Worker:
    """Answers at once, except for what is `silent` or, together with what came before, `deadly`."""

    silent: set[TopicPartition] = attrs.field(factory=set)
    deadly: set[TopicPartition] = attrs.field(factory=set)
    asked: list[list[TopicPartition]] = attrs.field(factory=list)
    fresh: bool = True
    ends: int = 0
    failure: Fault | None = None

    async def ask(
        self,
        take: Callable[..., None],
        operation: str,
        shards: Sequence[Sequence[Any]],
        fetch_timeout: float,
        seconds: float,
        *,
        within: float,
    ) -> None:
        assert ("read", seconds) == (operation, within)
        if self.failure is not None:
            raise WorkerError(self.failure)
        rows = [
            (TopicPartition(topic, number), places) for shard in shards for topic, number, places in shard
        ]
        self.asked.append([tp for tp, _ in rows])
        fresh, self.fresh = self.fresh, False
        stuck = False
        for tp, places in rows:
            if tp in self.deadly:
                self.fresh = True
                raise WorkerDied(CRASH, fresh=fresh)
            # What came first from the leader keeps all that comes after it on this connection.
            stuck = stuck or tp in self.silent
            for position in places:
                if stuck:
                    fault = [TIMED_OUT.code, TIMED_OUT.message, TIMED_OUT.retriable]
                    take([], [[*tp, position, fault]], 0, 0)
                else:
                    take([[*tp, position, position, 1.0]], [], 1, 10)

    async def end(self) -> None:
        self.fresh = True
        self.ends += 1


@attrs.frozen
class ClientOf:
    """The client, of which a reader asks little."""

    worker: Worker

    def refine(self, fault: Fault) -> Fault:
        return fault


@pytest.fixture
def worker() -> Worker:
    return Worker()


async def read(
    worker: Worker,
    partitions: Iterable[TopicPartition],
    *,
    alone: Iterable[TopicPartition] = (),
    within: float = WITHIN,
) -> Reading:
    reader = RecordReader(cast(Client, ClientOf(worker)), max_concurrent_fetches=1, fetch_timeout=1)
    return await reader.read({tp: [7] for tp in partitions}, alone=frozenset(alone), within=within)


def answers(partitions: Iterable[TopicPartition]) -> dict[tuple[TopicPartition, int], FirstRecord]:
    return {(tp, 7): FirstRecord(7, 1.0) for tp in partitions}


async def test_only_the_partition_that_keeps_others_waiting_goes_without_an_answer(worker: Worker) -> None:
    worker.silent = {BOMB}
    reading = await read(worker, [*ORDERS[:25], BOMB, *ORDERS[25:]])
    assert answers(ORDERS) == reading.records
    assert {(BOMB, 7): TIMED_OUT} == reading.faults
    # Whatever it is still busy with, it is so no more when the others are read, nor after that.
    assert 2 == worker.ends


async def test_a_suspect_is_read_after_the_others_and_costs_them_nothing(worker: Worker) -> None:
    worker.silent = {BOMB}
    reading = await read(worker, [BOMB, *ORDERS], alone=[BOMB])
    assert answers(ORDERS) == reading.records
    assert {(BOMB, 7): TIMED_OUT} == reading.faults
    assert [ORDERS, [BOMB]] == worker.asked


async def test_suspects_are_read_one_at_a_time(worker: Worker) -> None:
    reading = await read(worker, [BOMB, *ORDERS], alone=[BOMB, *ORDERS])
    assert answers([BOMB, *ORDERS]) == reading.records
    assert [[tp] for tp in [BOMB, *ORDERS]] == worker.asked


async def test_a_leader_that_answers_for_no_partition_is_not_waited_for_again_and_again(
    worker: Worker,
) -> None:
    worker.silent = set(ORDERS)
    reading = await read(worker, ORDERS)
    assert {} == reading.records
    tried = [(tp, 7) for tp in ORDERS[:2]]
    not_tried = [(tp, 7) for tp in ORDERS[2:]]
    assert {**dict.fromkeys(tried, TIMED_OUT), **dict.fromkeys(not_tried, NOT_ALONE)} == reading.faults


async def test_a_partition_that_was_alone_from_the_first_is_not_read_again(worker: Worker) -> None:
    worker.silent = {BOMB}
    reading = await read(worker, [BOMB])
    assert {(BOMB, 7): TIMED_OUT} == reading.faults
    assert [[BOMB]] == worker.asked


async def test_what_there_was_no_time_for_is_not_to_blame(worker: Worker) -> None:
    reading = await read(worker, [BOMB, *ORDERS], within=0)
    assert {} == reading.records
    assert {NOT_TRIED} == set(reading.faults.values())


@pytest.mark.parametrize("place", [0, 25, 50])
@pytest.mark.parametrize("fresh", [True, False])
async def test_only_the_partition_that_ends_the_worker_is_blamed(
    worker: Worker, place: int, fresh: bool
) -> None:
    worker.deadly, worker.fresh = {BOMB}, fresh
    partitions = [*ORDERS[:place], BOMB, *ORDERS[place:]]
    reading = await read(worker, partitions)
    assert answers(ORDERS) == reading.records
    assert {(BOMB, 7): CRASH} == reading.faults
    # In halves, of what has no answer yet.
    assert len(worker.asked) <= 15


async def test_what_is_harmless_does_not_wait_for_all_that_end_the_worker(worker: Worker) -> None:
    poison = [TopicPartition("poison", number) for number in range(50)]
    worker.deadly = set(poison)
    await read(worker, [*poison, *ORDERS])
    # The first question about nothing that ends it comes long before all that do have been found.
    first = next(number for number, asked in enumerate(worker.asked) if worker.deadly.isdisjoint(asked))
    assert first <= 3


async def test_several_that_end_the_worker_are_found(worker: Worker) -> None:
    worker.deadly = {ORDERS[3], ORDERS[4], ORDERS[40]}
    reading = await read(worker, ORDERS)
    assert answers(tp for tp in ORDERS if tp not in worker.deadly) == reading.records
    assert {(tp, 7): CRASH for tp in worker.deadly} == reading.faults


async def test_a_suspect_that_ends_the_worker_is_blamed_only_when_nothing_was_asked_before(
    worker: Worker,
) -> None:
    worker.deadly = {BOMB}
    reading = await read(worker, [*ORDERS, BOMB], alone=[BOMB])
    assert answers(ORDERS) == reading.records
    assert {(BOMB, 7): CRASH} == reading.faults
    assert [ORDERS, [BOMB], [BOMB]] == worker.asked


async def test_what_keeps_the_worker_from_reading_at_all_is_said_of_all(worker: Worker) -> None:
    worker.failure = Fault(
        "_CRIT_SYS_RESOURCE", "no process for reading: Too many open files", retriable=True
    )
    reading = await read(worker, ORDERS)
    assert {} == reading.records
    assert {worker.failure} == set(reading.faults.values())
