"""One cluster: cycle, publish, back off."""

from __future__ import annotations

import traceback
from random import random
from typing import Protocol

import attrs
import structlog
import trio

from klag_trio import allocator
from klag_trio.computing import compute
from klag_trio.config import Exporter
from klag_trio.domain.backoff import full_jitter
from klag_trio.domain.lag import EMPTY_REPORT, LagReport, policies_wanted, report
from klag_trio.domain.offsets import ClusterUnavailable, Fault
from klag_trio.services.board import Board, Cycle, RenderingError
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.stopwatch import Stopwatch
from klag_trio.services.time_lag import TimeLag
from klag_trio.shortage import shortage

_BACKOFF_BASE = 1.0
_RECYCLE = "recycle"


class Recyclable(Protocol):
    """The client behind the reader."""

    async def recycle(self) -> None:
        """Start over with a new client."""


class Collector:
    """Collects one cluster until it is cancelled.

    Whatever goes wrong in a cycle marks the cluster down and backs off. An exception that is no expected
    error of Kafka's is a bug: its traceback is logged, and it ends the cycle of this cluster only, since a
    stranger may have written into it what caused it.
    """

    def __init__(
        self,
        name: str,
        reader: SnapshotReader,
        time_lag: TimeLag,
        client: Recyclable,
        board: Board,
        exporter: Exporter,
    ) -> None:
        self._name = name
        self._reader = reader
        self._time_lag = time_lag
        self._client = client
        self._board = board
        self._interval = exporter.poll_interval
        self._threshold = exporter.staleness_threshold
        self._recycle_interval = exporter.performance.client_recycle_interval
        self._log = structlog.get_logger(__name__).bind(cluster=name)
        self._last: LagReport = EMPTY_REPORT
        self._refused: Fault | None = None
        self._logged_bug: str | None = None
        """The bug of the last cycle, which is logged once however many cycles it ends."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start a cycle every poll_interval; one that overran is followed by the next at once."""
        task_status.started()
        try:
            await self._cycles()
        finally:
            # Ending a connection waits for librdkafka's threads, and nobody else does it off the event loop.
            with trio.CancelScope(shield=True):
                await self._time_lag.recycle()

    async def _cycles(self) -> None:
        failures = 0
        cycles = 0
        due = trio.current_time()
        while True:
            await trio.sleep_until(due)
            started = trio.current_time()
            good = await self._cycle(started)
            cycles += 1
            if self._recycle_interval and cycles % self._recycle_interval == 0:
                await self._recycle()
            if good:
                failures = 0
                due = _next_start(due, trio.current_time(), self._interval)
            else:
                failures += 1
                delay = full_jitter(failures, base=_BACKOFF_BASE, cap=self._interval, random=random())  # noqa: S311
                # From its start on: one that waited in vain has let the cluster rest long enough.
                due = max(trio.current_time(), started + delay)

    async def _recycle(self) -> None:
        await self._time_lag.recycle()
        # Neither lets itself be cancelled, and a stop has time for one of them (klag_trio.stopping).
        await trio.lowlevel.checkpoint()
        self._refused = None
        try:
            await self._client.recycle()
        except ClusterUnavailable as exc:
            self._board.faults(self._name).record(_RECYCLE, "", exc.fault)
            self._refused = exc.fault

    async def _cycle(self, started: float) -> bool:
        if self._refused is not None:
            self._board.faults(self._name).lasts(_RECYCLE, "", self._refused)
        watch = Stopwatch()
        found: LagReport | None = None
        try:
            with trio.fail_after(self._threshold):
                found = await self._collect(watch, started + self._threshold)
        except* ClusterUnavailable as unavailable:
            self._record(unavailable)
        except* trio.TooSlowError:
            late = Fault("_TIMED_OUT", "the cycle did not end within exporter.staleness_threshold")
            self._board.faults(self._name).record("cycle", "", late)
        except* Exception as bugs:
            self._record_bug(bugs)
        found = await self._publish(Cycle(started, watch.phases, watch.polled, found))
        if found is not None:
            self._last, self._logged_bug = found, None
        # What the cycle allocated is free again: a fifth of the resident memory of a large cluster.
        await compute(allocator.give_back)
        self._log.debug(
            "cycle", good=found is not None, seconds=trio.current_time() - started, **watch.phases
        )
        return found is not None

    def _record(self, unavailable: BaseExceptionGroup[ClusterUnavailable]) -> None:
        # Not in the frame that caught it: a name there would make a ring of the error, its traceback and the
        # frame, and what the frames hold, Kafka clients among it, would live until the next collection.
        for exc in leaves(unavailable):
            self._board.faults(self._name).record(exc.stage, "", exc.fault)

    async def _publish(self, cycle: Cycle) -> LagReport | None:
        """Publish the cycle, and return its report where that can be rendered."""
        try:
            await self._board.publish(self._name, cycle)
        except RenderingError as exc:
            self._record_bug(exc)
            cycle = attrs.evolve(cycle, report=None)
            await self._board.publish(self._name, cycle)
        return cycle.report

    def _record_bug(self, bug: Exception) -> None:
        if missing := shortage(bug):
            fault = Fault("_CRIT_SYS_RESOURCE", missing, retriable=True)
            self._board.faults(self._name).record("cycle", "", fault)
            return
        said = "".join(traceback.format_exception(bug))
        if said != self._logged_bug:
            self._log.error("a bug ended the cycle", exc_info=bug)
            self._logged_bug = said
        message = "a bug of klag-trio ended the cycle; the log has its traceback"
        self._board.faults(self._name).record("cycle", "", Fault("bug", message))

    async def _collect(self, watch: Stopwatch, deadline: float) -> LagReport:
        snapshot = await self._reader.snapshot(watch)
        with watch("timestamps"):
            # At most half of what is left: reading may not cost the offsets that are here already.
            within = (deadline - trio.current_time()) / 2
            records = await self._time_lag.first_records(snapshot, within=within)
        with watch("policies"):
            # Half of what is left, as for reading: flags may be wrong for a cycle, offsets may not be lost.
            within = (deadline - trio.current_time()) / 2
            policies = await self._reader.policies.of(policies_wanted(snapshot, records), within=within)
        with watch("report"):
            return await compute(
                lambda: report(
                    snapshot,
                    records=records,
                    policies=policies,
                    previous=self._last,
                    keep_after=snapshot.now - self._threshold,
                )
            )


def _next_start(due: float, now: float, interval: float) -> float:
    """The next start of the schedule, or the last one missed: a cycle that overran starts the next at once.

    Either way it lies on the schedule, so that later cycles start when they always did.
    """
    following = due + interval
    return following if now <= following else now - (now - following) % interval


def leaves(group: BaseExceptionGroup[ClusterUnavailable]) -> list[ClusterUnavailable]:
    """The errors of a group, nested ones too."""
    found: list[ClusterUnavailable] = []
    for exc in group.exceptions:
        found.extend(leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc])
    return found
