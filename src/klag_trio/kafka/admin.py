"""What a cluster is asked each cycle, in batches: groups, members, offsets, watermarks, policies."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from time import monotonic
from typing import TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
)
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from klag_trio.domain.offsets import (
    OUT_OF_TURN,
    CleanupPolicy,
    ClusterUnavailable,
    Commits,
    Fault,
    GroupDescription,
    GroupListing,
    GroupState,
    Member,
    TopicPartition,
)
from klag_trio.kafka.client import Call, Client
from klag_trio.kafka.coordinators import DESCRIPTION, OFFSETS, Described, Offsets, Question
from klag_trio.kafka.topic_ids import topic_ids

T = TypeVar("T")
U = TypeVar("U")

# librdkafka searches the list of a request once for every partition in it, so that the CPU time of one
# request for 5,000 partitions is six times that of ten requests for 500.
_PARTITIONS_PER_REQUEST = 500
_RESOURCES_PER_REQUEST = 200
_DESCRIBED_AT_ONCE = 200

# confluent-kafka 2.16 knows no Assigning and no Reconciling (KIP-848) and says Unknown for them.
_STATES: Mapping[int, GroupState] = {
    ConsumerGroupState.UNKNOWN.value: GroupState.UNKNOWN,
    ConsumerGroupState.PREPARING_REBALANCING.value: GroupState.PREPARING_REBALANCE,
    ConsumerGroupState.COMPLETING_REBALANCING.value: GroupState.COMPLETING_REBALANCE,
    ConsumerGroupState.STABLE.value: GroupState.STABLE,
    ConsumerGroupState.DEAD.value: GroupState.DEAD,
    ConsumerGroupState.EMPTY.value: GroupState.EMPTY,
}


_NO_ANSWER = Fault("_PARTIAL", "the partition's leader did not answer", retriable=True)
_OVERDUE = Fault("_TIMED_OUT", "librdkafka did not end the call in time", retriable=True)
_OVERTIME_SECONDS = 0.2
# The part of a group's time after which, without any answer, as many groups more are asked about.
_PATIENCE = 0.1


class KafkaAdmin:
    """A cluster's answers in our own types; every method raises ClusterUnavailable where none came."""

    def __init__(self, client: Client, *, max_concurrent_groups: int, offset_fetch_timeout: float) -> None:
        self._client = client
        self._max_concurrent_groups = max_concurrent_groups
        self._offset_fetch_timeout = offset_fetch_timeout

    async def topics(self) -> Mapping[str, Sequence[int]]:
        """Every topic that exists and may be seen, with its partitions."""

        def ask(call: Call) -> dict[str, tuple[int, ...]]:
            metadata = call.admin.list_topics(timeout=call.remaining)
            return {
                name: tuple(sorted(topic.partitions))
                for name, topic in metadata.topics.items()
                if topic.error is None or topic.partitions
            }

        return await self._client.call("topics", ask)

    async def groups(self) -> GroupListing:
        """Every consumer group that may be seen, with its state; partial where brokers did not answer."""

        def ask(call: Call) -> GroupListing:
            listed = self._answer(call, call.admin.list_consumer_groups(request_timeout=call.remaining))
            if isinstance(listed, Fault):
                return GroupListing.merged([], [listed])
            groups = [(group.group_id, _state(group.state)) for group in listed.valid]
            # These are KafkaErrors, although confluent-kafka documents exceptions.
            return GroupListing.merged(groups, [self._client.fault(error) for error in listed.errors])

        listing = await self._client.call("groups", ask)
        if listing.faults and not listing.groups:
            raise ClusterUnavailable("groups", self._client.cause(listing.faults[0]))
        return listing

    async def describe(self, groups: Sequence[str]) -> Mapping[str, GroupDescription | Fault]:
        """The state of each group and who owns which partition, for classic and KIP-848 groups alike."""

        def ask(call: Call) -> dict[str, GroupDescription | Fault]:
            return self._ask_each(call, DESCRIPTION, groups, self._description, _DESCRIBED_AT_ONCE)

        return await self._client.call("members", ask)

    async def commits(self, groups: Sequence[str]) -> Mapping[str, Commits | Fault]:
        """The committed offsets of each group; at most `max_concurrent_groups` are asked for at a time."""

        def ask(call: Call) -> dict[str, Commits | Fault]:
            return self._ask_each(call, OFFSETS, groups, self._commits, self._max_concurrent_groups)

        return await self._client.call("committed", ask)

    async def earliest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The low watermark of each partition."""
        return await self._offsets("earliest", partitions, OFFSET_BEGINNING)

    async def latest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The high watermark of each partition (READ_UNCOMMITTED)."""
        return await self._offsets("latest", partitions, OFFSET_END)

    async def cleanup_policies(self, topics: Sequence[str]) -> Mapping[str, CleanupPolicy | Fault]:
        """The `cleanup.policy` of each topic."""

        def ask(call: Call) -> dict[str, CleanupPolicy | Fault]:
            policies: dict[str, CleanupPolicy | Fault] = {}
            for batch in _batches(topics, _RESOURCES_PER_REQUEST):
                resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in batch]
                futures = call.admin.describe_configs(resources, request_timeout=call.remaining)
                for resource, future in futures.items():
                    answer = self._answer(call, future)
                    policies[resource.name] = (
                        answer if isinstance(answer, Fault) else _policy(answer["cleanup.policy"].value)
                    )
            return policies

        return await self._client.call("policies", ask)

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str | Fault]:
        """The id that tells a topic from an earlier one of the same name (KIP-516)."""

        def ask(call: Call) -> dict[str, str | Fault]:
            ids: dict[str, str | Fault] = {}
            for batch in _batches(topics, _RESOURCES_PER_REQUEST):
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
                for batch in _batches(partitions, _PARTITIONS_PER_REQUEST)
            ]
            offsets: dict[TopicPartition, int | Fault] = {}
            for batch, future in zip(_batches(partitions, _PARTITIONS_PER_REQUEST), futures, strict=True):
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
        # Not raised: the future keeps its error, and the error would keep this frame, and with it the client.
        try:
            error = future.exception(call.remaining + _OVERTIME_SECONDS)
        except TimeoutError:
            # While brokers restarted, librdkafka took seven seconds for what was to come within two.
            return _OVERDUE
        if isinstance(error, KafkaException):
            return self._client.fault(error.args[0])
        return future.result()

    def _ask_each(
        self,
        call: Call,
        question: Question[T],
        groups: Sequence[str],
        translate: Callable[[T], U],
        at_once: int,
    ) -> dict[str, U | Fault]:
        """Ask about each group, `at_once` at a time, and give each at most `offset_fetch_timeout` seconds."""
        results: dict[str, U | Fault] = {}
        waiting = iter(groups)
        with call.coordinators.asking(question) as asking:

            def ask(most: int) -> None:
                for group in islice(waiting, most):
                    if monotonic() < call.deadline:
                        asking.send(group, min(self._offset_fetch_timeout, call.remaining))
                    else:
                        results[group] = OUT_OF_TURN

            ask(at_once)
            while asking.owed and not call.abandoned():
                answered = asking.receive(_PATIENCE * self._offset_fetch_timeout)
                if answered is None:
                    # All wait for coordinators that hang, and may not take the turn of those that do not. No
                    # broker is burdened: it takes up one request of a connection after the other.
                    ask(asking.owed)
                    continue
                group, answer = answered
                if isinstance(answer, KafkaError):
                    results[group] = self._client.fault(answer)
                else:
                    results[group] = translate(answer)
                ask(1)
            results.update(dict.fromkeys(waiting, OUT_OF_TURN))
        return results

    def _commits(self, offsets: Offsets) -> Commits:
        return {
            tp: self._client.fault(offset) if isinstance(offset, KafkaError) else offset
            for tp, offset in offsets.items()
            if isinstance(offset, KafkaError) or offset >= 0
        }

    def _description(self, described: Described) -> GroupDescription:
        owners = {}
        for found in described.members:
            member = Member(found.consumer_id, found.client_id, found.host)
            owners.update(dict.fromkeys(found.assignment, member))
        return GroupDescription(_STATES.get(described.state, GroupState.UNKNOWN), owners)


def _state(state: enum.Enum | None) -> GroupState:
    return GroupState.UNKNOWN if state is None else _STATES.get(state.value, GroupState.UNKNOWN)


def _policy(value: str) -> CleanupPolicy:
    names = {name.strip() for name in value.split(",")}
    policy = CleanupPolicy.NONE
    if "delete" in names:
        policy |= CleanupPolicy.DELETE
    if "compact" in names:
        policy |= CleanupPolicy.COMPACT
    return policy


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
