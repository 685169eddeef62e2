"""One cluster in memory or for real: what it is asked through, and what acts on it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Literal, Protocol

import attrs
from tests.fakes.watched import WatchedAdmin

from klag_trio.config import Cluster, Performance
from klag_trio.domain.patterns import NamePattern
from klag_trio.services.faults import FaultLog
from klag_trio.services.snapshot import SnapshotReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from tests.broker.records import Record

NO_CACHES = Performance(metadata_cache_ttl=0, consumer_groups_cache_ttl=0, compacted_topics_cache_ttl=0)


class JoinedMember(Protocol):
    """A consumer that is in a group."""

    member_id: str
    assignment: frozenset[tuple[str, int]]

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None: ...


class Driver(Protocol):
    """What both the in-memory cluster and KafkaDriver let a test do."""

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str: ...
    def create_partitions(self, topic: str, total: int) -> None: ...
    def configure_topic(self, topic: str, config: Mapping[str, str]) -> None: ...
    def delete_topic(self, name: str) -> None: ...
    def produce(self, topic: str, partition: int = 0, n: int = 1) -> list[Record]: ...
    def delete_records(self, topic: str, partition: int, before_offset: int) -> None: ...
    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]: ...
    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None: ...
    def delete_group(self, group: str) -> None: ...
    def consuming(
        self,
        group: str,
        topics: Sequence[str],
        *,
        protocol: Literal["classic", "consumer"] = "classic",
        client_id: str = "klag-test",
    ) -> AbstractContextManager[JoinedMember]: ...


@attrs.frozen
class World:
    """A cluster: asked through `admin`, acted on through `driver`."""

    admin: WatchedAdmin
    driver: Driver
    has_both_protocols: bool
    """Whether groups of KIP-848 are there."""

    def reader(
        self,
        prefix: str,
        *,
        performance: Performance = NO_CACHES,
        group_blacklist: Sequence[str] = (),
        topic_blacklist: Sequence[str] = (),
        identify_topics: bool = False,
    ) -> SnapshotReader:
        """A reader of the groups and topics whose names begin so."""
        mine = (NamePattern(f"^{re.escape(prefix)}"),)
        cluster = Cluster(
            name="world",
            bootstrap_servers="unused:1",
            group_whitelist=mine,
            topic_whitelist=mine,
            group_blacklist=tuple(map(NamePattern, group_blacklist)),
            topic_blacklist=tuple(map(NamePattern, topic_blacklist)),
        )
        return SnapshotReader(
            self.admin,
            cluster,
            performance,
            FaultLog("world"),
            keep_seconds=60,
            identify_topics=identify_topics,
            wall_clock=time.time,
        )
