"""The faults: how each begins and ends, and what it does to the cluster that has it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs
from tests.faults import brokers, network, traffic
from tests.faults.estate import TOPIC, Begin, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.observed import Moment

# What a cluster that cannot be reached, or brokers of it, come out as.
SILENT = frozenset(
    {
        "_TRANSPORT",
        "_TIMED_OUT",
        "_TIMED_OUT_QUEUE",
        "_ALL_BROKERS_DOWN",
        "_PARTIAL",
        "_WAIT_COORD",
        "_NOENT",  # librdkafka's for: no partition has a leader
    }
)
# What brokers answer while leaders and coordinators find a new place.
MOVING = SILENT | {
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "LEADER_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "NOT_LEADER_FOR_PARTITION",
    "REPLICA_NOT_AVAILABLE",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "_DESTROY_BROKER",  # librdkafka's for: it let go of the connection that was to be asked
}
GOING = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_ID"})


class Effect(enum.Enum):
    """What a fault does to the cluster."""

    AWAY = "no answer at all: down, its series as they were until the threshold, then gone"
    PARTLY = "answers from a part: every series stays, and good cycles go on"
    HARMLESS = "every series stays as it is, and the cluster is up all the time"


@attrs.frozen
class Fault:
    """A fault; it lasts as long as the block that `begin` makes."""

    name: str
    effect: Effect
    begin: Begin
    codes: frozenset[str] = frozenset()
    """What klag_errors_total may count of it."""
    told: frozenset[str] = frozenset()
    """Codes of which at least one must be counted."""
    way: Way = Way.DIRECT
    at_start: bool = False
    """It begins before klag-trio does."""
    check: Callable[[Sequence[Moment], float], None] | None = None
    """What else must be seen while it lasts; takes the time of its beginning besides."""


AWAY, PARTLY, HARMLESS = Effect.AWAY, Effect.PARTLY, Effect.HARMLESS
SLOW = frozenset({"_TIMED_OUT"})
NO_LOGIN = frozenset({"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED"})

FAULTS = [
    Fault("a broker is killed in the middle of a cycle", PARTLY, brokers.killed(1), codes=MOVING),
    Fault(
        "all brokers are killed in the middle of a cycle", AWAY, brokers.killed(3), codes=MOVING, told=SILENT
    ),
    Fault("a broker is down at start", PARTLY, brokers.broker_missing, codes=MOVING, at_start=True),
    Fault(
        "all brokers are down at start", AWAY, brokers.all_missing, codes=MOVING, told=SILENT, at_start=True
    ),
    Fault("a broker freezes and thaws", PARTLY, brokers.all_frozen(1), codes=MOVING, told=SILENT),
    Fault("all brokers freeze and thaw", AWAY, brokers.all_frozen(3), codes=MOVING, told=SILENT),
    Fault("brokers are restarted in turn", PARTLY, brokers.restarted_in_turn, codes=MOVING),
    Fault("group coordinators move", PARTLY, traffic.moved("__consumer_offsets"), codes=MOVING),
    Fault("partition leaders move", PARTLY, traffic.moved(TOPIC), codes=MOVING),
    Fault("topics and groups come and go", HARMLESS, traffic.churned, codes=GOING | MOVING),
    Fault("a group is deleted", HARMLESS, traffic.group_deleted, check=traffic.doomed_is_gone),
    Fault(
        "a group rebalances without end",
        HARMLESS,
        traffic.restless("classic"),
        check=traffic.restless_keeps_its_lag,
    ),
    Fault(
        "members come and go (KIP-848)",
        HARMLESS,
        traffic.restless("consumer"),
        check=traffic.restless_keeps_its_lag,
    ),
    Fault(
        "the network is slow: 120 ms there and back, 64 KiB/s",
        HARMLESS,
        network.network(Way.SLOW, delay=0.06, bytes_per_second=65536),
        way=Way.SLOW,
    ),
    Fault(
        "a cycle takes longer than the poll interval",
        HARMLESS,
        network.network(Way.SLOW, delay=0.3),
        codes=SLOW,
        way=Way.SLOW,
        check=network.cycles_overran,
    ),
    Fault(
        "the network is cut",
        AWAY,
        network.network(Way.NAMED, refusing=True),
        codes=SILENT,
        told=SILENT,
        way=Way.NAMED,
    ),
    Fault(
        "the brokers' name is not resolved",
        AWAY,
        network.name_unknown,
        codes=SILENT | {"_RESOLVE"},
        told=frozenset({"_RESOLVE"}),
        way=Way.NAMED,
    ),
    Fault(
        "the TLS handshake fails",
        AWAY,
        network.impostor,
        codes=SILENT | {"_SSL"},
        told=frozenset({"_SSL"}),
        way=Way.SECURE,
    ),
    Fault(
        "credentials are revoked",
        AWAY,
        network.revoked,
        codes=SILENT | NO_LOGIN,
        told=NO_LOGIN,
        way=Way.SECURE,
    ),
]
