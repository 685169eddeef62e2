"""The schedule of the pusher, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import pytest
import trio
import trio.testing
from opentelemetry.sdk.metrics.export import MetricsData
from structlog.testing import capture_logs
from trio.testing import MockClock

from klag_trio.exposition.samples import LazyBlocks
from klag_trio.otlp.exporter import ExportError
from klag_trio.otlp.pusher import Pusher
from klag_trio.stopping import LAST_PUSH_SECONDS

DOWN = ExportError("connection refused")
PART = MetricsData([])


@attrs.define
class Published:
    outcomes: list[str] = attrs.field(factory=list)
    parts: int = 1

    def lazy_blocks(self) -> Sequence[LazyBlocks]:
        return []

    def count_export(self, outcome: str) -> None:
        self.outcomes.append(outcome)

    def make(self, _: Sequence[LazyBlocks]) -> Iterator[MetricsData]:
        return iter([PART] * self.parts)


@attrs.define
class FakeSender:
    """Fails as it is told; `hangs` lets it never answer."""

    failure: ExportError | None = None
    hangs: bool = False
    takes: float = 0.0
    sent_at: list[float] = attrs.field(factory=list)
    closes: int = 0

    async def export(self, part: MetricsData) -> None:
        self.sent_at.append(trio.current_time())
        await trio.sleep(self.takes)
        if self.hangs:
            await trio.sleep_forever()
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        self.closes += 1


def pusher(published: Published, sender: FakeSender) -> Pusher:
    return Pusher(published, sender, published.make, interval=60.0, endpoint="http://localhost:4317")


async def run_for(seconds: float, published: Published, sender: FakeSender) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(pusher(published, sender).run)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()


async def test_it_pushes_every_interval_and_once_more_at_the_end(virtual_time: MockClock) -> None:
    published, sender = Published(), FakeSender()
    start = trio.current_time()
    await run_for(130, published, sender)
    assert [60, 120, 130] == [round(at - start) for at in sender.sent_at]
    assert ["success"] * 3 == published.outcomes
    assert 1 == sender.closes


async def test_an_outage_is_told_when_it_begins_and_when_it_ends(virtual_time: MockClock) -> None:
    published, sender = Published(), FakeSender(failure=DOWN)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(pusher(published, sender).run)
            await trio.sleep(185)
            assert ["failure"] * 3 == published.outcomes
            sender.failure = None
            await trio.sleep(60)
            assert "success" == published.outcomes[-1]
            nursery.cancel_scope.cancel()
    assert [
        {
            "event": "OTLP export fails",
            "log_level": "warning",
            "endpoint": "http://localhost:4317",
            "reason": "connection refused",
        },
        {
            "event": "OTLP export works again",
            "log_level": "info",
            "endpoint": "http://localhost:4317",
            "failed_pushes": 3,
        },
    ] == logs


async def test_the_first_part_that_does_not_arrive_is_the_last_of_its_push(virtual_time: MockClock) -> None:
    published, sender = Published(parts=3), FakeSender(failure=DOWN)
    await run_for(61, published, sender)
    assert ["failure"] * 2 == published.outcomes
    assert 2 == len(sender.sent_at)


async def test_a_slow_collector_gets_what_fits_into_the_interval_and_newer_values_in_the_next(
    virtual_time: MockClock,
) -> None:
    published, sender = Published(parts=3), FakeSender(takes=25.0)
    start = trio.current_time()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(pusher(published, sender).run)
            await trio.sleep(239)
            assert ["failure"] * 2 == published.outcomes
            sender.takes = 0.1
            await trio.sleep(61)
            assert "success" == published.outcomes[-1]
            nursery.cancel_scope.cancel()
    assert [60, 85, 110, 120, 145, 170, 180] == [round(at - start) for at in sender.sent_at][:7]
    assert ["OTLP export fails", "OTLP export works again"] == [entry["event"] for entry in logs]


@pytest.mark.parametrize("seconds", [10, 70])
async def test_a_collector_that_hangs_holds_a_stop_up_as_long_as_the_last_push_may_take(
    virtual_time: MockClock, seconds: float
) -> None:
    published, sender = Published(), FakeSender(hangs=True)
    start = trio.current_time()
    await run_for(seconds, published, sender)
    assert seconds + LAST_PUSH_SECONDS == round(trio.current_time() - start, 3)
    assert ["failure"] == published.outcomes


async def test_a_push_that_is_left_off_ends_at_once_and_is_no_outage(virtual_time: MockClock) -> None:
    published, sender = Published(parts=3), FakeSender(takes=20.0)
    start = trio.current_time()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            pushing = pusher(published, sender)
            await nursery.start(pushing.run)
            await trio.sleep(70)
            pushing.leave_off()
            sender.takes = 0.2
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
    assert [60, 120, 120, 120] == [round(at - start) for at in sender.sent_at][:4]
    assert ["failure", "success"] == published.outcomes[:2]
    assert [] == logs


async def test_what_is_left_off_between_two_pushes_is_nothing(virtual_time: MockClock) -> None:
    published, sender = Published(), FakeSender()
    async with trio.open_nursery() as nursery:
        pushing = pusher(published, sender)
        await nursery.start(pushing.run)
        for _ in range(2):
            await trio.sleep(61)
            pushing.leave_off()
        nursery.cancel_scope.cancel()
    assert ["success"] * 3 == published.outcomes


async def test_a_process_that_was_stopped_pushes_once_and_in_time(virtual_time: MockClock) -> None:
    published, sender = Published(), FakeSender(takes=1.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(pusher(published, sender).run)
        await trio.testing.wait_all_tasks_blocked()
        virtual_time.jump(200)
        await trio.sleep(10)
        assert ["success"] == published.outcomes
        nursery.cancel_scope.cancel()
