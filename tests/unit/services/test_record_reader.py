"""How the readers of a cluster are let go of, with fetchers that do not let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from math import inf
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from klag_trio.domain.offsets import TopicPartition
from klag_trio.kafka.chunk import TIMED_OUT
from klag_trio.kafka.client import Client
from klag_trio.kafka.record_reader import RecordReader

PLACES = {TopicPartition("orders", 0): [5]}
# So that a thread that starts late still reads; a read itself takes a tenth of a second.
LONG = 60.0


@attrs.define
class StubbornFetcher:
    """Fetches nothing and ends once `released`."""

    released: threading.Event
    looks: threading.Event
    """Set where it comes back from looking for leaders at once, as it should."""
    ending: threading.Event = attrs.field(factory=threading.Event)

    def find_leaders(self, timeout: float) -> None:
        self.looks.wait()

    def start(self, positions: object) -> None: ...

    def stop(self, partitions: object) -> None: ...

    def wait(self, timeout: float) -> list[TopicPartition]:
        self.released.wait(timeout)
        return []

    def take(self, tp: TopicPartition) -> None: ...

    def destroy(self) -> None:
        self.ending.set()
        self.released.wait()


@attrs.define
class Fetchers:
    """Stands for the client, of which a reader asks fetchers only."""

    released: threading.Event = attrs.field(factory=threading.Event)
    looks: threading.Event = attrs.field(factory=threading.Event)
    made: list[StubbornFetcher] = attrs.field(factory=list)

    def fetcher(self, properties: object) -> StubbornFetcher:
        self.made.append(StubbornFetcher(self.released, self.looks))
        return self.made[-1]

    def fault(self, error: Any) -> Any:
        raise AssertionError(error)

    @property
    def ending(self) -> int:
        return sum(fetcher.ending.is_set() for fetcher in self.made)


@pytest.fixture
def fetchers() -> Iterator[Fetchers]:
    made = Fetchers()
    made.looks.set()
    yield made
    made.looks.set()
    made.released.set()


def record_reader(fetchers: Fetchers) -> RecordReader:
    return RecordReader(cast("Client", fetchers), max_concurrent_fetches=1, fetch_timeout=0.1)


async def rest(reader: RecordReader, clock: MockClock, fetchers: Fetchers, *, ending: int) -> float:
    """How long a rest takes where nothing takes time but waiting."""
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.rest)
        while fetchers.ending < ending:
            await wait_all_tasks_blocked(0.01)
        clock.autojump_threshold = 0
    clock.autojump_threshold = inf
    return trio.current_time() - start


async def test_a_connection_that_does_not_close_holds_up_a_cycle_shortly(
    fetchers: Fetchers, mock_clock: MockClock
) -> None:
    reader = record_reader(fetchers)
    await reader.read(PLACES, within=LONG)
    assert 0.5 == pytest.approx(await rest(reader, mock_clock, fetchers, ending=1))
    # It is nobody's any more: there is nothing left to wait for.
    assert 0 == await rest(reader, mock_clock, fetchers, ending=1)


async def test_connections_that_do_not_close_neither_hold_up_reads_nor_pile_up(
    fetchers: Fetchers, mock_clock: MockClock
) -> None:
    reader = record_reader(fetchers)
    await reader.read(PLACES, within=LONG)
    await rest(reader, mock_clock, fetchers, ending=1)
    await reader.read(PLACES, within=LONG)
    await rest(reader, mock_clock, fetchers, ending=1)
    assert (2, 1) == (len(fetchers.made), fetchers.ending)
    fetchers.released.set()
    while fetchers.ending < 2:
        await rest(reader, mock_clock, fetchers, ending=1)


async def test_a_thread_that_does_not_come_back_costs_its_reads_and_not_the_cycle(
    fetchers: Fetchers, mock_clock: MockClock
) -> None:
    fetchers.looks.clear()
    reader = record_reader(fetchers)
    mock_clock.autojump_threshold = 0
    reading = await reader.read(PLACES, within=LONG)
    assert ({}, {(TopicPartition("orders", 0), 5): TIMED_OUT}) == (reading.records, reading.faults)
    # Nor do the next ones wait for it, where no other thread may read.
    again = await reader.read(PLACES, within=LONG)
    assert reading.faults == again.faults
    assert LONG < trio.current_time() < 2 * LONG + 2
    mock_clock.autojump_threshold = inf
    while not fetchers.made:
        await wait_all_tasks_blocked(0.01)
    assert 1 == len(fetchers.made)
    fetchers.looks.set()
    fetchers.released.set()
    # Time stands still: this one ends because it gets the thread.
    await reader.read(PLACES, within=LONG)
    assert len(fetchers.made) > 1
