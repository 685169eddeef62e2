"""What is read together and what alone, where one partition keeps the others waiting.

A real one takes seconds and a gigabyte to do so: tests/load/test_reading.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import attrs
import pytest
import trio
from confluent_kafka import KafkaError

from klag_trio.domain.lag import FirstRecord
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import NOT_ALONE, Reading
from klag_trio.kafka.chunk import TIMED_OUT
from klag_trio.kafka.client import Client
from klag_trio.kafka.fetcher import Record
from klag_trio.kafka.record_reader import RecordReader

# Long enough for what comes at once on a busy machine.
FETCH_TIMEOUT = 1.0
WITHIN = 60.0
SECONDS = 60.0
BOMB = TopicPartition("bomb", 0)
ORDERS = [TopicPartition("orders", number) for number in range(50)]


@attrs.define
class Connections:
    """A client whose connections bring nothing while one of the `silent` partitions is fetched."""

    silent: set[TopicPartition]
    open: int = 0
    most_open: int = 0
    fetches: list[list[TopicPartition]] = attrs.field(factory=list)

    def fetcher(self, _properties: Mapping[str, str]) -> Connection:
        return Connection(self)

    def fault(self, error: KafkaError) -> Fault:
        return Fault(error.name(), error.str())


class Connection:
    """Does as a Fetcher does."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._stuck = False
        self._coming: dict[TopicPartition, int] = {}
        connections.open += 1
        connections.most_open = max(connections.most_open, connections.open)

    def find_leaders(self, timeout: float) -> None:
        pass

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        self._connections.fetches.append(sorted(positions))
        # What came first from the leader keeps all that comes after it on this connection.
        self._stuck |= not self._connections.silent.isdisjoint(positions)
        self._coming.update(positions)

    def stop(self, partitions: Iterable[TopicPartition]) -> None:
        for tp in partitions:
            self._coming.pop(tp, None)

    def wait(self, timeout: float) -> Sequence[TopicPartition]:
        return ()

    def take(self, tp: TopicPartition) -> Record | None:
        return None if self._stuck else Record(self._coming[tp], 1.0, 10)

    def destroy(self) -> None:
        self._connections.open -= 1


@pytest.fixture
def connections() -> Connections:
    return Connections({BOMB})


async def read(
    connections: Connections,
    partitions: Iterable[TopicPartition],
    *,
    alone: Iterable[TopicPartition] = (),
    within: float = WITHIN,
) -> Reading:
    client = cast(Client, connections)
    reader = RecordReader(client, max_concurrent_fetches=1, fetch_timeout=FETCH_TIMEOUT)
    reading = await reader.read({tp: [7] for tp in partitions}, alone=frozenset(alone), within=within)
    await reader.aclose()
    with trio.fail_after(SECONDS):
        # A connection may end in a thread of its own, without a sign.
        while connections.open:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return reading


def answers(partitions: Iterable[TopicPartition]) -> dict[tuple[TopicPartition, int], FirstRecord]:
    return {(tp, 7): FirstRecord(7, 1.0) for tp in partitions}


async def test_only_the_partition_that_keeps_others_waiting_goes_without_an_answer(
    connections: Connections,
) -> None:
    reading = await read(connections, [*ORDERS[:25], BOMB, *ORDERS[25:]])
    assert answers(ORDERS) == reading.records
    assert {(BOMB, 7): TIMED_OUT} == reading.faults
    # What one connection has set going ends before another is made.
    assert 1 == connections.most_open


async def test_a_suspect_is_read_after_the_others_and_costs_them_nothing(connections: Connections) -> None:
    reading = await read(connections, [BOMB, *ORDERS], alone=[BOMB])
    assert answers(ORDERS) == reading.records
    assert {(BOMB, 7): TIMED_OUT} == reading.faults
    assert [sorted(ORDERS), [BOMB]] == connections.fetches


async def test_suspects_are_read_one_at_a_time(connections: Connections) -> None:
    reading = await read(connections, [BOMB, *ORDERS], alone=[BOMB, *ORDERS])
    assert answers(ORDERS) == reading.records
    assert [[BOMB], *([tp] for tp in ORDERS)] == connections.fetches


async def test_a_leader_that_answers_for_no_partition_is_not_waited_for_again_and_again(
    connections: Connections,
) -> None:
    connections.silent = set(ORDERS)
    reading = await read(connections, ORDERS)
    assert {} == reading.records
    tried = [(tp, 7) for tp in ORDERS[:2]]
    not_tried = [(tp, 7) for tp in ORDERS[2:]]
    assert {**dict.fromkeys(tried, TIMED_OUT), **dict.fromkeys(not_tried, NOT_ALONE)} == reading.faults


async def test_a_partition_that_was_alone_from_the_first_is_not_read_again(connections: Connections) -> None:
    reading = await read(connections, [BOMB])
    assert {(BOMB, 7): TIMED_OUT} == reading.faults
    assert {(BOMB,)} == {tuple(fetch) for fetch in connections.fetches}


async def test_what_there_was_no_time_for_is_not_to_blame(connections: Connections) -> None:
    reading = await read(connections, [BOMB, *ORDERS], within=FETCH_TIMEOUT)
    assert {} == reading.records
    assert {NOT_ALONE} == set(reading.faults.values())
