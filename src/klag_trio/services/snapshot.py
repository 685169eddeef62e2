"""One cycle's questions to a cluster, in the right order, with what need not be asked each time kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

import attrs
import trio

from klag_trio.config import Cluster, Performance
from klag_trio.domain.filters import NameFilter
from klag_trio.domain.offsets import (
    GROUP_GONE,
    ClusterSnapshot,
    ClusterUnavailable,
    Commits,
    ConsumerGroup,
    Fault,
    GroupDescription,
    GroupState,
    TopicPartition,
)
from klag_trio.services.cached import Cached
from klag_trio.services.cluster_admin import ClusterAdmin, attempt, is_gone, is_silence
from klag_trio.services.faults import FaultLog
from klag_trio.services.group_reader import Descriptions, GroupReader
from klag_trio.services.listing import Listed, Listing
from klag_trio.services.policies import CleanupPolicies
from klag_trio.services.stopwatch import Stopwatch

# The part of its timeout after which a call is not waited for before the next is made.
_SOON = 0.1


@attrs.define
class _Surroundings:
    """What is there, as far as it was told."""

    partitions: Sequence[TopicPartition]
    groups: Listed
    groups_were_cached: bool
    earliest: Mapping[TopicPartition, int | Fault] = attrs.field(factory=dict)
    topic_ids: dict[str, str | Fault] = attrs.field(factory=dict)


class SnapshotReader:
    """Reads snapshots of one cluster.

    Filters act before any request for a group or topic is made. Errors of single groups and partitions go
    to the fault log and leave the snapshot without those; only a cluster that does not answer at all for
    groups, topics or watermarks raises.
    """

    def __init__(
        self,
        admin: ClusterAdmin,
        cluster: Cluster,
        performance: Performance,
        faults: FaultLog,
        *,
        keep_seconds: float,
        identify_topics: bool,
        wall_clock: Callable[[], float],
    ) -> None:
        self._admin = admin
        self._faults = faults
        self._wall_clock = wall_clock
        self._soon = performance.kafka_timeout * _SOON
        self._wants_topic = NameFilter(cluster.topic_whitelist, cluster.topic_blacklist)
        self._partitions: Cached[Sequence[TopicPartition]] = Cached(performance.metadata_cache_ttl)
        self._listing = Listing(
            admin,
            NameFilter(cluster.group_whitelist, cluster.group_blacklist),
            faults,
            ttl=performance.consumer_groups_cache_ttl,
            keep_seconds=keep_seconds,
        )
        self._groups = GroupReader(
            admin, faults, retries=performance.group_fetch_retries, keep_seconds=keep_seconds
        )
        self.policies = CleanupPolicies(admin, faults, performance.compacted_topics_cache_ttl)
        self._identify = identify_topics
        # Only where topics are to be identified.
        self._committed: Sequence[str] = ()

    async def snapshot(self, watch: Stopwatch) -> ClusterSnapshot:
        """What the cluster says now.

        Raises:
            ClusterUnavailable: no answer for groups, topics or watermarks.

        """
        self.policies.begin_cycle()
        found = await self._look_around(watch)
        partitions, listed, earliest = found.partitions, found.groups, found.earliest
        descriptions = Descriptions()

        async def describe() -> None:
            nonlocal descriptions
            with watch("members"):
                descriptions = await self._groups.describe(listed, partitions)

        async def identify(topics: Sequence[str]) -> None:
            with watch("topic ids"):
                found.topic_ids |= await attempt(self._admin.topic_ids, topics)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(describe)
            with watch("committed"):
                commits = await self._groups.commits(listed)
            now = self._wall_clock()
            if self._identify and (new := self._take_in_committed(commits)):
                nursery.start_soon(identify, new)
            with watch("latest"):
                latest = await self._ask_latest(partitions, earliest)

        watch.mark_polled()

        listed = await self._listing.without_deleted(
            listed, commits, descriptions, watch, were_cached=found.groups_were_cached
        )
        faults = ((name, f) for name, f in descriptions.faults.items() if name in listed)
        self._faults.sift("members", {name: fault for name, fault in faults if fault != GROUP_GONE})
        existing = await self._without_gone(partitions, earliest, latest)
        if existing is not partitions:
            earliest = {tp: earliest[tp] for tp in existing if tp in earliest}
            latest = {tp: latest[tp] for tp in existing if tp in latest}
        groups = []
        failed: dict[str, GroupState] = {}
        for name, group in listed.items():
            commit = commits.get(name)
            description = descriptions.known.get(name) or GroupDescription(group.state, {})
            if commit is None or isinstance(commit, Fault):
                failed[name] = description.state
            else:
                groups.append(
                    ConsumerGroup(
                        name,
                        description.state,
                        commit,
                        description.owners,
                        description.members,
                        description.unknown_topics,
                    )
                )
        return ClusterSnapshot(
            now=now,
            partitions=existing,
            earliest=self._faults.sift("earliest", earliest),
            latest=self._faults.sift("latest", latest),
            groups=groups,
            failed_groups=failed,
            topic_ids=self._identified(found.topic_ids),
        )

    async def _look_around(self, watch: Stopwatch) -> _Surroundings:
        """Ask what is there.

        A broker that hangs costs the cycle its timeout once, not once for each.
        """
        listed = self._listing.cached()
        found = _Surroundings(self._partitions.last or (), listed or {}, listed is not None)
        told = trio.Event()
        failures: dict[str, Fault] = {}

        async def ask_topics() -> None:
            with watch("topics"):
                try:
                    found.partitions = self._partitions.get() or await self._ask_topics()
                except ClusterUnavailable as exc:
                    failures["topics"] = exc.fault
            told.set()

        async def ask_groups() -> None:
            with watch("groups"):
                try:
                    found.groups = await self._listing.ask()
                except ClusterUnavailable as exc:
                    failures["groups"] = exc.fault

        async def ask_topic_ids() -> None:
            with watch("topic ids"):
                found.topic_ids = await attempt(self._admin.topic_ids, self._committed)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_topics)
            if not found.groups_were_cached:
                nursery.start_soon(ask_groups)
            if self._committed:
                nursery.start_soon(ask_topic_ids)
            # The listing tells librdkafka the leaders too. One that does not come soon is for the next cycle.
            with trio.move_on_after(self._soon if found.partitions else inf):
                await told.wait()
            partitions = found.partitions
            with watch("earliest"):
                found.earliest = await attempt(self._admin.earliest, partitions) if partitions else {}
        found.partitions = partitions
        self._bear(failures, found)
        return found

    def _bear(self, failures: Mapping[str, Fault], found: _Surroundings) -> None:
        """Do without what one broker that hangs did not tell, where it is known from before.

        Raises:
            ClusterUnavailable: the cluster is away, of which one error says enough, or it is not known.

        """
        silent = _where_nothing_came(found.earliest)
        last_listed = self._listing.last()
        for stage, known in (("topics", bool(found.partitions)), ("groups", last_listed is not None)):
            fault = failures.get(stage)
            if fault is not None and (silent is not None or not known or not fault.retriable):
                raise ClusterUnavailable(stage, fault)
        if silent is not None:
            raise ClusterUnavailable("watermarks", silent)
        for stage, fault in failures.items():
            self._faults.record(stage, "", fault)
        if "groups" in failures and last_listed is not None:
            found.groups = last_listed

    async def _ask_latest(
        self, partitions: Sequence[TopicPartition], earliest: Mapping[TopicPartition, int | Fault]
    ) -> Mapping[TopicPartition, int | Fault]:
        # A leader that was silent a moment ago is not waited for again: what is known of it goes for both.
        silent = {tp: answer for tp, answer in earliest.items() if is_silence(answer)}
        asked = [tp for tp in partitions if tp not in silent] if silent else partitions
        return {**silent, **await self._admin.latest(asked)} if asked else silent

    async def _ask_topics(self) -> Sequence[TopicPartition]:
        topics = await self._admin.topics()
        wanted = sorted(self._wants_topic.select(topics))
        self.policies.forget_besides(wanted)
        return self._partitions.put([TopicPartition(t, partition) for t in wanted for partition in topics[t]])

    def _take_in_committed(self, commits: Mapping[str, Commits | Fault]) -> Sequence[str]:
        """The topics that groups have committed to since the last time."""
        committed = {
            tp.topic for commit in commits.values() if not isinstance(commit, Fault) for tp in commit
        }
        known = set(self._committed)
        self._committed = sorted(topic for topic in committed if self._wants_topic(topic))
        return [topic for topic in self._committed if topic not in known]

    def _identified(self, answers: Mapping[str, str | Fault]) -> Mapping[str, str]:
        """The ids of the topics that groups have committed to and that are still there."""
        there = {
            topic: answer
            for topic in self._committed
            if (answer := answers.get(topic)) is not None and not is_gone(answer)
        }
        return self._faults.sift("topic ids", there)

    async def _without_gone(
        self,
        partitions: Sequence[TopicPartition],
        *answers: Mapping[TopicPartition, int | Fault],
    ) -> Sequence[TopicPartition]:
        some_gone = False
        for answer in answers:
            if (fault := _where_nothing_came(answer)) is not None:
                raise ClusterUnavailable("watermarks", fault)
            some_gone |= any(is_gone(offset) for offset in answer.values())
            if any(isinstance(offset, Fault) and not is_gone(offset) for offset in answer.values()):
                # librdkafka takes a topic that it once missed for missing until all topics are listed again.
                self._partitions.drop()
        if not some_gone:
            return partitions
        try:
            existing = set(await self._ask_topics())
        except ClusterUnavailable as exc:
            self._faults.record("topics", "", exc.fault)
            return partitions
        return [tp for tp in partitions if tp in existing]


def _where_nothing_came(watermarks: Mapping[TopicPartition, int | Fault]) -> Fault | None:
    """Why there is not a single one of all that are not gone; None where there is."""
    faults = [offset for offset in watermarks.values() if isinstance(offset, Fault) and not is_gone(offset)]
    return faults[0] if faults and not any(isinstance(o, int) for o in watermarks.values()) else None
