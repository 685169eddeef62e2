"""Readers of records that share the descriptors of a process that may have few."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from klag_trio.domain.offsets import TopicPartition
from klag_trio.domain.time_lag import NOT_TRIED, Reading
from klag_trio.services.time_lag import InTurn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from trio.testing import MockClock

PLACES = {TopicPartition("orders", 0): [5]}


@attrs.define
class Connections:
    """How many connections all readers hold, now and at most."""

    open: int = 0
    most: int = 0


@attrs.define
class SlowReader:
    """Takes three seconds for a read, and keeps its connection until it is told to rest."""

    connections: Connections
    within: list[float] = attrs.field(factory=list)

    async def read(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        *,
        alone: Set[TopicPartition] = frozenset(),
        within: float,
    ) -> Reading:
        self.within.append(within)
        self.connections.open += 1
        self.connections.most = max(self.connections.most, self.connections.open)
        await trio.sleep(3)
        return Reading({}, {})

    async def rest(self) -> None:
        await trio.lowlevel.checkpoint()
        self.connections.open -= 1

    async def aclose(self) -> None: ...


async def test_one_reader_at_a_time_has_connections_and_what_time_is_left(autojump_clock: MockClock) -> None:
    connections, turn = Connections(), trio.CapacityLimiter(1)
    readers = [SlowReader(connections) for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(partial(InTurn(reader, turn).read, PLACES, within=5))
    assert (0, 1) == (connections.open, connections.most)
    # The last one's time was up before its turn.
    assert [[], [2], [5]] == sorted(reader.within for reader in readers)


async def test_who_waits_in_vain_says_so_when_its_time_is_up(autojump_clock: MockClock) -> None:
    turn = trio.CapacityLimiter(1)
    turn.acquire_on_behalf_of_nowait("another")
    reading = await InTurn(SlowReader(Connections()), turn).read(PLACES, within=5)
    assert 5 == trio.current_time()
    assert {(TopicPartition("orders", 0), 5): NOT_TRIED} == reading.faults


async def test_who_is_cancelled_lets_go_of_its_connections_and_of_its_turn(autojump_clock: MockClock) -> None:
    connections, turn = Connections(), trio.CapacityLimiter(1)
    with trio.move_on_after(1):
        await InTurn(SlowReader(connections), turn).read(PLACES, within=5)
    assert (0, 1) == (connections.open, turn.available_tokens)
