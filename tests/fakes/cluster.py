"""A Kafka cluster in memory: asked like KafkaAdmin, acted on like KafkaDriver, and failing when told to."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import attrs
import trio

from klag_trio.domain.members import described
from klag_trio.domain.offsets import (
    GROUP_GONE,
    CleanupPolicy,
    ClusterUnavailable,
    Commits,
    Fault,
    GroupDescription,
    GroupListing,
    GroupState,
    GroupType,
    ListedGroup,
    Member,
    TopicPartition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.broker.records import Record, Timestamps

HOST = "127.0.0.1"
UNKNOWN_TOPIC = Fault("UNKNOWN_TOPIC_OR_PART", "Broker: Unknown topic or partition", retriable=True)
UNKNOWN_PARTITION = Fault("_UNKNOWN_PARTITION", "Local: Unknown partition")
TIMED_OUT = Fault("_TIMED_OUT", "Local: Timed out", retriable=True)
POLICIES = {
    "delete": CleanupPolicy.DELETE,
    "compact": CleanupPolicy.COMPACT,
    "compact,delete": CleanupPolicy.COMPACT | CleanupPolicy.DELETE,
}


@attrs.define
class Log:
    earliest: int = 0
    latest: int = 0


@attrs.define
class Topic:
    id: str
    logs: list[Log]
    policy: CleanupPolicy


@attrs.define
class JoinedMember:
    """A consumer that is in a group; all partitions of its topics are its own."""

    cluster: InMemoryCluster = attrs.field(repr=False)
    group: str
    member_id: str
    client_id: str
    assignment: frozenset[tuple[str, int]]
    protocol: Literal["classic", "consumer"]

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        self.cluster.commit(self.group, offsets)


@attrs.define
class Group:
    commits: dict[TopicPartition, int] = attrs.field(factory=dict)
    members: list[JoinedMember] = attrs.field(factory=list)
    state_shown: GroupState | None = None
    """What the cluster says instead of what follows from the members."""

    @property
    def state(self) -> GroupState:
        if self.state_shown is not None:
            return self.state_shown
        return GroupState.STABLE if self.members else GroupState.EMPTY

    @property
    def type(self) -> GroupType:
        of_members = {member.protocol for member in self.members}
        return GroupType.CONSUMER if "consumer" in of_members else GroupType.CLASSIC


@attrs.define
class Troubles:
    """What goes wrong from now on."""

    unavailable: dict[str, Fault] = attrs.field(factory=dict)
    """The methods of ClusterAdmin that get no answer at all."""
    hanging: set[str] = attrs.field(factory=set)
    """The methods that wait until they are cancelled."""
    slow: dict[str, float] = attrs.field(factory=dict)
    """The methods that take so many seconds, whether they get an answer or not."""
    groups: dict[str, Fault] = attrs.field(factory=dict)
    """Groups whose offsets cannot be fetched."""
    commits: dict[tuple[str, TopicPartition], Fault] = attrs.field(factory=dict)
    """Single partitions of a group's offsets."""
    descriptions: dict[str, Fault] = attrs.field(factory=dict)
    """Groups that cannot be described."""
    listing: list[Fault] = attrs.field(factory=list)
    """Brokers that do not answer ListGroups; the groups in `unlisted` are theirs."""
    unlisted: set[str] = attrs.field(factory=set)
    listed_also: list[tuple[str, ListedGroup]] = attrs.field(factory=list)
    """What a second coordinator lists of groups that it has just lost or won."""
    partitions: dict[TopicPartition, Fault] = attrs.field(factory=dict)
    """Partitions that tell no watermark."""
    policies: dict[str, Fault] = attrs.field(factory=dict)
    """Topics whose configuration cannot be read."""


