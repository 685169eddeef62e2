"""What is published: the newest report and bytes of each cluster, swapped in whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import attrs
import trio

from klag_trio import __version__
from klag_trio.config import Cluster
from klag_trio.domain.lag import LagReport
from klag_trio.exposition import samples, text
from klag_trio.exposition.body import Body
from klag_trio.exposition.observation import Observation
from klag_trio.services.faults import FaultLog
from klag_trio.services.runtime_metrics import RuntimeMetrics


@attrs.frozen
class Cycle:
    """How one cycle went."""

    started: float
    """On Trio's clock."""
    phases: Mapping[str, float]
    """Seconds."""
    poll_seconds: float | None
    """What asking Kafka for all offsets took; None where it was not finished."""
    report: LagReport | None
    """None where the cluster did not answer."""


@attrs.define
class Reads:
    """What reading record timestamps took, since the start and in the last cycle."""

    records: int = 0
    bytes: int = 0
    unread_partitions: int = 0


@attrs.define
class _Entry:
    """What is known of one cluster."""

    cluster: Cluster
    faults: FaultLog
    reads: Reads
    report: LagReport | None = None
    fresh_until: float = 0.0
    """On Trio's clock."""
    lines: text.Lines = attrs.field(factory=dict)
    up: bool = False
    cycle: Cycle | None = None
    cycle_seconds: float = 0.0
    overruns: int = 0
    clamped: int = 0


@attrs.frozen
class PublishedCluster:
    """How one cluster is doing, for the page."""

    name: str
    up: bool
    last_update: float | None
    error: str | None
    groups: int
    partitions: int
    sum_lag: int


