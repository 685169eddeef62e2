"""What a cluster is asked each cycle, in batches: groups, members, offsets, watermarks, policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import takewhile
from time import monotonic
from typing import TypeVar

import attrs
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin._config import ConfigEntry, ConfigResource
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.admin._resource import ResourceType

from klag_trio.domain.offsets import (
    OUT_OF_TURN,
    CleanupPolicy,
    Commits,
    Fault,
    GroupListing,
    GroupType,
    TopicPartition,
)
from klag_trio.kafka.batches import batches
from klag_trio.kafka.client import Call, Client
from klag_trio.kafka.coordinators import OFFSETS, Offsets, ask_each
from klag_trio.kafka.describer import Descriptions, GroupDescriber
from klag_trio.kafka.lister import GroupLister
from klag_trio.kafka.topic_ids import topic_ids
from klag_trio.kafka.turns import Coordination, Turns

T = TypeVar("T")

# librdkafka searches the list of a request once for every partition in it, so that the CPU time of one
# request for 5,000 partitions is six times that of ten requests for 500.
_PARTITIONS_PER_REQUEST = 500
_RESOURCES_PER_REQUEST = 200

_NO_ANSWER = Fault("_PARTIAL", "the partition's leader did not answer", retriable=True)
_OVERDUE = Fault("_TIMED_OUT", "librdkafka did not end the call in time", retriable=True)
_NO_POLICY = Fault("_BAD_MSG", "the broker's answer has no cleanup.policy")
_OVERTIME_SECONDS = 0.2
# How often it is looked whether anybody still waits for an answer.
_ABANDONED_SECONDS = 0.1
# The part of a group's time after which a coordinator that has not answered takes no other's turn.
_PATIENCE = 0.1
_COMMITS_TOPIC = "__consumer_offsets"


class KafkaAdmin:
    """A cluster's answers in our own types; every method raises ClusterUnavailable where none came."""

    def __init__(self, client: Client, *, max_concurrent_groups: int, offset_fetch_timeout: float) -> None:
        self._client = client
        self._max_concurrent_groups = max_concurrent_groups
        self._offset_fetch_timeout = offset_fetch_timeout
        self._coordination = Coordination([0], is_known=False)
        self._coordination_is_doubtful = False
        self._lister = GroupLister(client)
        self._describer = GroupDescriber(client, offset_fetch_timeout, lambda: self._coordination)

    async def topics(self) -> Mapping[str, Sequence[int]]:
        """Every topic that exists and may be seen, with its partitions."""

        def ask(call: Call) -> dict[str, tuple[int, ...]]:
            metadata = call.admin.list_topics(timeout=call.remaining)
            self._coordination = _coordination(metadata)
            return {
                name: tuple(sorted(topic.partitions))
                for name, topic in metadata.topics.items()
                if topic.error is None or topic.partitions
            }

        return await self._client.call("topics", ask)

    async def groups(self) -> GroupListing:
        """Every consumer group that may be seen, with its state; partial where brokers did not answer."""
        return await self._lister.groups()

    async def describe(self, groups: Mapping[str, GroupType], partitions: Mapping[str, int]) -> Descriptions:
        """The state of each group and who owns which of the `partitions`, of which each topic has so many."""
        return await self._describer.describe(groups, partitions)

    async def commits(self, groups: Sequence[str]) -> Mapping[str, Commits | Fault]:
        """The committed offsets of each group; at most `max_concurrent_groups` are asked for at a time.

        Those of a coordinator that hangs do not count, of which there are no more than that either; it is
        asked about the same ones twice.
        """
        commits = await self._client.call("committed", partial(self._ask_for_commits, groups))
        self._coordination_is_doubtful = any(isinstance(answer, Fault) for answer in commits.values())
        return commits

    async def earliest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The low watermark of each partition."""
        return await self._offsets("earliest", partitions, OFFSET_BEGINNING)

    async def latest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The high watermark of each partition (READ_UNCOMMITTED)."""
        return await self._offsets("latest", partitions, OFFSET_END)

    async def cleanup_policies(self, topics: Sequence[str]) -> Mapping[str, CleanupPolicy | Fault]:
        """The `cleanup.policy` of each topic."""

        def ask(call: Call) -> dict[str, CleanupPolicy | Fault]:
            policies: dict[str, CleanupPolicy | Fault] = dict.fromkeys(topics, _OVERDUE)
            for batch in _in_time(call, batches(topics, _RESOURCES_PER_REQUEST)):
                resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in batch]
                futures = call.admin.describe_configs(resources, request_timeout=call.remaining)
                for resource, future in futures.items():
                    answer = self._answer(call, future)
                    policies[resource.name] = answer if isinstance(answer, Fault) else _policy(answer)
            return policies

        return await self._client.call("policies", ask)

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str | Fault]:
        """The id that tells a topic from an earlier one of the same name (KIP-516)."""

        def ask(call: Call) -> dict[str, str | Fault]:
            ids: dict[str, str | Fault] = dict.fromkeys(topics, _OVERDUE)
            for batch in _in_time(call, batches(topics, _RESOURCES_PER_REQUEST)):
                for topic, answer in topic_ids(call.coordinators, batch, call.remaining).items():
                    ids[topic] = self._client.fault(answer) if isinstance(answer, KafkaError) else answer
            return ids

        return await self._client.call("topic ids", ask)

    async def _offsets(
        self, stage: str, partitions: Sequence[TopicPartition], wanted: int
    ) -> Mapping[TopicPartition, int | Fault]:
        def ask(call: Call) -> dict[TopicPartition, int | Fault]:
            futures = [
                call.admin.offsets(
                    [KafkaTopicPartition(tp[0], tp[1], wanted) for tp in batch], call.remaining
                )
                for batch in batches(partitions, _PARTITIONS_PER_REQUEST)
            ]
            offsets: dict[TopicPartition, int | Fault] = {}
            for batch, future in zip(batches(partitions, _PARTITIONS_PER_REQUEST), futures, strict=True):
                answers = self._answer(call, future)
                if isinstance(answers, Fault):
                    offsets.update(dict.fromkeys(batch, answers))
                    continue
                for partition, answer in answers.items():
                    tp = TopicPartition(partition.topic, partition.partition)
                    if isinstance(answer, KafkaError):
                        offsets[tp] = self._client.fault(answer)
                    else:
                        # Where only some of the leaders answer, librdkafka reports no error for the others.
                        offsets[tp] = answer.offset if answer.offset >= 0 else _NO_ANSWER
            return offsets

        return await self._client.call(stage, ask)

    def _answer(self, call: Call, future: Future[T]) -> T | Fault:
        # While brokers restarted, librdkafka took seven seconds for what was to come within two.
        overdue = call.deadline + _OVERTIME_SECONDS
        while not future.done():
            left = overdue - monotonic()
            if left <= 0 or call.abandoned():
                return _OVERDUE
            wait([future], min(left, _ABANDONED_SECONDS))
        # Not raised: the future keeps its error, and the error would keep this frame, and with it the client.
        error = future.exception()
        if isinstance(error, KafkaException):
            return self._client.fault(error.args[0])
        return future.result()

    def _ask_for_commits(self, groups: Sequence[str], call: Call) -> dict[str, Commits | Fault]:
        if self._coordination_is_doubtful:
            self._find_coordinators(call)
        commits: dict[str, Commits | Fault] = dict.fromkeys(groups, OUT_OF_TURN)

        def came(group: str, answer: Offsets | KafkaError) -> None:
            if isinstance(answer, KafkaError):
                commits[group] = self._client.fault(answer)
            else:
                commits[group] = self._commits(answer)

        timeout, most = self._offset_fetch_timeout, self._max_concurrent_groups
        ask_each(
            call.coordinators,
            call.other_coordinators,
            OFFSETS,
            Turns(groups, self._coordination, most=most, patience=_PATIENCE * timeout),
            came,
            timeout=timeout,
            deadline=call.deadline,
            abandoned=call.abandoned,
        )
        return commits

    def _find_coordinators(self, call: Call) -> None:
        """Look whether groups have other coordinators by now."""
        if not self._coordination.is_known:
            return  # Where that is denied, asking again would only fill a broker's log.
        seconds = min(call.remaining, _PATIENCE * self._offset_fetch_timeout)
        futures = call.admin.describe_topics(TopicCollection([_COMMITS_TOPIC]), request_timeout=seconds)
        answer = self._answer(attrs.evolve(call, deadline=monotonic() + seconds), futures[_COMMITS_TOPIC])
        if not isinstance(answer, Fault):
            partitions = sorted(answer.partitions, key=lambda partition: partition.id)
            self._coordination = Coordination([-1 if p.leader is None else p.leader.id for p in partitions])

    def _commits(self, offsets: Offsets) -> Commits:
        return {
            tp: self._client.fault(offset) if isinstance(offset, KafkaError) else offset
            for tp, offset in offsets.items()
            if isinstance(offset, KafkaError) or offset >= 0
        }


def _coordination(metadata: ClusterMetadata) -> Coordination:
    commits = metadata.topics.get(_COMMITS_TOPIC)
    if commits is None or not commits.partitions:
        return Coordination(sorted(metadata.brokers) or [0], is_known=False)
    return Coordination([commits.partitions[number].leader for number in sorted(commits.partitions)])


def _in_time(call: Call, parts: Iterator[T]) -> Iterator[T]:
    """The parts as long as there is time, and somebody waits for the answer."""
    return takewhile(lambda _: monotonic() < call.deadline and not call.abandoned(), parts)


def _policy(configs: Mapping[str, ConfigEntry]) -> CleanupPolicy | Fault:
    entry = configs.get("cleanup.policy")
    # Kafka's own brokers always have it; others that speak its protocol may not.
    if entry is None or entry.value is None:
        return _NO_POLICY
    names = {name.strip() for name in entry.value.split(",")}
    policy = CleanupPolicy.NONE
    if "delete" in names:
        policy |= CleanupPolicy.DELETE
    if "compact" in names:
        policy |= CleanupPolicy.COMPACT
    return policy
