"""What is published: the newest report and bytes of each cluster, swapped in whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs
import trio

from klag_trio import __version__
from klag_trio.computing import compute
from klag_trio.config import Cluster
from klag_trio.domain.history import History
from klag_trio.domain.lag import LagReport
from klag_trio.exposition import samples, text
from klag_trio.exposition.body import Body
from klag_trio.exposition.pages.state import ClusterState, Published
from klag_trio.services.faults import FaultLog
from klag_trio.services.runtime_metrics import RuntimeMetrics
from klag_trio.services.tenure import Tenure


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


class RenderingError(Exception):
    """A bug: the report of one cluster cannot be rendered; its cause says why."""


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
    history: History = attrs.field(factory=History)


@attrs.frozen
class _Publication:
    """What is handed out until the next one is made."""

    bodies: text.Bodies
    blocks: Sequence[samples.Block]
    """The samples that are not lag."""


class Board:
    """Takes reports in and hands bytes out.

    Bytes are made in a worker thread, one publication at a time, after every cycle, when a cluster turns
    stale and when leadership changes. Reading them never waits.

    With a `tenure` there are two sets of bytes, one of them without lag, and each request gets what is true
    at that moment: a replica that was stopped for a while wakes up with bytes that it may no longer serve.
    """

    def __init__(
        self,
        clusters: Sequence[Cluster],
        *,
        partition_series: bool,
        time_lag: bool,
        staleness_threshold: float,
        poll_interval: float,
        log_lines_dropped: Callable[[], int],
        tenure: Tenure | None = None,
    ) -> None:
        self._entries = {
            cluster.name: _Entry(cluster, FaultLog(cluster.name), Reads()) for cluster in clusters
        }
        self._partition_series = partition_series
        self._time_lag = time_lag
        self._staleness_threshold = staleness_threshold
        self._poll_interval = poll_interval
        self._log_lines_dropped = log_lines_dropped
        self._runtime = RuntimeMetrics()
        self._tenure = tenure
        self._started = trio.current_time()
        self._as_of = self._started
        self._exports: dict[str, int] = {}
        self._reloads: dict[str, int] = {}
        self._values_cut = 0
        self._publishing = trio.Lock()
        self._changed = trio.Event()
        self._shared = text.prefix([])
        self._finish()

    def faults(self, cluster: str) -> FaultLog:
        """The fault log of a cluster."""
        return self._entries[cluster].faults

    def reads(self, cluster: str) -> Reads:
        """The read counts of a cluster."""
        return self._entries[cluster].reads

    # What the collectors say.

    async def publish(self, name: str, cycle: Cycle) -> None:
        """Take in a cycle, good or not, and publish what follows from it.

        Raises:
            RenderingError: its report cannot be rendered; nothing has changed.

        """
        entry = self._entries[name]
        lines = entry.lines
        if cycle.report is not None:
            try:
                lines, history, values_cut = await compute(
                    self._rendered, entry.cluster, cycle.report, entry.history
                )
            except Exception as exc:
                raise RenderingError from exc
            entry.report, entry.history = cycle.report, history
            entry.clamped += cycle.report.clamped
            self._values_cut += values_cut
            # As old as its offsets are: a cycle that took long is not stale as soon as it is done.
            read = cycle.started + (cycle.poll_seconds or 0.0)
            entry.fresh_until = read + self._staleness_threshold
        entry.cycle, entry.up = cycle, cycle.report is not None
        entry.faults.end_cycle(good=entry.up)
        await self._swap({name: lines}, measured=entry)
        self._changed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish again whenever a cluster turns stale, until cancelled."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            # When none is fresh, kafka_lag_exporter_up turns 0 once the threshold has passed since the start.
            ends = [self._started + self._staleness_threshold]
            ends.extend(entry.fresh_until for entry in self._entries.values())
            if not self.is_leader():
                # No cycle renews what a standby says about its process.
                ends.append(self._as_of + self._poll_interval)
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
        self._finish()

    # What the elector says.

    async def change_term(self) -> None:
        """Start over without lag: what happened under another leader is not in what this one has read."""
        async with self._publishing:
            for entry in self._entries.values():
                entry.report, entry.cycle, entry.lines = None, None, {}
                entry.up, entry.fresh_until, entry.history = False, 0.0, History()
                entry.faults.end_term()
            self._started = self._as_of = trio.current_time()
            self._shared = text.prefix([])
            self._finish()
        self._changed.set()

    def count_reload(self, outcome: str) -> None:
        """Take in what became of a change of the web config."""
        self._reloads[outcome] = self._reloads.get(outcome, 0) + 1
        self._finish()

    def expect_reloads(self, outcomes: Sequence[str]) -> None:
        """Publish the counts of these outcomes before there is any."""
        self._reloads = dict.fromkeys(outcomes, 0)
        self._finish()

    # What the web and the pusher ask.

    def metrics(self, *, openmetrics: bool) -> Body:
        """The newest bytes in one of the two formats."""
        bodies = self._leading.bodies if self.is_leader() else self._standing_by.bodies
        return bodies.openmetrics if openmetrics else bodies.text

    def lazy_blocks(self) -> list[samples.LazyBlocks]:
        """All samples of ours that `metrics` shows: the lag of each fresh cluster, then the rest."""
        leading, standing_by = self._leading.blocks, self._standing_by.blocks
        if not self.is_leader():
            return [lambda: standing_by]
        lag = [
            partial(self._blocks_while_leading, entry.cluster, entry.report)
            for entry in self._entries.values()
            if entry.report is not None and self._fresh(entry)
        ]
        return [*lag, lambda: leading if self.is_leader() else standing_by]

    def unready(self) -> str | None:
        """None while a cluster has fresh metrics, else the reason in one line."""
        if self._tenure is not None and not self._tenure.holds():
            return self._tenure.reason()
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
        """Whether this process collects, at this moment."""
        return self._tenure is None or self._tenure.holds()

    def published(self) -> Published:
        """What there is to show to people; a stale report is left out, as it is of the metrics."""
        return Published(
            version=__version__,
            now=time.time(),
            leader=self.is_leader(),
            poll_interval=self._poll_interval,
            staleness_threshold=self._staleness_threshold,
            clusters=[self._cluster_state(entry) for entry in self._entries.values()],
        )

    def _cluster_state(self, entry: _Entry) -> ClusterState:
        return ClusterState(
            name=entry.cluster.name,
            report=entry.report if self.is_leader() and self._fresh(entry) else None,
            last_good=None if entry.report is None else entry.report.now,
            failing=entry.cycle is not None and not entry.up,
            history=entry.history,
            phases={} if entry.cycle is None else entry.cycle.phases,
            cycle_seconds=None if entry.cycle is None else entry.cycle_seconds,
            overruns=entry.overruns,
            unread_partitions=entry.reads.unread_partitions,
            faults=entry.faults.lasting,
        )

    # How bytes are made.

    def _rendered(
        self, cluster: Cluster, report: LagReport, history: History
    ) -> tuple[text.Lines, History, int]:
        """The lines of a report, the history with it, and how many label values were cut."""
        lag = self._lag_blocks(cluster, report)
        return text.lines(lag.blocks), history.add(report), lag.values_cut

    def _lag_blocks(self, cluster: Cluster, report: LagReport) -> samples.LagBlocks:
        return samples.lag_blocks(
            cluster.name,
            cluster.labels,
            report,
            partition_series=self._partition_series,
            time_lag=self._time_lag,
        )

    def _blocks_while_leading(self, cluster: Cluster, report: LagReport) -> list[samples.Block]:
        # A push asks for one cluster after the other, and may take long.
        return self._lag_blocks(cluster, report).blocks if self.is_leader() else []

    async def _swap(self, lines: Mapping[str, text.Lines], measured: _Entry | None = None) -> None:
        async with self._publishing:
            for name, new in lines.items():
                self._entries[name].lines = new
            self._as_of = trio.current_time()
            fresh = [entry.lines for entry in self._entries.values() if self._fresh(entry)]
            self._shared = await compute(text.prefix, fresh)
            if measured is not None and measured.cycle is not None:
                measured.cycle_seconds = trio.current_time() - measured.cycle.started
                measured.overruns += measured.cycle_seconds > self._poll_interval
            self._finish()

    def _finish(self) -> None:
        extra = self._runtime.render()
        self._leading = self._publication(self._shared, extra, leader=True)
        # It is not asked for where there is no election.
        self._standing_by = (
            self._leading if self._tenure is None else self._publication(text.prefix([]), extra, leader=False)
        )

    def _publication(
        self, shared: text.Prefix, extra: Mapping[text.Format, bytes], *, leader: bool
    ) -> _Publication:
        blocks = [
            block
            for entry in self._entries.values()
            for block in samples.cluster_blocks(self._status(entry, leader=leader))
        ]
        up = self._up() if leader else None
        blocks += samples.process_blocks(
            version=__version__,
            up=up,
            leader=leader,
            values_cut=self._values_cut,
            log_lines_dropped=self._log_lines_dropped(),
            exports=self._exports,
            reloads=self._reloads,
        )
        bodies = text.finish(shared, [text.lines(blocks)], extra=extra)
        return _Publication(bodies, blocks)

    def _fresh(self, entry: _Entry) -> bool:
        return trio.current_time() < entry.fresh_until

    def _up(self) -> bool | None:
        if any(map(self._fresh, self._entries.values())):
            return True
        return False if trio.current_time() >= self._started + self._staleness_threshold else None

    def _status(self, entry: _Entry, *, leader: bool) -> samples.ClusterStatus:
        report = entry.report if leader and self._fresh(entry) else None
        cycle = entry.cycle if leader else None
        return samples.ClusterStatus(
            name=entry.cluster.name,
            labels=entry.cluster.labels,
            up=entry.up and report is not None if leader else None,
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
