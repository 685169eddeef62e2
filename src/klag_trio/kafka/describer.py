"""Who is in which group, whatever members write and whatever protocol they turn to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

import trio
from confluent_kafka import KafkaError

from klag_trio.domain.members import described
from klag_trio.domain.offsets import (
    GROUP_GONE,
    OUT_OF_TURN,
    ClusterUnavailable,
    Fault,
    GroupDescription,
    GroupState,
    GroupType,
    Member,
)
from klag_trio.kafka.assignment import MalformedAssignment, parse
from klag_trio.kafka.client import Call, Client
from klag_trio.kafka.groups import RawGroup, raw_groups, state_of
from klag_trio.kafka.turns import Coordination
from klag_trio.kafka.worker_process import WorkerError, in_halves

Descriptions = Mapping[str, "GroupDescription | Fault"]

_CONSUMER_PROTOCOL = "consumer"
_NOT_DESCRIBED = Fault("_PARTIAL", "the group's coordinator did not describe it", retriable=True)
_LEFT_OUT_SECONDS = 600.0
# Of a member's id, which a client makes as long as it likes.
_NAMED_CHARACTERS = 200


class GroupDescriber:
    """Asks one cluster for the members of its groups, and waits at most `timeout` seconds for an answer."""

    def __init__(self, client: Client, timeout: float, coordination: Callable[[], Coordination]) -> None:
        self._client = client
        self._timeout = timeout
        self._coordination = coordination
        self._left_out: dict[str, tuple[Fault, float]] = {}
        """Groups that the worker died of, how, and until when they are left out."""

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
            answers: dict[str, GroupDescription | Fault] = {}
            missing = GROUP_GONE
            for group in raw_groups(call.coordinators, call.remaining):
                # One that moves between coordinators is described by both, by the earlier one as dead.
                if isinstance(group, KafkaError):
                    # Of a broker: a group that no other one describes may be one of its.
                    missing = _NOT_DESCRIBED
                elif group.name in groups and (group.members or group.name not in answers):
                    answers[group.name] = self._classic(group, partitions)
            return {group: answers.get(group, missing) for group in groups}

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
        return described(group.state, members, partitions)

    async def _describe_consumer(
        self, groups: Collection[str], partitions: Mapping[str, int]
    ) -> Descriptions:
        now = monotonic()
        self._left_out = {group: left for group, left in self._left_out.items() if now < left[1]}
        deadline = now + self._client.seconds()
        states: dict[str, int] = {}
        members: dict[str, list[list[Any]]] = {}
        faults: dict[str, Fault] = {}

        def take(
            group: str, some: list[list[Any]], state: int | None = None, fault: list[Any] | None = None
        ) -> None:
            members.setdefault(group, []).extend(some)
            if fault is not None:
                faults[group] = self._client.refine(Fault(*fault))
            elif state is not None:  # which comes last
                states[group] = state

        def is_answered(group: str) -> bool:
            return group in states or group in faults

        async def ask(part: Sequence[str]) -> None:
            for group in part:
                members.pop(group, None)  # where a worker died in the middle of them
            left = max(0.001, deadline - monotonic())
            known = self._coordination()
            coordination = (known.leaders, known.is_known)
            await self._client.worker.ask(
                take, "describe", part, *coordination, self._timeout, left, within=left
            )

        def leave_out(group: str, fault: Fault) -> None:
            self._left_out[group] = fault, monotonic() + _LEFT_OUT_SECONDS

        def translate() -> dict[str, GroupDescription | Fault]:
            return {
                group: _translated(state, members.get(group, []), partitions)
                for group, state in states.items()
            }

        otherwise = OUT_OF_TURN
        try:
            asked = [group for group in groups if group not in self._left_out]
            await in_halves(asked, ask, is_answered, leave_out, deadline)
        except WorkerError as exc:
            otherwise = self._client.refine(exc.fault)
        answers = await trio.to_thread.run_sync(translate)
        answers.update(faults)
        answers.update({group: fault for group, (fault, _) in self._left_out.items()})
        return {group: answers.get(group, otherwise) for group in groups}


def _translated(
    number: int, members: list[list[Any]], partitions: Mapping[str, int]
) -> GroupDescription | Fault:
    state = state_of(number)
    if state is GroupState.DEAD:
        return GROUP_GONE
    owning = [(Member(*who), _by_topic(owned)) for *who, owned in members]
    return described(state, owning, partitions)


def _by_topic(assignment: Iterable[tuple[str, int]]) -> Mapping[str, Sequence[int]]:
    owned: dict[str, list[int]] = {}
    for topic, number in assignment:
        owned.setdefault(topic, []).append(number)
    return owned
