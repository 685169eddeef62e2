"""The keys of the configuration: their types, their defaults and what they mean.

Attribute names are the TOML keys. Each key's metadata holds `doc`, what it means, and `default`, its
default as TOML spells it; docs/configuration.md is made from them.
"""
# key() and table() declare fields, as attrs.field does.
# ruff: noqa: RUF009

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import attrs
from cattrs.errors import AttributeValidationNote

from klag_trio.domain.patterns import NamePattern

from . import readers
from .errors import WrongValueError
from .properties import Properties, consumer_properties
from .readers import array_of, boolean, choice, duration, integer, number, optional, pattern, text
from .written import Node, describe, plain

T = TypeVar("T")

_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_HOUR = 3600.0
# What librdkafka's timeouts can hold, 32-bit milliseconds.
_LONGEST_TIMEOUT = 24 * 86400.0
_patterns = array_of(pattern, "an array of regular expressions in RE2's syntax")

BUILT_IN_LABELS = frozenset(
    {
        "cluster_name",
        "topic",
        "partition",
        "group",
        "member_host",
        "consumer_id",
        "client_id",
        "compaction_detected",
        "data_loss_detected",
        "phase",
        "stage",
        "code",
        "outcome",
        "le",
        "quantile",
    }
)


def labels(node: Node) -> Mapping[str, str]:
    """Read constant labels."""
    if not isinstance(node, dict):
        raise WrongValueError("expected a table of labels", describe(node))
    values, mistakes = {}, []
    for name, item in node.items():
        try:
            values[name] = _label(name, item)
        except WrongValueError as exc:
            exc.add_note(AttributeValidationNote("", name, object))
            mistakes.append(exc)
    if mistakes:
        raise ExceptionGroup("labels", mistakes)
    return MappingProxyType(values)


def _label(name: str, node: Node) -> str:
    if not _LABEL.fullmatch(name):
        raise WrongValueError("expected a label name: letters, digits and _, no digit first and no __ first")
    if name in BUILT_IN_LABELS:
        raise WrongValueError("clashes with a label that klag-trio sets itself: choose another name")
    return readers.string(node, "a string")


def key(read: Callable[[Node], T], default: object, doc: str) -> T:
    """Declare a key that may be left out. The default is written as in TOML, or None where there is none."""
    value = None if default is None else read(plain(default))
    field: T = attrs.field(default=value, metadata={"read": read, "default": default, "doc": doc})
    return field


def required(read: Callable[[Node], T], doc: str) -> T:
    """Declare a key that must be there."""
    field: T = attrs.field(metadata={"read": read, "doc": doc})
    return field


def table(kind: type[T], doc: str) -> T:
    """Declare a table that may be left out."""
    field: T = attrs.field(factory=kind, metadata={"doc": doc})
    return field


@attrs.frozen(kw_only=True)
class TimestampSampling:
    """How time lag is found."""

    enabled: bool = key(boolean, True, "false: no message is ever read and no time-lag series exists")
    mode: Literal["message", "rate"] = key(
        choice("message", "rate"),
        "message",
        '"message": the record\'s own timestamp, exact; "rate": estimated from the production rate, no reads',
    )
    cache_ttl: float = key(
        duration(zero="no cache"),
        "60s",
        "message mode: how long a timestamp that was read is kept; 0 turns it off",
    )
    max_concurrent_fetches: int = key(integer(1), 10, "message mode: reads under way at once, per cluster")
    fetch_timeout: float = key(
        duration(most=_LONGEST_TIMEOUT), "5s", "message mode: how long one read of a partition may take"
    )
    skip_data_loss_partitions: bool = key(
        boolean, False, "message mode: do not read where the committed record is gone"
    )
    rate_history_samples: int = key(integer(2), 5, "rate mode: how many past offsets of a partition are kept")
    rate_history_max_age: float = key(duration(), "10m", "rate mode: how long past offsets are kept")
    rate_min_msgs_per_sec: float = key(
        number(0), 0.01, "rate mode: below this production rate a partition has no time lag"
    )


@attrs.frozen(kw_only=True)
class Performance:
    """Deadlines, concurrency and caches."""

    kafka_timeout: float = key(duration(most=_HOUR), "30s", "the deadline of any one Kafka call")
    offset_fetch_timeout: float = key(
        duration(most=_HOUR), "10s", "the deadline of one group's offsets, and of the members of all groups"
    )
    group_fetch_retries: int = key(
        integer(0, 100), 0, "further attempts at a group's offsets after a passing error"
    )
    max_concurrent_groups: int = key(integer(1), 10, "groups whose offsets are fetched at once, per cluster")
    client_recycle_interval: int = key(
        integer(0), 50, "after how many cycles Kafka clients are replaced; 0 turns it off"
    )
    metadata_cache_ttl: float = key(
        duration(zero="no cache"), "5m", "how soon new topics and partitions are found; 0 turns the cache off"
    )
    consumer_groups_cache_ttl: float = key(
        duration(zero="no cache"), "1m", "how soon new consumer groups are found; 0 turns the cache off"
    )
    compacted_topics_cache_ttl: float = key(
        duration(zero="no cache"), "1h", "how soon a changed cleanup.policy is noticed; 0 turns the cache off"
    )
    max_concurrent_watermarks: int | None = key(
        optional(integer(1)), None, "accepted for klag-exporter's sake, without effect"
    )
    max_blocking_threads: int = key(
        integer(1), 64, "threads for calls into librdkafka, shared out over the clusters"
    )


