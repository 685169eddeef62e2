"""One cluster in memory, collected and published in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import trio
from tests.fakes.cluster import InMemoryCluster
from tests.fakes.watched import WatchedAdmin
from tests.unit.domain.snapshots import NOW

from klag_trio.config import Cluster, Exporter, Performance
from klag_trio.domain.offsets import ClusterUnavailable, Fault, GroupListing
from klag_trio.services.board import Board
from klag_trio.services.collector import Collector
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.time_lag import NoTimeLag, TimeLag

POLL, THRESHOLD = 30.0, 90.0
NO_CACHES = Performance(metadata_cache_ttl=0, consumer_groups_cache_ttl=0, compacted_topics_cache_ttl=0)


@attrs.define
class TimedAdmin(WatchedAdmin):
    """Takes its time over listing the groups, and knows when each cycle began."""

    takes: Iterator[float] = attrs.field(factory=lambda: iter(()))
    """Seconds, cycle by cycle; 0 when there are no more."""
    starts: list[float] = attrs.field(factory=list)

    async def groups(self) -> GroupListing:
        self.starts.append(trio.current_time())
        await trio.sleep(next(self.takes, 0))
        return await super().groups()


@attrs.define
class Recycled:
    """A client that only notes when it is recycled, or refuses to be."""

    at: list[float] = attrs.field(factory=list)
    refused: Fault | None = None

    async def recycle(self) -> None:
        self.at.append(trio.current_time())
        if self.refused is not None:
            raise ClusterUnavailable("recycle", self.refused)


@attrs.frozen
class Collected:
    """A cluster and everything that collects it; the topic orders/0 holds 100 records."""

    name: str
    cluster: InMemoryCluster
    admin: TimedAdmin
    client: Recycled
    board: Board
    collector: Collector

    @property
    def starts(self) -> list[float]:
        """When each cycle began."""
        return self.admin.starts


def make_board(*names: str, poll: float = POLL) -> Board:
    return Board(
        [Cluster(name=name, bootstrap_servers="unused:1") for name in names],
        partition_series=True,
        time_lag=False,
        staleness_threshold=THRESHOLD,
        poll_interval=poll,
        log_lines_dropped=lambda: 0,
    )


def collected(
    *,
    name: str = "prod",
    board: Board | None = None,
    performance: Performance = NO_CACHES,
    poll: float = POLL,
    takes: Iterator[float] | None = None,
    time_lag: TimeLag | None = None,
) -> Collected:
    board = board or make_board(name, poll=poll)
    cluster = InMemoryCluster()
    cluster.create_topic("orders")
    cluster.produce("orders", n=100)
    admin = TimedAdmin(cluster, takes=takes or iter(()))
    exporter = Exporter(poll_interval=poll, staleness_threshold=THRESHOLD, performance=performance)
    began = trio.current_time()
    reader = SnapshotReader(
        admin,
        Cluster(name=name, bootstrap_servers="unused:1"),
        performance,
        board.faults(name),
        keep_seconds=THRESHOLD,
        identify_topics=False,
        wall_clock=lambda: NOW + trio.current_time() - began,
    )
    client = Recycled()
    collector = Collector(name, reader, time_lag or NoTimeLag(), client, board, exporter)
    return Collected(name, cluster, admin, client, board, collector)
