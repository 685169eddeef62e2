"""Pushes what is published to an OpenTelemetry collector, on schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import structlog
import trio

from klag_trio import allocator
from klag_trio.exposition.samples import LazyBlocks
from klag_trio.otlp.exporter import ExportError
from klag_trio.stopping import LAST_PUSH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.metrics.export import MetricsData

Outcome = Literal["success", "failure"]
OUTCOMES: tuple[Outcome, ...] = ("success", "failure")
"""All of it arrived; some of it or nothing."""


class Publication(Protocol):
    """What is pushed."""

    def lazy_blocks(self) -> Sequence[LazyBlocks]:
        """Everything that is published now."""

    def count_export(self, outcome: Outcome) -> None:
        """Take in how a push ended."""


class Sender(Protocol):
    """The way to the collector."""

    async def export(self, part: MetricsData) -> None:
        """Hand over a part; raises ExportError."""

    def close(self) -> None:
        """Start over with the next part."""


class Pusher:
    """Pushes every `interval` seconds, and once more when it is cancelled.

    A push has until the next one is due, and ends with the first part that does not arrive: the next push
    sends newer values of the same series.
    """

    def __init__(
        self,
        publication: Publication,
        sender: Sender,
        parts: Callable[[Sequence[LazyBlocks]], Iterator[MetricsData]],
        *,
        interval: float,
        endpoint: str,
    ) -> None:
        """`parts` makes what the sender takes, which takes a while, each when it is asked for."""
        self._publication = publication
        self._sender = sender
        self._parts = parts
        self._interval = interval
        self._log = structlog.get_logger(__name__).bind(endpoint=endpoint)
        self._failed_pushes = 0
        self._pushing = trio.CancelScope()
        self._leaves_off = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Push on schedule until cancelled; the last push takes at most LAST_PUSH_SECONDS."""
        task_status.started()
        due = trio.current_time() + self._interval
        try:
            while True:
                await trio.sleep_until(due)
                due = trio.current_time() + self._interval
                await self._push(until=due)
                # What the push allocated is free again.
                await trio.to_thread.run_sync(allocator.give_back)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._push(until=trio.current_time() + LAST_PUSH_SECONDS)
            raise
        finally:
            self._sender.close()

    def leave_off(self) -> None:
        """Give up the push in progress, if there is one: what it sends may not be said any more."""
        self._leaves_off = True
        self._pushing.cancel()

    async def _push(self, *, until: float) -> None:
        reason: str | None = "the push did not end in time"
        self._leaves_off = False
        with trio.move_on_at(until) as self._pushing:
            try:
                pending = self._parts(self._publication.lazy_blocks())
                while (part := await trio.to_thread.run_sync(next, pending, None)) is not None:
                    await self._sender.export(part)
                reason = None
            except ExportError as error:
                reason = str(error)
        self._publication.count_export("success" if reason is None else "failure")
        if not (self._leaves_off and reason):
            self._tell(reason)

    def _tell(self, reason: str | None) -> None:
        if reason is not None:
            if not self._failed_pushes:
                self._log.warning("OTLP export fails", reason=reason)
            self._failed_pushes += 1
        elif self._failed_pushes:
            self._log.info("OTLP export works again", failed_pushes=self._failed_pushes)
            self._failed_pushes = 0
