"""Which groups there are, and who is in those of the classic protocol, through librdkafka's C interface.

Neither is asked the usual way, since any client may choose what comes back:

- confluent_kafka's listing crashes on an id that is no UTF-8.
- librdkafka's DescribeConsumerGroups ends the process (up to 2.16 at least: `Assertion 'rko_result' failed`)
  where the assignment of a classic member is not in the consumer protocol's format, such as the single byte
  00. The older rd_kafka_list_groups hands assignments over as bytes. It is no listing: one broker's success
  hides the error of another, and one answer beyond receive.message.max.bytes fails it as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ctypes import POINTER, byref, c_size_t, string_at
from typing import Any

import attrs
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException

from klag_trio.domain.offsets import GroupState
from klag_trio.kafka.handle import Handle, error_of
from klag_trio.kafka.librdkafka import GroupList
from klag_trio.kafka.text import text

_LIST_CONSUMER_GROUPS = 12

# confluent-kafka 2.16 knows no Assigning and no Reconciling (KIP-848) and says Unknown for them.
_STATES: Mapping[int, GroupState] = {
    ConsumerGroupState.UNKNOWN.value: GroupState.UNKNOWN,
    ConsumerGroupState.PREPARING_REBALANCING.value: GroupState.PREPARING_REBALANCE,
    ConsumerGroupState.COMPLETING_REBALANCING.value: GroupState.COMPLETING_REBALANCE,
    ConsumerGroupState.STABLE.value: GroupState.STABLE,
    ConsumerGroupState.DEAD.value: GroupState.DEAD,
    ConsumerGroupState.EMPTY.value: GroupState.EMPTY,
}
# In Kafka's words, which the older call hands on.
_STATES_BY_NAME: Mapping[str, GroupState] = {
    "PreparingRebalance": GroupState.PREPARING_REBALANCE,
    "CompletingRebalance": GroupState.COMPLETING_REBALANCE,
    "Stable": GroupState.STABLE,
    "Dead": GroupState.DEAD,
    "Empty": GroupState.EMPTY,
}


def state_of(number: int) -> GroupState:
    """The state that an rd_kafka_consumer_group_state_t is."""
    return _STATES.get(number, GroupState.UNKNOWN)


@attrs.frozen
class Listed:
    """A group as a broker lists it."""

    name: str
    state: int
    """An rd_kafka_consumer_group_state_t."""
    type: int
    """An rd_kafka_consumer_group_type_t."""


def list_groups(handle: Handle, timeout: float) -> tuple[list[Listed], list[KafkaError]] | KafkaError:
    """The groups that brokers list, and an error for each broker that did not answer."""
    lib = handle.lib

    def read(event: int) -> tuple[list[Listed], list[KafkaError]]:
        result, count = lib.rd_kafka_event_ListConsumerGroups_result(event), c_size_t()
        valid = lib.rd_kafka_ListConsumerGroups_result_valid(result, byref(count))
        groups = [
            Listed(
                text(lib.rd_kafka_ConsumerGroupListing_group_id(group)),
                lib.rd_kafka_ConsumerGroupListing_state(group),
                lib.rd_kafka_ConsumerGroupListing_type(group),
            )
            for group in valid[: count.value]
        ]
        errors = lib.rd_kafka_ListConsumerGroups_result_errors(result, byref(count))
        return groups, [
            error_of(lib.rd_kafka_error_code(error), lib.rd_kafka_error_string(error))
            for error in errors[: count.value]
        ]

    return handle.request(
        _LIST_CONSUMER_GROUPS,
        lambda options, queue: lib.rd_kafka_ListConsumerGroups(handle.handle, options, queue),
        read,
        timeout,
    )


@attrs.frozen
class RawMember:
    """A member of a classic group."""

    member_id: str
    client_id: str
    host: str
    assignment: bytes


@attrs.frozen
class RawGroup:
    """A group as its coordinator describes it, in DescribeGroups version 0."""

    name: str
    error: KafkaError | None
    state: GroupState
    """Dead for a group of any protocol but the classic one."""
    protocol_type: str
    """Who may read the assignments: `consumer`."""
    members: Sequence[RawMember]


def raw_groups(handle: Handle, timeout: float) -> Iterator[RawGroup | KafkaError]:
    """All groups of the brokers that answered within `timeout` seconds, and an error where others did not.

    Raises:
        KafkaException: no broker answered, or librdkafka could not take an answer.

    """
    lib, found = handle.lib, POINTER(GroupList)()
    code = lib.rd_kafka_list_groups(handle.handle, None, byref(found), max(1, int(timeout * 1000)))
    if code not in (KafkaError.NO_ERROR, KafkaError._PARTIAL):
        raise KafkaException(KafkaError(code))
    try:
        for index in range(found.contents.group_cnt):
            yield _raw_group(found.contents.groups[index])
        if code:
            yield KafkaError(code)
    finally:
        lib.rd_kafka_group_list_destroy(found)


def _raw_group(group: Any) -> RawGroup:
    return RawGroup(
        name=text(group.group),
        error=KafkaError(group.err) if group.err else None,
        state=_STATES_BY_NAME.get(text(group.state), GroupState.UNKNOWN),
        protocol_type=text(group.protocol_type),
        members=[_raw_member(group.members[index]) for index in range(group.member_cnt)],
    )


def _raw_member(member: Any) -> RawMember:
    size = member.member_assignment_size
    return RawMember(
        member_id=text(member.member_id),
        client_id=text(member.client_id),
        host=text(member.client_host),
        assignment=string_at(member.member_assignment, size) if size > 0 else b"",
    )
