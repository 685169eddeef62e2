"""What is told of records that cannot be read, cycle by cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio
from tests.unit.domain.snapshots import T0, snapshot

from klag_trio.domain.lag import FirstRecord
from klag_trio.domain.offsets import CleanupPolicy, ClusterSnapshot, Fault, TopicPartition
from klag_trio.domain.time_lag import Reading, TimestampCache
from klag_trio.services.board import Reads
from klag_trio.services.faults import FaultLog
from klag_trio.services.time_lag import MessageTimeLag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from trio.testing import MockClock

DENIED = Fault("TOPIC_AUTHORIZATION_FAILED", "denied")
BEHIND = Fault("_AUTO_OFFSET_RESET", "the position is gone")
LATE = Fault("_TIMED_OUT", "late", retriable=True)
LAGGING = snapshot({T0: (0, 10)}, {"app": {T0: 4}})
CAUGHT_UP = snapshot({T0: (0, 10)}, {"app": {T0: 10}})
ELSEWHERE = snapshot({}, {})


@attrs.define
class Reader:
    """Answers all that is wanted by a record, or by one fault."""

    fault: Fault | None = None

    async def read(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        *,
        alone: Set[TopicPartition] = frozenset(),
        within: float,
    ) -> Reading:
        keys = [(tp, position) for tp, positions in wanted.items() for position in positions]
        if self.fault is not None:
            return Reading({}, dict.fromkeys(keys, self.fault))
        return Reading({(tp, position): FirstRecord(position, 0.0) for tp, position in keys}, {})

    async def rest(self) -> None: ...

    async def aclose(self) -> None: ...


async def no_policies(topics: set[str], *, within: float) -> Mapping[str, CleanupPolicy]:
    return {}


async def no_offsets(partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
    return {}


async def cycles(*steps: tuple[ClusterSnapshot, Fault | None]) -> list[list[tuple[str, str, Fault]]]:
    """What lasts after each cycle, in which reading fails so or not at all."""
    faults, reader = FaultLog("prod"), Reader()
    # Without a penalty each cycle with lag tries again.
    cache = TimestampCache(ttl=60, first_penalty=0)
    time_lag = MessageTimeLag(reader, cache, no_policies, no_offsets, faults, Reads(), skip_data_loss=False)
    lasting = []
    for taken, reader.fault in steps:
        await time_lag.first_records(taken, within=10)
        faults.end_cycle()
        lasting.append(faults.lasting)
    return lasting


async def test_a_topic_that_may_not_be_read_stays_so_while_nobody_lags_in_it() -> None:
    told = [("timestamps", T0.topic, DENIED)]
    found = await cycles((LAGGING, DENIED), (CAUGHT_UP, None), (LAGGING, DENIED), (LAGGING, None))
    assert [told, told, told, []] == found


async def test_it_is_forgotten_with_the_topic() -> None:
    assert [] == (await cycles((LAGGING, DENIED), (ELSEWHERE, None)))[-1]


async def test_what_passes_by_itself_is_over_when_nobody_lags() -> None:
    assert [] == (await cycles((LAGGING, LATE), (CAUGHT_UP, None)))[-1]


async def test_a_leader_that_hangs_while_retention_goes_on_costs_no_more_than_the_time_for_reading(
    virtual_time: MockClock,
) -> None:
    async def hang(partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        await trio.sleep_forever()
        raise AssertionError

    faults, cache = FaultLog("prod"), TimestampCache(ttl=60, first_penalty=30)
    time_lag = MessageTimeLag(Reader(BEHIND), cache, no_policies, hang, faults, Reads(), skip_data_loss=False)
    with trio.fail_after(6):
        assert {} == await time_lag.first_records(LAGGING, within=5)
    assert 1 == faults.counts["timestamps", "_AUTO_OFFSET_RESET"]
