"""Who is in which group, whatever members write and whatever protocol they turn to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from time import monotonic

import trio
from confluent_kafka import ConsumerGroupState, KafkaError

from klag_trio.domain.members import described
from klag_trio.domain.offsets import (
    OUT_OF_TURN,
    ClusterUnavailable,
    Fault,
    GroupDescription,
    GroupState,
    GroupType,
    Member,
    TopicPartition,
)
from klag_trio.kafka.assignment import MalformedAssignment, parse
from klag_trio.kafka.client import Call, Client
from klag_trio.kafka.coordinators import Described
from klag_trio.kafka.groups import RawGroup, raw_groups

Descriptions = Mapping[str, "GroupDescription | Fault"]

# confluent-kafka 2.16 knows no Assigning and no Reconciling (KIP-848) and says Unknown for them.
_STATES: Mapping[int, GroupState] = {
    ConsumerGroupState.UNKNOWN.value: GroupState.UNKNOWN,
    ConsumerGroupState.PREPARING_REBALANCING.value: GroupState.PREPARING_REBALANCE,
    ConsumerGroupState.COMPLETING_REBALANCING.value: GroupState.COMPLETING_REBALANCE,
    ConsumerGroupState.STABLE.value: GroupState.STABLE,
    ConsumerGroupState.DEAD.value: GroupState.DEAD,
    ConsumerGroupState.EMPTY.value: GroupState.EMPTY,
}
# In Kafka's words, which librdkafka's older call hands on.
_STATES_BY_NAME: Mapping[str, GroupState] = {
    "PreparingRebalance": GroupState.PREPARING_REBALANCE,
    "CompletingRebalance": GroupState.COMPLETING_REBALANCE,
    "Stable": GroupState.STABLE,
    "Dead": GroupState.DEAD,
    "Empty": GroupState.EMPTY,
}
_CONSUMER_PROTOCOL = "consumer"
_NOT_DESCRIBED = Fault("_PARTIAL", "the group's coordinator did not describe it", retriable=True)
_OTHER_PROTOCOL = Fault("GROUP_ID_NOT_FOUND", "the group no longer uses the protocol that it was listed with")
_LEFT_OUT_SECONDS = 600.0
# Of a member's id, which a client makes as long as it likes.
_NAMED_CHARACTERS = 200


def state_of(number: int) -> GroupState:
    """The state that an rd_kafka_consumer_group_state_t is."""
    return _STATES.get(number, GroupState.UNKNOWN)


class GroupDescriber:
    """Asks one cluster for the members of its groups, and waits at most `timeout` seconds for an answer."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._left_out: dict[str, float] = {}
        """Groups that turned out to use another protocol than listed, and until when they are left out."""

    async def describe(self, groups: Mapping[str, GroupType], partitions: Mapping[str, int]) -> Descriptions:
        """The state of each group and who owns which of the `partitions`, of which each topic has so many.

        All groups of the classic protocol take one call, which every broker answers.
        """
        consumer = [group for group, protocol in groups.items() if protocol is GroupType.CONSUMER]
        classic = groups.keys() - consumer
        answers: dict[str, GroupDescription | Fault] = {}

        async def ask(
            describe: Callable[[Collection[str], Mapping[str, int]], Awaitable[Descriptions]],
            asked: Collection[str],
        ) -> None:
            try:
                answers.update(await describe(asked, partitions))
            except ClusterUnavailable as exc:
                answers.update(dict.fromkeys(asked, exc.fault))

        async with trio.open_nursery() as nursery:
            if classic:
                nursery.start_soon(ask, self._describe_classic, classic)
            if consumer:
                nursery.start_soon(ask, self._describe_consumer, consumer)
        return answers

    async def _describe_classic(self, groups: Collection[str], partitions: Mapping[str, int]) -> Descriptions:
        def ask(call: Call) -> Descriptions:
            answers: dict[str, GroupDescription | Fault] = dict.fromkeys(groups, _NOT_DESCRIBED)
            for group in raw_groups(call.coordinators, call.remaining):
                # One that moves between coordinators is described by both, by the earlier one as dead.
                if group.name in answers and (group.members or answers[group.name] is _NOT_DESCRIBED):
                    answers[group.name] = self._classic(group, partitions)
            return answers

        return await self._client.call("members", ask, within=self._timeout)

    def _classic(self, group: RawGroup, partitions: Mapping[str, int]) -> GroupDescription | Fault:
        if group.error is not None:
            return self._client.fault(group.error)
        members = []
        for member in group.members if group.protocol_type == _CONSUMER_PROTOCOL else ():
            try:
                owned = parse(member.assignment)
            except MalformedAssignment as exc:
                who = member.member_id[:_NAMED_CHARACTERS]
                return Fault("_BAD_MSG", f"the assignment of member {who} cannot be read: {exc}")
            members.append((Member(member.member_id, member.client_id, member.host), owned))
        state = _STATES_BY_NAME.get(group.state, GroupState.UNKNOWN)
        return described(state, members, partitions)

    async def _describe_consumer(
        self, groups: Collection[str], partitions: Mapping[str, int]
    ) -> Descriptions:
        now = monotonic()
        self._left_out = {group: until for group, until in self._left_out.items() if now < until}
        asked = [group for group in groups if group not in self._left_out]

        def translate(found: Described) -> GroupDescription:
            members = [
                (Member(member.consumer_id, member.client_id, member.host), _by_topic(member.assignment))
                for member in found.members
            ]
            return described(state_of(found.state), members, partitions)

        def ask(call: Call) -> Descriptions:
            timeout = min(self._timeout, call.remaining)
            found = call.consumer_groups().describe(asked, timeout, call.abandoned)
            answers = dict(found.answers)
            if found.fell_back:
                # One by one, which shows which of them it was, and gets the answers of the others.
                for group in [group for group in asked if group not in answers]:
                    if call.abandoned() or call.deadline <= monotonic():
                        break
                    found = call.consumer_groups().describe([group], call.remaining, call.abandoned)
                    answers.update(found.answers)
                    if found.fell_back:
                        self._left_out[group] = monotonic() + _LEFT_OUT_SECONDS
            return {
                group: self._client.fault(answer) if isinstance(answer, KafkaError) else translate(answer)
                for group, answer in answers.items()
            }

        answers = await self._client.call("members", ask) if asked else {}
        return {group: answers.get(group) or self._not_described(group) for group in groups}

    def _not_described(self, group: str) -> Fault:
        return _OTHER_PROTOCOL if group in self._left_out else OUT_OF_TURN


def _by_topic(assignment: Iterable[TopicPartition]) -> Mapping[str, Sequence[int]]:
    owned: dict[str, list[int]] = {}
    for tp in assignment:
        owned.setdefault(tp.topic, []).append(tp.partition)
    return owned
