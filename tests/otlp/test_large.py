"""Publications that need many requests, at a real collector."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import attrs
import pytest
import trio
from benchmarks.reports import report_of
from benchmarks.workload import PRESETS, Workload
from opentelemetry.sdk.metrics.export import MetricsData
from structlog.testing import capture_logs
from tests.otlp.conftest import Receiver
from tests.otlp.publishing import pushing
from tests.otlp.series import ours

from klag_trio.otlp.pusher import Outcome, Sender
from stack.collector import OtelCollector

# One after the other: each takes a whole core.
pytestmark = pytest.mark.xdist_group("large")

XL = PRESETS["XL"]
XL_SAMPLES = 208_006
# Some ten requests.
MIDDLING = Workload("middling", topics=300, partitions=4, records=20, groups=600, group_partitions=8)
BEGINS, ENDS = "OTLP export fails", "OTLP export works again"


@pytest.mark.timeout(300)
async def test_workload_xl_arrives_whole(receiver: Receiver) -> None:
    # Who takes it takes most of the push's time, and this leaves several times what is needed.
    async with pushing(
        report_of(XL, time.time()), receiver.endpoint, interval=20, protocol=receiver.protocol
    ) as watched:
        await watched.until(succeeded)
    # Pushes are over: on a busy machine the next would compete with so large a page.
    served, arrived = ours(watched.page), receiver.series()
    assert len(served) >= XL_SAMPLES
    assert served.keys() == arrived.keys()
    assert served == arrived


def succeeded(outcomes: Sequence[Outcome]) -> bool:
    return outcomes[-1:] == ["success"]


@attrs.define
class Interrupted:
    """Kills the collector once, before its third request."""

    sender: Sender
    collector: OtelCollector
    requests: int = 0

    async def export(self, part: MetricsData) -> None:
        self.requests += 1
        if self.requests == 3:
            self.collector.kill()
        await self.sender.export(part)

    def close(self) -> None:
        self.sender.close()


async def test_a_collector_that_dies_half_way_through_costs_the_rest_of_that_push(
    otel_collector: OtelCollector,
) -> None:
    with capture_logs() as logs:
        async with pushing(
            report_of(MIDDLING, time.time()),
            otel_collector.endpoint("grpc"),
            5,
            lambda s: Interrupted(s, otel_collector),
        ) as watched:
            await watched.until(lambda outcomes: len(outcomes) == 1)
            assert ["failure"] == watched.outcomes
            await trio.to_thread.run_sync(otel_collector.start)
            await watched.until(succeeded)
            failed_pushes = len(watched.outcomes) - 1
            assert [(BEGINS, None), (ENDS, failed_pushes)] == [
                (entry["event"], entry.get("failed_pushes")) for entry in logs
            ]
            assert ours(watched.page) == ours(otel_collector.metrics())


@attrs.define
class Throttle:
    """A way to the collector that lets so many bytes a second through."""

    port: int
    bytes_per_second: float

    async def relay(self, client: trio.SocketStream) -> None:
        try:
            async with (
                client,
                await trio.open_tcp_stream("127.0.0.1", self.port) as upstream,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._pass_on, upstream, client)
                await self._pass_on(client, upstream)
                nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            pass  # either side may leave

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for data in source:
            await trio.sleep(len(data) / self.bytes_per_second)
            await sink.send_all(data)


async def test_a_collector_that_is_too_slow_misses_pushes_and_nothing_piles_up(
    otel_collector: OtelCollector,
) -> None:
    throttle = Throttle(otel_collector.port, bytes_per_second=200_000)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, throttle.relay, 0, host="127.0.0.1"))
            endpoint = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            async with pushing(report_of(MIDDLING, time.time()), endpoint, 3, gzip=False) as watched:
                await watched.until(lambda outcomes: len(outcomes) == 3)
                assert "success" not in watched.outcomes
                throttle.bytes_per_second = 1e9
                await watched.until(succeeded)
                assert [BEGINS, ENDS] == [entry["event"] for entry in logs]
                # One that took up what was left behind would be followed by others at once.
                start, pushes = trio.current_time(), len(watched.outcomes)
                await watched.until(lambda outcomes: len(outcomes) == pushes + 2)
                assert trio.current_time() - start > 3
                assert ours(watched.page) == ours(otel_collector.metrics())
            nursery.cancel_scope.cancel()
