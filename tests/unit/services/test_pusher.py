"""The schedule of the pusher, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from klag_trio.config import Exporter, Otel
from klag_trio.exposition import families as f
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.otlp import Source
from klag_trio.exposition.samples import Block
from klag_trio.services.otlp_channel import ExportError, Rejected
from klag_trio.services.otlp_settings import read_settings
from klag_trio.services.pusher import Pusher
from klag_trio.stopping import LAST_PUSH_SECONDS

DOWN = ExportError("UNAVAILABLE", "refused", retryable=True)
DENIED = ExportError("UNAUTHENTICATED", "no token", retryable=False)


@attrs.define
class Published:
    outcomes: list[str] = attrs.field(factory=list)

    samples: int = 1

    def observations(self) -> Sequence[Observation]:
        rows, values = [(str(n),) for n in range(self.samples)], [1] * self.samples
        return [Observation(1.0, lambda: [Block(("n",), rows, {f.LEADER: values}, {})])]

    def count_export(self, outcome: str) -> None:
        self.outcomes.append(outcome)


@attrs.define
class FakeSender:
    """Fails as it is told; `hangs` lets it never answer."""

    failure: ExportError | None = None
    hangs: bool = False
    takes: float = 0.0
    rejects: int = 0
    sent_at: list[float] = attrs.field(factory=list)

    async def send(self, body: bytes, seconds: float) -> Rejected:
        self.sent_at.append(trio.current_time())
        await trio.sleep(self.takes)
        if self.hangs:
            await trio.sleep_forever()
        if self.failure is not None:
            raise self.failure
        return Rejected(self.rejects, "too old")

    def close(self) -> None:
        pass


def pusher(published: Published, sender: FakeSender) -> Pusher:
    settings = read_settings(Exporter(otel=Otel(enabled=True)), {})
    return Pusher(published, sender, Source({}, "1", 0.0), settings)


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


async def test_a_collector_that_is_down_is_tried_again_within_the_interval(virtual_time: MockClock) -> None:
    published, sender = Published(), FakeSender(failure=DOWN)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(pusher(published, sender).run)
            await trio.sleep(185)
            assert ["failure"] * 2 == published.outcomes
            assert len(sender.sent_at) > 6
            sender.failure = None
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
    assert ["OTLP export fails", "OTLP export works again"] == [entry["event"] for entry in logs]


async def test_it_waits_as_long_as_the_collector_asks_for(virtual_time: MockClock) -> None:
    busy = ExportError("RESOURCE_EXHAUSTED", "busy", retryable=True, delay=25.0)
    published, sender = Published(), FakeSender(failure=busy)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        await nursery.start(pusher(published, sender).run)
        await trio.sleep(119)
        nursery.cancel_scope.cancel()
    assert [60, 85, 110, 119] == [round(at - start) for at in sender.sent_at]


async def test_a_collector_that_asks_for_no_wait_is_not_asked_without_pause(virtual_time: MockClock) -> None:
    busy = ExportError("UNAVAILABLE", "busy", retryable=True, delay=0.0)
    published, sender = Published(), FakeSender(failure=busy)
    await run_for(119, published, sender)
    assert 6 < len(sender.sent_at) < 100


async def test_a_slow_collector_gets_what_fits_into_the_interval_and_newer_values_in_the_next(
    virtual_time: MockClock,
) -> None:
    # Three requests of 25 s each.
    published, sender = Published(samples=80_000), FakeSender(takes=25.0)
    start = trio.current_time()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(pusher(published, sender).run)
            await trio.sleep(239)
            assert ["partial"] * 2 == published.outcomes
            sender.takes = 0.1
            await trio.sleep(61)
            assert "success" == published.outcomes[-1]
            nursery.cancel_scope.cancel()
    assert [60, 85, 110, 120, 145, 170, 180] == [round(at - start) for at in sender.sent_at][:7]
    assert ["OTLP export fails", "OTLP export works again"] == [entry["event"] for entry in logs]


async def test_a_refusal_is_not_tried_again(virtual_time: MockClock) -> None:
    published, sender = Published(), FakeSender(failure=DENIED)
    await run_for(70, published, sender)
    assert ["failure"] * 2 == published.outcomes
    assert 2 == len(sender.sent_at)


async def test_a_collector_that_hangs_holds_a_stop_up_as_long_as_the_last_push_may_take(
    virtual_time: MockClock,
) -> None:
    published, sender = Published(), FakeSender(hangs=True)
    start = trio.current_time()
    await run_for(10, published, sender)
    assert 10 + LAST_PUSH_SECONDS == round(trio.current_time() - start, 3)
    assert ["failure"] == published.outcomes


async def test_rejected_samples_are_a_failure_that_is_told(virtual_time: MockClock) -> None:
    published, sender = Published(), FakeSender(rejects=1)
    with capture_logs() as logs:
        await run_for(1, published, sender)
    assert ["failure"] == published.outcomes
    assert ["REJECTED"] == [entry["code"] for entry in logs]
