"""A publication without a broker, pushed from inside the test by the real pusher through the real channel."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from klag_trio.config import Cluster, Exporter, Otel
from klag_trio.domain.lag import LagReport
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.otlp import Source
from klag_trio.services.board import Board, Cycle
from klag_trio.services.otlp_channel import OtlpChannel
from klag_trio.services.otlp_settings import read_settings
from klag_trio.services.pusher import OUTCOMES, Outcome, Pusher, Sender

PATIENCE_SECONDS = 150.0


@attrs.define
class Watched:
    """Passes on what a board publishes and takes note of how each push ends."""

    board: Board
    outcomes: list[Outcome] = attrs.field(factory=list)
    _pushed: trio.Event = attrs.field(factory=trio.Event)

    def observations(self) -> list[Observation]:
        return self.board.observations()

    def count_export(self, outcome: Outcome) -> None:
        self.board.count_export(outcome)
        self.outcomes.append(outcome)
        self._pushed.set()
        self._pushed = trio.Event()

    async def until(self, condition: Callable[[list[Outcome]], bool]) -> None:
        """Wait until the outcomes so far are such."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not condition(self.outcomes):
                await self._pushed.wait()

    @property
    def page(self) -> str:
        """What /metrics shows."""
        return b"".join(self.board.metrics(openmetrics=False).chunks).decode()


@asynccontextmanager
async def pushing(
    report: LagReport,
    port: int,
    interval: float,
    through: Callable[[Sender], Sender] = lambda channel: channel,
    *,
    gzip: bool = True,
) -> AsyncIterator[Watched]:
    """Push a publication of this report to a collector, for as long as the block runs."""
    otel = Otel(enabled=True, endpoint=f"http://127.0.0.1:{port}", export_interval=interval)
    compression = {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip" if gzip else "none"}
    settings = read_settings(Exporter(otel=otel), compression)
    cluster = Cluster(name="prod", bootstrap_servers="unused:1", labels={"env": 'a "b" ä'})
    board = Board(
        [cluster],
        partition_series=True,
        time_lag=True,
        staleness_threshold=3600,
        poll_interval=60,
        log_lines_dropped=lambda: 0,
    )
    board.expect_exports(OUTCOMES)
    cycle = Cycle(trio.current_time(), phases={"offsets": 0.5}, poll_seconds=0.5, report=report)
    await board.publish("prod", cycle)
    watched = Watched(board)
    pusher = Pusher(
        watched, through(OtlpChannel(settings)), Source(settings.resource, "1", time.time()), settings
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(pusher.run)
        yield watched
        nursery.cancel_scope.cancel()
