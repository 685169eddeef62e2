"""How long a stop takes while the collector hangs, in real time."""

from __future__ import annotations

import threading

import trio
from tests.fakes.lease_api import LeaseApi
from tests.program.program import STOP_SECONDS
from tests.unit.otlp.collectors import Collector
from tests.unit.otlp.test_last_push import (
    api,
    collector,
    config,
    lead_and_stop,
    over,
    until,
    way_to_the_api,
)

__all__ = ["api", "collector", "over", "way_to_the_api"]


async def test_the_lease_is_free_in_a_second_and_the_stop_is_over_in_time(
    api: LeaseApi, collector: Collector, over: threading.Event
) -> None:
    async with trio.open_nursery() as nursery:

        def pushes() -> bool:
            return bool(collector.requests)

        nursery.start_soon(lead_and_stop, config(collector.port, interval=0.1), api, pushes)
        await until(pushes)
        pushing = trio.current_time()
        await until(lambda: not api.holder)
        assert trio.current_time() - pushing < 1
    assert trio.current_time() - pushing < STOP_SECONDS
