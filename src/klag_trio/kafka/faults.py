"""librdkafka's errors in our terms."""

from __future__ import annotations

from confluent_kafka import KafkaError

from klag_trio.domain.offsets import Fault

_PASSING = frozenset(
    {
        "_TRANSPORT",
        "_TIMED_OUT",
        "_TIMED_OUT_QUEUE",
        "_WAIT_COORD",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "GROUP_COORDINATOR_NOT_AVAILABLE",
        "GROUP_LOAD_IN_PROGRESS",
        "NOT_COORDINATOR",
        "NOT_COORDINATOR_FOR_GROUP",
        "REQUEST_TIMED_OUT",
    }
)


def fault_of(error: KafkaError) -> Fault:
    """What librdkafka says, as it says it: the message may name what is configured."""
    name = error.name()
    return Fault(name, error.str(), retriable=error.retriable() or name in _PASSING)
