"""How the readers of a cluster are let go of, with fetchers that do not let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import attrs
import pytest
import trio

from klag_trio.domain.offsets import TopicPartition
from klag_trio.kafka.chunk import TIMED_OUT
from klag_trio.kafka.client import Client
from klag_trio.kafka.timestamps import RecordReader

PLACES = {TopicPartition("orders", 0): [5]}


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


async def test_a_connection_that_does_not_close_holds_up_a_cycle_shortly(fetchers: Fetchers) -> None:
    reader = record_reader(fetchers)
    await reader.read(PLACES, within=0.1)
    start = trio.current_time()
    await reader.rest()
    assert 0.4 < trio.current_time() - start < 10
    assert 1 == fetchers.ending
    # It is nobody's any more: there is nothing left to wait for.
    start = trio.current_time()
    await reader.rest()
    assert trio.current_time() - start < 0.4


async def test_connections_that_do_not_close_neither_hold_up_reads_nor_pile_up(fetchers: Fetchers) -> None:
    reader = record_reader(fetchers)
    await reader.read(PLACES, within=0.1)
    await reader.rest()
    with trio.fail_after(10):
        await reader.read(PLACES, within=0.1)
    await reader.rest()
    assert (2, 1) == (len(fetchers.made), fetchers.ending)
    fetchers.released.set()
    with trio.fail_after(10):
        while fetchers.ending < 2:
            await reader.rest()


async def test_a_thread_that_does_not_come_back_costs_its_reads_and_not_the_cycle(fetchers: Fetchers) -> None:
    fetchers.looks.clear()
    reader = record_reader(fetchers)
    with trio.fail_after(10):
        reading = await reader.read(PLACES, within=0.1)
        assert ({}, {(TopicPartition("orders", 0), 5): TIMED_OUT}) == (reading.records, reading.faults)
        # Nor do the next ones wait for it, where no other thread may read.
        again = await reader.read(PLACES, within=0.1)
    assert reading.faults == again.faults
    assert 1 == len(fetchers.made)
    fetchers.looks.set()
    fetchers.released.set()
    with trio.fail_after(10):
        while len(fetchers.made) < 2:
            await reader.read(PLACES, within=0.1)
