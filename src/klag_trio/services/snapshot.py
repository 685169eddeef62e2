"""One cycle's questions to a cluster, in the right order, with what need not be asked each time kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from random import random
from typing import Protocol, TypeVar

import trio

from klag_trio.config import Cluster, Performance
from klag_trio.domain.backoff import full_jitter
from klag_trio.domain.filters import NameFilter
from klag_trio.domain.offsets import (
    CleanupPolicy,
    ClusterSnapshot,
    ClusterUnavailable,
    Commits,
    ConsumerGroup,
    Fault,
    GroupDescription,
    GroupListing,
    GroupState,
    Member,
    TopicPartition,
)
from klag_trio.services.cached import Cached
from klag_trio.services.faults import FaultLog
from klag_trio.services.stopwatch import Stopwatch

K = TypeVar("K")
V = TypeVar("V")

_GONE = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})
_NO_OWNERS: Mapping[TopicPartition, Member] = {}
_RETRY_BASE = 0.1
_RETRY_CAP = 2.0


class ClusterAdmin(Protocol):
    """What is asked of a cluster. Each method raises ClusterUnavailable where no answer came at all."""

    async def topics(self) -> Mapping[str, Sequence[int]]:
        """Every topic with its partitions."""

    async def groups(self) -> GroupListing:
        """Every group with its state."""

    async def describe(self, groups: Sequence[str]) -> Mapping[str, GroupDescription | Fault]:
        """The state of each group and who owns which partition."""

    async def commits(self, groups: Sequence[str]) -> Mapping[str, Commits | Fault]:
        """The committed offsets of each group."""

    async def earliest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The low watermark of each partition."""

    async def latest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The high watermark of each partition."""

    async def cleanup_policies(self, topics: Sequence[str]) -> Mapping[str, CleanupPolicy | Fault]:
        """The cleanup policy of each topic."""

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str | Fault]:
        """The id of each topic."""


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
        self._retries = performance.group_fetch_retries
        self._wants_group = NameFilter(cluster.group_whitelist, cluster.group_blacklist)
        self._wants_topic = NameFilter(cluster.topic_whitelist, cluster.topic_blacklist)
        self._partitions: Cached[Sequence[TopicPartition]] = Cached(performance.metadata_cache_ttl)
        self._listing: Cached[dict[str, GroupState]] = Cached(performance.consumer_groups_cache_ttl)
        self._policy_ttl = performance.compacted_topics_cache_ttl
        self._policies: dict[str, Cached[CleanupPolicy]] = {}
        self._last_listed: dict[str, GroupState] = {}
        self._slow_groups: set[str] = set()
        self._keep_seconds = keep_seconds
        self._identify = identify_topics
        self._descriptions: dict[str, Cached[GroupDescription]] = {}

    async def snapshot(self, watch: Stopwatch) -> ClusterSnapshot:
        """What the cluster says now.

        Raises:
            ClusterUnavailable: no answer for groups, topics or watermarks.

        """
        with watch("topics"):
            partitions = self._partitions.get() or await self._ask_topics()
        with watch("groups"):
            cached = self._listing.get()
            listed = await self._ask_groups() if cached is None else cached

        descriptions: Mapping[str, GroupDescription] = {}
        topic_ids: Mapping[str, str] = {}

        async def describe() -> None:
            nonlocal descriptions
            with watch("members"):
                descriptions = await self._describe(listed)

        async def identify(commits: Mapping[str, Commits | Fault]) -> None:
            nonlocal topic_ids
            with watch("topic ids"):
                topic_ids = await self._ask_topic_ids(commits)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(describe)
            with watch("earliest"):
                earliest = await self._admin.earliest(partitions) if partitions else {}
            with watch("committed"):
                commits = await self._ask_commits(listed)
            now = self._wall_clock()
            if self._identify:
                nursery.start_soon(identify, commits)
            with watch("latest"):
                latest = await self._admin.latest(partitions) if partitions else {}

        watch.mark_polled()

        if cached is not None and _may_be_gone(listed, descriptions, commits):
            with watch("groups"):
                still_there = await self._ask_groups()
            listed = {group: state for group, state in listed.items() if group in still_there}
        existing = await self._without_gone(partitions, earliest, latest)
        if existing is not partitions:
            earliest = {tp: earliest[tp] for tp in existing if tp in earliest}
            latest = {tp: latest[tp] for tp in existing if tp in latest}
        groups = []
        failed: dict[str, GroupState] = {}
        for group, listed_state in listed.items():
            commit = commits.get(group)
            state, owners = listed_state, _NO_OWNERS
            if (description := descriptions.get(group)) is not None:
                state, owners = description.state, description.owners
            if commit is None or isinstance(commit, Fault):
                failed[group] = state
            else:
                groups.append(ConsumerGroup(group, state, commit, owners))
        return ClusterSnapshot(
            now=now,
            partitions=existing,
            earliest=self._answers("earliest", earliest),
            latest=self._answers("latest", latest),
            groups=groups,
            failed_groups=failed,
            topic_ids=topic_ids,
        )

    async def cleanup_policies(self, topics: set[str]) -> dict[str, CleanupPolicy]:
        """The policies of these topics; one that could never be read is missing and in the fault log."""
        known = {topic: cached.get() for topic in topics if (cached := self._policies.get(topic))}
        unknown = sorted(topic for topic in topics if known.get(topic) is None)
        policies = {topic: policy for topic, policy in known.items() if policy is not None}
        if unknown:
            try:
                answers = await self._admin.cleanup_policies(unknown)
            except ClusterUnavailable as exc:
                answers = dict.fromkeys(unknown, exc.fault)
            for topic, policy in self._answers("policies", answers).items():
                self._policies.setdefault(topic, Cached(self._policy_ttl)).put(policy)
            # One that cannot be read any more is better taken for what it was than for Kafka's default.
            policies.update(
                (topic, last)
                for topic in unknown
                if (cached := self._policies.get(topic)) is not None and (last := cached.last) is not None
            )
        return policies

    async def _ask_topics(self) -> Sequence[TopicPartition]:
        topics = await self._admin.topics()
        wanted = sorted(self._wants_topic.select(topics))
        # Their policies are asked for again when they come back.
        self._policies = {topic: self._policies[topic] for topic in wanted if topic in self._policies}
        return self._partitions.put([TopicPartition(t, partition) for t in wanted for partition in topics[t]])

    async def _ask_groups(self) -> dict[str, GroupState]:
        listing = await self._admin.groups()
        groups = dict(listing.groups)
        for fault in listing.faults:
            self._faults.record("groups", "", fault)
        if listing.faults:
            # A broker did not answer: what it would have listed is not gone because of that.
            groups = {**self._last_listed, **groups}
        self._last_listed = groups
        wanted = {group: groups[group] for group in self._wants_group.select(groups)}
        if listing.faults:
            return wanted
        return self._listing.put(wanted)

    async def _describe(self, listed: Mapping[str, GroupState]) -> Mapping[str, GroupDescription]:
        with_members = [group for group, state in listed.items() if state.has_members]
        if not with_members:
            return {}
        described = self._answers("members", await self._ask_each(self._admin.describe, with_members))
        for group in with_members:
            # A group that cannot be described for a while keeps its members: its series keep their labels.
            last = self._descriptions.setdefault(group, Cached(self._keep_seconds))
            if group in described:
                last.put(described[group])
            elif (known := last.get()) is not None:
                described[group] = known
        self._descriptions = {group: self._descriptions[group] for group in with_members}
        return described

    async def _ask_commits(self, listed: Mapping[str, GroupState]) -> dict[str, Commits | Fault]:
        # Those that failed last time come last, so that they take no other group's time.
        groups = sorted(listed, key=self._slow_groups.__contains__)
        if not groups:
            return {}
        commits = await self._ask_each(self._admin.commits, groups)
        self._slow_groups = {group for group, answer in commits.items() if isinstance(answer, Fault)}
        for group, answer in commits.items():
            if isinstance(answer, Fault):
                self._faults.record("committed", group, answer)
                continue
            for tp, offset in answer.items():
                if isinstance(offset, Fault):
                    self._faults.record("committed", f"{group} {tp.topic}/{tp.partition}", offset)
        return commits

    async def _ask_topic_ids(self, commits: Mapping[str, Commits | Fault]) -> Mapping[str, str]:
        committed = {
            tp.topic for commit in commits.values() if not isinstance(commit, Fault) for tp in commit
        }
        topics = sorted(topic for topic in committed if self._wants_topic(topic))
        if not topics:
            return {}
        try:
            answers = await self._admin.topic_ids(topics)
        except ClusterUnavailable as exc:
            answers = dict.fromkeys(topics, exc.fault)
        present = {topic: answer for topic, answer in answers.items() if not _is_gone(answer)}
        return self._answers("topic ids", present)

    async def _ask_each(
        self, ask: Callable[[Sequence[str]], Awaitable[Mapping[str, V | Fault]]], groups: Sequence[str]
    ) -> dict[str, V | Fault]:
        """Each group's answer; where a fault may pass, the one of up to group_fetch_retries more attempts."""
        answers: dict[str, V | Fault] = {}
        for attempt in count(1):
            try:
                answers.update(await ask(groups))
            except ClusterUnavailable as exc:
                answers.update(dict.fromkeys(groups, exc.fault))
            groups = [g for g in groups if isinstance(answer := answers.get(g), Fault) and answer.retriable]
            if not groups or attempt > self._retries:
                break
            await trio.sleep(full_jitter(attempt, base=_RETRY_BASE, cap=_RETRY_CAP, random=random()))  # noqa: S311
        return answers

    async def _without_gone(
        self,
        partitions: Sequence[TopicPartition],
        *answers: Mapping[TopicPartition, int | Fault],
    ) -> Sequence[TopicPartition]:
        some_gone = False
        for answer in answers:
            there = [offset for offset in answer.values() if not _is_gone(offset)]
            faults = [offset for offset in there if isinstance(offset, Fault)]
            if faults and len(faults) == len(there):
                raise ClusterUnavailable("watermarks", faults[0])
            some_gone |= len(there) < len(answer)
            if faults:
                # librdkafka takes a topic that it once missed for missing until all topics are listed again.
                self._partitions.drop()
        if not some_gone:
            return partitions
        existing = set(await self._ask_topics())
        return [tp for tp in partitions if tp in existing]

    def _answers(self, stage: str, answers: Mapping[K, V | Fault]) -> dict[K, V]:
        good: dict[K, V] = {}
        for key, answer in answers.items():
            if isinstance(answer, Fault):
                subject = f"{key.topic}/{key.partition}" if isinstance(key, TopicPartition) else str(key)
                self._faults.record(stage, subject, answer)
            else:
                good[key] = answer
        return good


def _is_gone(answer: object) -> bool:
    return isinstance(answer, Fault) and answer.code in _GONE


def _may_be_gone(
    listed: Mapping[str, GroupState],
    descriptions: Mapping[str, GroupDescription],
    commits: Mapping[str, Commits | Fault],
) -> bool:
    """Whether a group that a kept listing names looks deleted: no member, and not a single commit."""
    return any(
        commits.get(group) == {}
        and not (descriptions[group].state if group in descriptions else state).has_members
        for group, state in listed.items()
    )
