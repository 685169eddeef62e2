"""What one cycle read from one Kafka cluster, as frozen records in Kafka's own terms."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import attrs


class TopicPartition(NamedTuple):
    """A partition of a topic.

    A tuple, since it is hashed a hundred thousand times a cycle; it equals and hashes like the plain
    `(topic, partition)`.
    """

    topic: str
    partition: int


class GroupState(enum.IntEnum):
    """The state of a consumer group, numbered as `kafka_consumergroup_group_state` promises."""

    UNKNOWN = 0
    PREPARING_REBALANCE = 1
    COMPLETING_REBALANCE = 2
    STABLE = 3
    DEAD = 4
    EMPTY = 5
    ASSIGNING = 6
    RECONCILING = 7

    @property
    def has_members(self) -> bool:
        """Whether a group in this state may have members to describe."""
        return self not in (GroupState.EMPTY, GroupState.DEAD)


class GroupType(enum.Enum):
    """The protocol of a group's members."""

    UNKNOWN = enum.auto()
    """Of a broker that does not tell (before Kafka 3.8, KIP-848), which is a classic one."""
    CLASSIC = enum.auto()
    CONSUMER = enum.auto()
    """The consumer group protocol of KIP-848."""


class CleanupPolicy(enum.Flag):
    """A topic's `cleanup.policy`; both flags for `compact,delete`."""

    NONE = 0
    DELETE = enum.auto()
    COMPACT = enum.auto()


@attrs.frozen
class Fault:
    """One thing that Kafka did not answer: which, and why in Kafka's words."""

    code: str
    """The error's name in librdkafka's spelling: `GROUP_AUTHORIZATION_FAILED`, `_TIMED_OUT`."""
    message: str
    retriable: bool = False


OUT_OF_TURN = Fault("_TIMED_OUT", "the time was up before this group's turn came", retriable=True)
"""Of a group that was not asked about, and may well answer."""
GROUP_GONE = Fault("GROUP_ID_NOT_FOUND", "there is no such group any more")
"""What a group is answered with that has ended since it was listed, which is no error."""


class ClusterUnavailable(Exception):
    """The cluster did not answer a question without which there is no cycle."""

    def __init__(self, stage: str, fault: Fault) -> None:
        super().__init__(f"{stage}: {fault.message} ({fault.code})")
        self.stage = stage
        self.fault = fault


@attrs.frozen
class Member:
    """The member of a group that owns a partition."""

    consumer_id: str
    client_id: str
    host: str


NOBODY = Member(consumer_id="", client_id="", host="")
"""Who owns a partition that no member owns."""


@attrs.frozen
class ListedGroup:
    """A group as its coordinator lists it."""

    state: GroupState
    type: GroupType = GroupType.UNKNOWN
    listed: bool = True
    """False of one that no broker lists any more, since its coordinator moves or since it is gone."""


@attrs.frozen
class GroupListing:
    """The groups of a cluster, by name. With faults it is partial: what is missing may still exist."""

    groups: Mapping[str, ListedGroup]
    faults: Sequence[Fault] = ()

    @classmethod
    def merged(cls, listed: Iterable[tuple[str, ListedGroup]], faults: Sequence[Fault]) -> GroupListing:
        """Make one of what all brokers list: a group that moves between coordinators is listed by both.

        The one that has its members knows it best, and whichever answered first does not matter.
        """
        groups: dict[str, ListedGroup] = {}
        for name, group in listed:
            groups[name] = max(groups.get(name, group), group, key=_how_well_known)
        return cls(groups, faults)


def _how_well_known(group: ListedGroup) -> tuple[bool, bool, int]:
    known = group.state is not GroupState.UNKNOWN
    return known and group.state.has_members, known, group.state


@attrs.frozen
class GroupDescription:
    """A group's state and which member owns which partition."""

    state: GroupState
    owners: Mapping[TopicPartition, Member]
    """Of partitions that exist."""
    members: int = 0
    """How many there are, those that own nothing too."""
    unknown_topics: frozenset[str] = frozenset()
    """Topics of which members own partitions and which the cluster does not show; at most some of them."""


Commits = Mapping[TopicPartition, "int | Fault"]
"""A group's committed offsets; a partition without a commit has no entry."""


@attrs.frozen
class ConsumerGroup:
    """A group as one cycle saw it."""

    name: str
    state: GroupState
    commits: Commits
    owners: Mapping[TopicPartition, Member]
    members: int = 0
    unknown_topics: frozenset[str] = frozenset()


@attrs.frozen
class ClusterSnapshot:
    """Everything that one cycle read, in the order earliest, committed, latest."""

    now: float
    """Wall clock in seconds since the epoch when the last committed offset had arrived."""
    partitions: Sequence[TopicPartition]
    """The partitions that exist and pass the filters; one that is missing here is gone from Kafka."""
    earliest: Mapping[TopicPartition, int]
    latest: Mapping[TopicPartition, int]
    """Low and high watermarks; a partition whose question failed has no entry."""
    groups: Sequence[ConsumerGroup]
    """The groups that answered."""
    failed_groups: Mapping[str, GroupState]
    """The groups that exist but did not answer, with the state that the listing gave."""
    topic_ids: Mapping[str, str] = attrs.field(factory=dict)
    """The ids of topics with commits, where they were asked for and known (KIP-516)."""
