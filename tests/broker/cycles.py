"""Cycles of one cluster with its time lag, one at a time, without publishing what they find."""

from __future__ import annotations

import re
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio
from tests.broker.reading import FETCH_TIMEOUT, WITHIN
from tests.broker.worlds import NO_CACHES

from klag_trio.config import Cluster
from klag_trio.domain.lag import EMPTY_REPORT, LagReport, PartitionLag, policies_wanted, report
from klag_trio.domain.patterns import NamePattern
from klag_trio.domain.time_lag import TimestampCache
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client
from klag_trio.kafka.record_reader import RecordReader
from klag_trio.services.board import Reads
from klag_trio.services.faults import FaultLog
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.stopwatch import Stopwatch
from klag_trio.services.time_lag import MessageTimeLag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

Rows = dict[tuple[str, str, int], PartitionLag]

PENALTY = 30.0
TTL = 60.0


@attrs.define
class Cycles:
    """Reads what the names that begin with a prefix lag behind; `clock` runs ahead by what a test adds."""

    snapshots: SnapshotReader
    time_lag: MessageTimeLag
    faults: FaultLog
    reads: Reads
    ahead: list[float]
    last: LagReport = EMPTY_REPORT
    seconds: float = 0.0
    """What finding the time lag took in the last cycle."""

    async def run(
        self, meanwhile: Callable[[], None] | None = None, after_reading: Callable[[], None] | None = None
    ) -> Rows:
        """One cycle; returns the rows by group, topic and partition.

        `meanwhile` is done between the offsets and the reading, `after_reading` before the policies.
        """
        snapshot = await self.snapshots.snapshot(Stopwatch())
        if meanwhile is not None:
            await trio.to_thread.run_sync(meanwhile)
        start = trio.current_time()
        records = await self.time_lag.first_records(snapshot, within=WITHIN)
        self.seconds = trio.current_time() - start
        if after_reading is not None:
            after_reading()
        policies = await self.snapshots.policies.of(policies_wanted(snapshot, records))
        self.last = report(
            snapshot, records=records, policies=policies, previous=self.last, keep_after=snapshot.now - 90
        )
        self.faults.end_cycle()
        return {
            (name, row.topic, row.partition): row
            for name, group in self.last.groups.items()
            for row in group.partitions
        }

    def errors(self) -> Counter[str]:
        """How often each error came up in reading timestamps, by its code."""
        counts = Counter[str]()
        for (stage, code), count in self.faults.counts.items():
            if stage == "timestamps":
                counts[code] += count
        return counts

    def wait(self, seconds: float) -> None:
        """Let the wall clock run ahead."""
        self.ahead[0] += seconds


@asynccontextmanager
async def cycles_of(
    bootstrap: str,
    prefix: str,
    *,
    skip_data_loss: bool = False,
    fetch_timeout: float = FETCH_TIMEOUT,
    max_concurrent_fetches: int = 10,
    properties: Mapping[str, str] | None = None,
) -> AsyncIterator[Cycles]:
    """Cycles over the groups and topics whose names begin so."""
    client = await Client.open(
        "cycles", {"bootstrap.servers": bootstrap, **(properties or {})}, threads=8, timeout=10
    )
    mine = (NamePattern(f"^{re.escape(prefix)}"),)
    cluster = Cluster(name="cycles", bootstrap_servers=bootstrap, group_whitelist=mine, topic_whitelist=mine)
    faults, reads, ahead = FaultLog("cycles"), Reads(), [0.0]
    admin = KafkaAdmin(client, max_concurrent_groups=10, offset_fetch_timeout=10)
    snapshots = SnapshotReader(
        admin,
        cluster,
        NO_CACHES,
        faults,
        keep_seconds=60,
        identify_topics=True,
        wall_clock=lambda: time.time() + ahead[0],
    )
    reader = RecordReader(client, max_concurrent_fetches=max_concurrent_fetches, fetch_timeout=fetch_timeout)
    time_lag = MessageTimeLag(
        reader,
        TimestampCache(ttl=TTL, first_penalty=PENALTY),
        snapshots.policies.of,
        admin.earliest,
        faults,
        reads,
        skip_data_loss=skip_data_loss,
    )
    try:
        yield Cycles(snapshots, time_lag, faults, reads, ahead)
    finally:
        await reader.aclose()
        assert await client.aclose()
