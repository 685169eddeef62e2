"""A publication without a broker, pushed from inside the test by the real pusher and the SDK's exporter."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from klag_trio.config import Cluster, Exporter, Otel
from klag_trio.domain.lag import LagReport
from klag_trio.exposition.samples import LazyBlocks
from klag_trio.otlp.data import Source, parts
from klag_trio.otlp.exporter import Exporter as OtlpExporter
from klag_trio.otlp.pusher import OUTCOMES, Outcome, Pusher, Sender
from klag_trio.otlp.settings import Protocol, read_settings
from klag_trio.services.board import Board, Cycle

PATIENCE_SECONDS = 150.0


@attrs.define
class Watched:
    """Passes on what a board publishes and takes note of how each push ends."""

    board: Board
    outcomes: list[Outcome] = attrs.field(factory=list)
    _pushed: trio.Event = attrs.field(factory=trio.Event)

    def lazy_blocks(self) -> list[LazyBlocks]:
        return self.board.lazy_blocks()

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
    endpoint: str,
    interval: float,
    through: Callable[[Sender], Sender] = lambda exporter: exporter,
    *,
    protocol: Protocol = "grpc",
    gzip: bool = True,
) -> AsyncIterator[Watched]:
    """Push a publication of this report to whatever takes OTLP there, for as long as the block runs."""
    otel = Otel(enabled=True, endpoint=endpoint, protocol=protocol, export_interval=interval)
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
    source = Source(settings.resource, "1", time.time())
    pusher = Pusher(
        watched,
        through(OtlpExporter(settings)),
        lambda several: parts(several, source, at=time.time()),
        interval=settings.interval,
        endpoint=settings.endpoint,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(pusher.run)
        yield watched
        nursery.cancel_scope.cancel()
