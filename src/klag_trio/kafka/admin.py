"""What a cluster is asked each cycle, in batches: groups, members, offsets, watermarks, policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from time import monotonic
from typing import TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
)
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin._config import ConfigResource
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
from klag_trio.kafka.coordinators import OFFSETS, Offsets, Question
from klag_trio.kafka.describer import Descriptions, GroupDescriber
from klag_trio.kafka.lister import GroupLister
from klag_trio.kafka.topic_ids import topic_ids

T = TypeVar("T")
U = TypeVar("U")

# librdkafka searches the list of a request once for every partition in it, so that the CPU time of one
# request for 5,000 partitions is six times that of ten requests for 500.
_PARTITIONS_PER_REQUEST = 500
_RESOURCES_PER_REQUEST = 200

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
        self._lister = GroupLister(client)
        self._describer = GroupDescriber(client, offset_fetch_timeout)

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
        return await self._lister.groups()

    async def describe(self, groups: Mapping[str, GroupType], partitions: Mapping[str, int]) -> Descriptions:
        """The state of each group and who owns which of the `partitions`, of which each topic has so many."""
        return await self._describer.describe(groups, partitions)

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
            for batch in batches(topics, _RESOURCES_PER_REQUEST):
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
            for batch in batches(topics, _RESOURCES_PER_REQUEST):
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


def _policy(value: str) -> CleanupPolicy:
    names = {name.strip() for name in value.split(",")}
    policy = CleanupPolicy.NONE
    if "delete" in names:
        policy |= CleanupPolicy.DELETE
    if "compact" in names:
        policy |= CleanupPolicy.COMPACT
    return policy