class InMemoryCluster:
    """Implements ClusterAdmin; `troubles` are changed by the test."""

    def __init__(self) -> None:
        self.troubles = Troubles()
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._numbers = itertools.count(1)

    # What is done to it, as by KafkaDriver.

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        assert name not in self._topics
        policy = POLICIES[(config or {}).get("cleanup.policy", "delete")]
        topic_id = f"topic-id-{next(self._numbers)}"
        self._topics[name] = Topic(topic_id, [Log() for _ in range(partitions)], policy)
        return name

    def create_partitions(self, topic: str, total: int) -> None:
        logs = self._topics[topic].logs
        assert total > len(logs)
        logs.extend(Log() for _ in range(total - len(logs)))

    def configure_topic(self, topic: str, config: Mapping[str, str]) -> None:
        self._topics[topic].policy = POLICIES[config["cleanup.policy"]]

    def delete_topic(self, name: str) -> None:
        """Remove the topic; commits on it stay, as they do in Kafka for a moment."""
        del self._topics[name]

    def produce(
        self, topic: str, partition: int = 0, n: int = 1, *, timestamp_ms: Timestamps = None
    ) -> list[Record]:
        log = self._topics[topic].logs[partition]
        offsets = range(log.latest, log.latest + n)
        log.latest += n
        stamp = timestamp_ms if callable(timestamp_ms) else (timestamp_ms or [0] * n).__getitem__
        return [(offset, stamp(i)) for i, offset in enumerate(offsets)]

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        log = self._topics[topic].logs[partition]
        assert log.earliest <= before_offset <= log.latest
        log.earliest = before_offset

    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]:
        log = self._topics[topic].logs[partition]
        return log.earliest, log.latest

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        commits = self._groups.setdefault(group, Group()).commits
        commits.update((TopicPartition(*partition), offset) for partition, offset in offsets.items())

    def expire_commit(self, group: str, topic: str, partition: int) -> None:
        del self._groups[group].commits[TopicPartition(topic, partition)]

    def delete_group(self, group: str) -> None:
        assert not self._groups[group].members
        del self._groups[group]

    def show_state(self, group: str, state: GroupState | None) -> None:
        """Let the cluster report this state; None is the one that follows from the group's members."""
        self._groups.setdefault(group, Group()).state_shown = state

    @contextmanager
    def consuming(
        self,
        group: str,
        topics: Sequence[str],
        *,
        protocol: Literal["classic", "consumer"] = "classic",
        client_id: str = "klag-test",
    ) -> Iterator[JoinedMember]:
        owned = frozenset(
            (topic, partition) for topic in topics for partition in range(len(self._topics[topic].logs))
        )
        member_id = f"{client_id}-{next(self._numbers)}"
        member = JoinedMember(self, group, member_id, client_id, owned, protocol)
        members = self._groups.setdefault(group, Group()).members
        members.append(member)
        try:
            yield member
        finally:
            members.remove(member)

    # What it is asked.

    async def topics(self) -> Mapping[str, Sequence[int]]:
        await self._reach("topics")
        return {name: tuple(range(len(topic.logs))) for name, topic in self._topics.items()}

    async def groups(self) -> GroupListing:
        await self._reach("groups")
        listed = [
            (name, ListedGroup(group.state, group.type))
            for name, group in self._groups.items()
            if name not in self.troubles.unlisted
        ]
        return GroupListing.merged([*listed, *self.troubles.listed_also], list(self.troubles.listing))

    async def describe(
        self, groups: Mapping[str, GroupType], partitions: Mapping[str, int]
    ) -> Mapping[str, GroupDescription | Fault]:
        try:
            await self._reach("describe")
        except ClusterUnavailable as exc:
            return dict.fromkeys(groups, exc.fault)
        return {
            name: self.troubles.descriptions.get(name) or self._description(name, partitions)
            for name in groups
        }

    async def commits(self, groups: Sequence[str]) -> Mapping[str, Commits | Fault]:
        await self._reach("commits")
        return {name: self.troubles.groups.get(name) or self._commits(name) for name in groups}

    async def earliest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        await self._reach("earliest")
        return {tp: self._watermark(tp, lambda log: log.earliest) for tp in partitions}

    async def latest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        await self._reach("latest")
        return {tp: self._watermark(tp, lambda log: log.latest) for tp in partitions}

    async def cleanup_policies(self, topics: Sequence[str]) -> Mapping[str, CleanupPolicy | Fault]:
        await self._reach("cleanup_policies")
        return {
            name: self.troubles.policies.get(name)
            or (self._topics[name].policy if name in self._topics else UNKNOWN_TOPIC)
            for name in topics
        }

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str | Fault]:
        await self._reach("topic_ids")
        return {name: self._topics[name].id if name in self._topics else UNKNOWN_TOPIC for name in topics}

    async def _reach(self, method: str) -> None:
        await trio.lowlevel.checkpoint()
        if method in self.troubles.hanging:
            await trio.sleep_forever()
        await trio.sleep(self.troubles.slow.get(method, 0))
        if (fault := self.troubles.unavailable.get(method)) is not None:
            raise ClusterUnavailable(method, fault)

    def _description(self, name: str, partitions: Mapping[str, int]) -> GroupDescription | Fault:
        group = self._groups.get(name)
        if group is None:
            return GROUP_GONE
        members = [
            (
                Member(member.member_id, member.client_id, HOST),
                {topic: [p for t, p in member.assignment if t == topic] for topic, _ in member.assignment},
            )
            for member in group.members
        ]
        return described(group.state, members, partitions)

    def _commits(self, name: str) -> Commits:
        commits = self._groups[name].commits if name in self._groups else {}
        return {tp: self.troubles.commits.get((name, tp), offset) for tp, offset in commits.items()}

    def _watermark(self, tp: TopicPartition, of: Callable[[Log], int]) -> int | Fault:
        if (fault := self.troubles.partitions.get(tp)) is not None:
            return fault
        if tp.topic not in self._topics:
            return UNKNOWN_TOPIC
        logs = self._topics[tp.topic].logs
        return of(logs[tp.partition]) if tp.partition < len(logs) else UNKNOWN_PARTITION