@attrs.frozen(kw_only=True)
class Otel:
    """OTLP over gRPC or HTTP. What is not given here may be given by the standard OTEL_ variables."""

    enabled: bool = key(boolean, False, "push the metrics to an OpenTelemetry collector as well")
    protocol: Literal["grpc", "http/protobuf"] | None = key(
        optional(choice("grpc", "http/protobuf")), None, '"grpc" where nothing else is said'
    )
    endpoint: str | None = key(
        optional(readers.http_url),
        None,
        "its address, https for TLS; http://localhost:4317 over gRPC and http://localhost:4318 over HTTP "
        "where nothing else is said; over HTTP without a path, /v1/metrics is added",
    )
    export_interval: float = key(duration(), "60s", "how often metrics are pushed")


@attrs.frozen(kw_only=True)
class Leadership:
    """Several replicas, one of which collects."""

    enabled: bool = key(boolean, False, "elect a leader; the others stand by")
    provider: Literal["kubernetes"] = key(choice("kubernetes"), "kubernetes", "where the election is held")
    lease_name: str = key(readers.dns_name, "klag-exporter", "the Lease")
    lease_namespace: str = key(readers.dns_label, "default", "its namespace")
    identity: str | None = key(
        optional(text()), None, "what this replica calls itself; POD_NAME or HOSTNAME where not given"
    )
    lease_duration_secs: int = key(integer(1), 15, "seconds that a lease holds without renewal")
    grace_period_secs: int = key(
        integer(0),
        5,
        "seconds before its end at which one that cannot renew it stops; less than lease_duration_secs",
    )


@attrs.frozen(kw_only=True)
class Exporter:
    """What holds for all clusters."""

    poll_interval: float = key(
        duration(), "30s", "a cycle starts this often in each cluster; cycles of one cluster never overlap"
    )
    http_host: str = key(readers.listen_host, "0.0.0.0", "the address to listen on")  # noqa: S104 - klag-exporter's
    http_port: int = key(integer(0, 65535), 8000, "the port to listen on; 0 takes any that is free")
    granularity: Literal["topic", "partition"] = key(
        choice("topic", "partition"),
        "topic",
        '"topic": aggregates by group and topic, and the offsets of partitions; "partition": every series',
    )
    staleness_threshold: float = attrs.field(
        default=attrs.Factory(lambda self: 3 * self.poll_interval, takes_self=True),
        metadata={
            "read": duration(),
            "default": "3 x poll_interval",
            "doc": "a cluster whose last good cycle is older drops out of /metrics; at least poll_interval",
        },
    )
    timestamp_sampling: TimestampSampling = table(TimestampSampling, "time lag")
    performance: Performance = table(Performance, "deadlines, concurrency and caches")
    otel: Otel = table(Otel, "OpenTelemetry")
    leadership: Leadership = table(Leadership, "leader election")


@attrs.frozen(kw_only=True)
class Cluster:
    """One Kafka cluster. Regular expressions match anywhere in a name unless they have anchors."""

    name: str = required(text(), "unique; the label cluster_name")
    bootstrap_servers: str = required(readers.bootstrap_servers, "host:port pairs with commas between them")
    group_whitelist: tuple[NamePattern, ...] = key(
        _patterns, [".*"], "a group must match one of these regular expressions"
    )
    group_blacklist: tuple[NamePattern, ...] = key(_patterns, [], "and none of these")
    topic_whitelist: tuple[NamePattern, ...] = key(
        _patterns, [".*"], "a topic must match one of these regular expressions"
    )
    topic_blacklist: tuple[NamePattern, ...] = key(_patterns, ["__.*"], "and none of these")
    consumer_properties: Properties = key(
        consumer_properties, {}, "librdkafka properties, such as those for SASL and TLS; never shown"
    )
    labels: Mapping[str, str] = key(labels, {}, "constant labels on every series of the cluster")


@attrs.frozen
class Config:
    """A configuration without a mistake in it."""

    exporter: Exporter = table(Exporter, "what holds for all clusters")
    clusters: tuple[Cluster, ...] = attrs.field(
        default=(), metadata={"doc": "the Kafka clusters, at least one"}
    )


@attrs.frozen
class Order:
    """Two keys of one table, the first of which must not pass the second."""

    lower: str
    upper: str
    may_be_equal: bool
    # The key that is told to change, and what for.
    blame: str
    reason: str


ORDERS: Mapping[type[Any], Order] = MappingProxyType(
    {
        Exporter: Order(
            "poll_interval",
            "staleness_threshold",
            may_be_equal=True,
            blame="staleness_threshold",
            reason="expected poll_interval or more: clusters would drop out of /metrics between cycles",
        ),
        Leadership: Order(
            "grace_period_secs",
            "lease_duration_secs",
            may_be_equal=False,
            blame="grace_period_secs",
            reason="expected less than lease_duration_secs: the lease would run out before it is renewed",
        ),
    }
)
