"""Pushes what is published to an OpenTelemetry collector, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from random import random
from typing import Literal, Protocol

import attrs
import structlog
import trio

from klag_trio import allocator
from klag_trio.domain.backoff import full_jitter
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.otlp import Request, Source, requests
from klag_trio.services.otlp_channel import ExportError, Rejected
from klag_trio.services.otlp_settings import OtlpSettings
from klag_trio.stopping import LAST_PUSH_SECONDS

Outcome = Literal["success", "partial", "failure"]
OUTCOMES: tuple[Outcome, ...] = ("success", "partial", "failure")
"""All of it arrived; some of it; nothing."""

_BACKOFF_BASE, _BACKOFF_CAP = 1.0, 10.0


class Publication(Protocol):
    """What is pushed."""

    def observations(self) -> Sequence[Observation]:
        """Everything that is published now."""

    def count_export(self, outcome: Outcome) -> None:
        """Take in how a push ended."""


class Sender(Protocol):
    """The way to the collector."""

    async def send(self, body: bytes, seconds: float) -> Rejected:
        """Send an ExportMetricsServiceRequest and return what was rejected of it; raises ExportError."""

    def close(self) -> None:
        """Start over with the next request."""


@attrs.define
class _Progress:
    """How far one push came."""

    sent: int = 0
    """Samples that the collector took."""
    rejected: int = 0
    done: bool = False

    @property
    def outcome(self) -> Outcome:
        if self.done and not self.rejected:
            return "success"
        return "partial" if self.sent else "failure"


class Pusher:
    """Pushes every `interval`, and once more when it is cancelled.

    A push has until the next one is due. What it could not deliver by then is dropped: the next one sends
    newer values of the same series.
    """

    def __init__(
        self, publication: Publication, sender: Sender, source: Source, settings: OtlpSettings
    ) -> None:
        self._publication = publication
        self._sender = sender
        self._source = source
        self._interval = settings.interval
        self._timeout = settings.timeout
        self._log = structlog.get_logger(__name__).bind(endpoint=settings.endpoint)
        self._failing = False
        self._failed_pushes = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Push on schedule, for ever; the last push takes at most LAST_PUSH_SECONDS."""
        task_status.started()
        due = trio.current_time() + self._interval
        try:
            while True:
                await trio.sleep_until(due)
                due = max(due + self._interval, trio.current_time())
                await self._push(until=due)
                # What the push allocated is free again.
                await trio.to_thread.run_sync(allocator.give_back)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._push(until=trio.current_time() + LAST_PUSH_SECONDS)
            raise
        finally:
            self._sender.close()

    async def _push(self, *, until: float) -> None:
        progress = _Progress()
        with trio.move_on_at(until) as scope:
            try:
                await self._deliver(progress)
            except ExportError as error:
                self._fails(error.code, error.reason)
        if scope.cancelled_caught:
            self._sender.close()
            self._fails("DEADLINE_EXCEEDED", "the push did not end in time")
        self._publication.count_export(progress.outcome)
        self._end(progress)

    async def _deliver(self, progress: _Progress) -> None:
        pending = requests(self._publication.observations(), self._source)
        while (request := await trio.to_thread.run_sync(next, pending, None)) is not None:
            rejected = await self._send(request)
            if rejected.samples:
                self._fails("REJECTED", rejected.reason)
            progress.rejected += rejected.samples
            progress.sent += request.samples - rejected.samples
        progress.done = True

    async def _send(self, request: Request) -> Rejected:
        failures = 0
        while True:
            try:
                return await self._sender.send(request.body, self._timeout)
            except ExportError as error:
                self._sender.close()
                if not error.retryable:
                    raise
                self._fails(error.code, error.reason)
                failures += 1
                delay = full_jitter(failures, base=_BACKOFF_BASE, cap=_BACKOFF_CAP, random=random())  # noqa: S311
                # A collector may ask for more, and by 0 asks for what we think right.
                await trio.sleep(max(delay, error.delay or 0.0))

    def _fails(self, code: str, reason: str) -> None:
        if not self._failing:
            self._log.warning("OTLP export fails", code=code, reason=reason)
        self._failing = True

    def _end(self, progress: _Progress) -> None:
        if progress.outcome != "success":
            self._failed_pushes += 1
        elif self._failing:
            self._log.info("OTLP export works again", failed_pushes=self._failed_pushes)
            self._failing, self._failed_pushes = False, 0