class Board:
    """Takes reports in and hands bytes out.

    Bytes are made in a worker thread, one publication at a time, after every cycle, when a cluster turns
    stale and when leadership changes. Reading them never waits.
    """

    def __init__(
        self,
        clusters: Sequence[Cluster],
        *,
        partition_series: bool,
        time_lag: bool,
        staleness_threshold: float,
        poll_interval: float,
    ) -> None:
        self._entries = {
            cluster.name: _Entry(cluster, FaultLog(cluster.name), Reads()) for cluster in clusters
        }
        self._partition_series = partition_series
        self._time_lag = time_lag
        self._staleness_threshold = staleness_threshold
        self._poll_interval = poll_interval
        self._runtime = RuntimeMetrics()
        self._leader = True
        self._started = trio.current_time()
        self._as_of = self._started
        self._exports: dict[str, int] = {}
        self._status_observed = Observation(time.time(), list)
        self._publishing = trio.Lock()
        self._changed = trio.Event()
        self._shared = text.prefix([])
        self._bodies = self._finish()

    def faults(self, cluster: str) -> FaultLog:
        """The fault log of a cluster."""
        return self._entries[cluster].faults

    def reads(self, cluster: str) -> Reads:
        """The read counts of a cluster."""
        return self._entries[cluster].reads

    # What the collectors say.

    async def publish(self, name: str, cycle: Cycle) -> None:
        """Take in a cycle, good or not, and publish what follows from it."""
        entry = self._entries[name]
        entry.faults.end_cycle()
        entry.cycle, entry.up = cycle, cycle.report is not None
        lines = entry.lines
        if cycle.report is not None:
            entry.clamped += cycle.report.clamped
            entry.report = cycle.report
            blocks = self._lag_blocks
            report = cycle.report
            lines = await trio.to_thread.run_sync(lambda: text.lines(blocks(entry.cluster, report)))
            # As old as its offsets are: a cycle that took long is not stale as soon as it is done.
            read = cycle.started + (cycle.poll_seconds or 0.0)
            entry.fresh_until = read + self._staleness_threshold
        await self._swap({name: lines}, measured=entry)
        self._changed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish anew whenever a cluster turns stale, for ever."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            # When none is fresh, kafka_lag_exporter_up turns 0 once the threshold has passed since the start.
            ends = [self._started + self._staleness_threshold]
            ends.extend(entry.fresh_until for entry in self._entries.values())
            # What ended while the newest bytes were made is still in them, and so is due at once.
            due = min((end for end in ends if end > self._as_of), default=float("inf"))
            with trio.move_on_at(due) as scope:
                await self._changed.wait()
            if scope.cancelled_caught:
                await self._swap({})

    def count_export(self, outcome: str) -> None:
        """Take in how an OTLP export ended; the next publication tells it."""
        self._exports[outcome] = self._exports.get(outcome, 0) + 1

    def expect_exports(self, outcomes: Sequence[str]) -> None:
        """Publish the counts of these outcomes before there is any."""
        self._exports = dict.fromkeys(outcomes, 0)
        self._bodies = self._finish()

    # What the web and the pusher ask.

    def metrics(self, *, openmetrics: bool) -> Body:
        """The newest bytes in one of the two formats."""
        return self._bodies.openmetrics if openmetrics else self._bodies.text

    def observations(self) -> list[Observation]:
        """The newest samples, all that `metrics` shows of ours: the lag of each fresh cluster, then the rest.

        Lag held true when its offsets were read, the rest when it was published.
        """
        lag = [
            Observation(entry.report.now, partial(self._lag_blocks, entry.cluster, entry.report))
            for entry in self._entries.values()
            if entry.report is not None and self._fresh(entry)
        ]
        return [*lag, self._status_observed]

    def unready(self) -> str | None:
        """None while a cluster has fresh metrics, else the reason in one line."""
        if any(map(self._fresh, self._entries.values())):
            return None
        reasons = [f"cluster {name}: {self._reason(entry)}" for name, entry in self._entries.items()]
        return "no fresh metrics; " + "; ".join(reasons)

    def _reason(self, entry: _Entry) -> str:
        if (error := _error(entry)) is not None:
            return error
        if entry.report is None:
            return "no cycle finished yet"
        return f"the last good cycle is more than {self._staleness_threshold:g} s old"

    def is_leader(self) -> bool:
        """Whether this process collects."""
        return self._leader

    def clusters(self) -> list[PublishedCluster]:
        """How each cluster is doing."""
        return [
            PublishedCluster(
                name=name,
                up=self._fresh(entry),
                last_update=None if entry.report is None else entry.report.now,
                error=_error(entry),
                groups=0 if entry.report is None else len(entry.report.groups),
                partitions=0 if entry.report is None else len(entry.report.offsets),
                sum_lag=0 if entry.report is None else sum(g.sum_lag for g in entry.report.groups.values()),
            )
            for name, entry in self._entries.items()
        ]

    # How bytes are made.

    def _lag_blocks(self, cluster: Cluster, report: LagReport) -> list[samples.Block]:
        return samples.lag_blocks(
            cluster.name,
            cluster.labels,
            report,
            partition_series=self._partition_series,
            time_lag=self._time_lag,
        )

    async def _swap(self, lines: Mapping[str, text.Lines], measured: _Entry | None = None) -> None:
        async with self._publishing:
            for name, new in lines.items():
                self._entries[name].lines = new
            self._as_of = trio.current_time()
            fresh = [entry.lines for entry in self._entries.values() if self._fresh(entry)]
            self._shared = await trio.to_thread.run_sync(text.prefix, fresh)
            if measured is not None and measured.cycle is not None:
                measured.cycle_seconds = trio.current_time() - measured.cycle.started
                measured.overruns += measured.cycle_seconds > self._poll_interval
            self._bodies = self._finish()

    def _finish(self) -> text.Bodies:
        status = [
            block for entry in self._entries.values() for block in samples.cluster_blocks(self._status(entry))
        ]
        process = samples.process_blocks(
            version=__version__, up=self._up(), leader=self._leader, exports=self._exports
        )
        blocks = [*status, *process]
        self._status_observed = Observation(time.time(), lambda: blocks)
        return text.finish(self._shared, [text.lines(blocks)], extra=self._runtime.render())

    def _fresh(self, entry: _Entry) -> bool:
        return trio.current_time() < entry.fresh_until

    def _up(self) -> bool | None:
        if any(map(self._fresh, self._entries.values())):
            return True
        return False if trio.current_time() >= self._started + self._staleness_threshold else None

    def _status(self, entry: _Entry) -> samples.ClusterStatus:
        report = entry.report if self._fresh(entry) else None
        cycle = entry.cycle
        return samples.ClusterStatus(
            name=entry.cluster.name,
            labels=entry.cluster.labels,
            up=entry.up and report is not None,
            overruns=entry.overruns,
            errors=entry.faults.counts,
            clamped=entry.clamped,
            reads=entry.reads.records,
            read_bytes=entry.reads.bytes,
            phases={} if cycle is None else cycle.phases,
            cycle_seconds=None if report is None else entry.cycle_seconds,
            poll_seconds=None if report is None or cycle is None else cycle.poll_seconds,
            last_update=None if report is None else report.now,
            compacted_partitions=None if report is None else report.compacted_partitions,
            data_loss_partitions=None if report is None else report.data_loss_partitions,
            unread_partitions=None if report is None else entry.reads.unread_partitions,
        )


def _error(entry: _Entry) -> str | None:
    for stage, subject, fault in entry.faults.lasting:
        if not subject:
            return f"{stage}: {fault.message} ({fault.code})"
    return None
