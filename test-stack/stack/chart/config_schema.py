"""The schema of the configuration among the chart's values, made from klag-trio's own rules.

JSON Schema's regular expressions are Go's in Helm: they have no lookahead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from klag_trio.config import readers
from klag_trio.config.durations import NANOSECONDS
from klag_trio.config.properties import REFUSED
from klag_trio.config.schema import BUILT_IN_LABELS

Schema = dict[str, Any]

# Somewhere in a string: what it becomes only klag-trio will know.
FROM_ENVIRONMENT = r"\$\{"
_WHOLLY_FROM_ENVIRONMENT = r"^\$\{\??[A-Za-z_][A-Za-z0-9_.]*(:-[^{}'\r\n]*)?\}$"
_UNIT = "|".join(sorted(NANOSECONDS, key=len, reverse=True))
_DURATION = rf"^\s*([0-9]+(\.[0-9]+)?\s*({_UNIT})\s*)+$"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_SERVER = rf"\s*([A-Za-z_]+://)?(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[^\s:/@\[\],]+)(:{_PORT})?\s*"
BOOTSTRAP = rf"{_SERVER}(,{_SERVER})*"
_LABEL_NAME = "^(_|_?[a-zA-Z][a-zA-Z0-9_]*|_[0-9][a-zA-Z0-9_]*)$"


def _or(pattern: str) -> str:
    return f"^({pattern})$|{FROM_ENVIRONMENT}"


def table(properties: Schema, *, required: tuple[str, ...] = ()) -> Schema:
    """An object with these fields, and no others."""
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def text(pattern: str = "") -> Schema:
    return {"type": "string", "pattern": pattern} if pattern else {"type": "string"}


def choice(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


BOOLEAN: Schema = {"type": "boolean"}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}


def config_boolean() -> Schema:
    return {"type": ["boolean", "string"], "pattern": _WHOLLY_FROM_ENVIRONMENT}


def config_integer(least: int, most: int = 1_000_000) -> Schema:
    return {
        "type": ["integer", "string"],
        "minimum": least,
        "maximum": most,
        "pattern": _WHOLLY_FROM_ENVIRONMENT,
    }


def config_number(least: float) -> Schema:
    return {
        "type": ["number", "string"],
        "minimum": least,
        "maximum": 1e12,
        "pattern": _WHOLLY_FROM_ENVIRONMENT,
    }


def duration(*, zero: bool = False) -> Schema:
    """Its bounds klag-trio itself checks."""
    if zero:
        return text(f"{_DURATION}|^\\s*0\\s*$|{FROM_ENVIRONMENT}")
    return text(f"{_DURATION}|{FROM_ENVIRONMENT}") | {"not": {"type": "string", "pattern": "^[^1-9$]*$"}}


_PATTERNS = array({"type": "string"})
FILLED = text(r"\S")
SAMPLING = table(
    {
        "enabled": config_boolean(),
        "mode": text(_or("message|rate")),
        "cache_ttl": duration(zero=True),
        "max_concurrent_fetches": config_integer(1),
        "fetch_timeout": duration(),
        "skip_data_loss_partitions": config_boolean(),
        "rate_history_samples": config_integer(2),
        "rate_history_max_age": duration(),
        "rate_min_msgs_per_sec": config_number(0),
    }
)
PERFORMANCE = table(
    {
        "kafka_timeout": duration(),
        "offset_fetch_timeout": duration(),
        "group_fetch_retries": config_integer(0, 100),
        "max_concurrent_groups": config_integer(1),
        "client_recycle_interval": config_integer(0),
        "metadata_cache_ttl": duration(zero=True),
        "consumer_groups_cache_ttl": duration(zero=True),
        "compacted_topics_cache_ttl": duration(zero=True),
        "max_concurrent_watermarks": config_integer(1) | {"pattern": f"{_WHOLLY_FROM_ENVIRONMENT}|^$"},
        "max_blocking_threads": config_integer(1),
    }
)
OTEL = table(
    {
        "enabled": config_boolean(),
        "protocol": text(_or("(grpc|http/protobuf)?")),
        "endpoint": text(_or(rf"(https?://(\[[0-9A-Fa-f:.]+\]|[^\s/@?#:\[\]]+)(:{_PORT})?([/?#]\S*)?)?")),
        "export_interval": duration(),
    }
)
# What the chart needs to know itself cannot come from the environment.
LEADERSHIP = table(
    {
        "enabled": BOOLEAN,
        "provider": choice("kubernetes"),
        "lease_name": text(f"^({readers.DNS_NAME})?$") | {"maxLength": 253},
        "lease_namespace": text(f"^({readers.DNS_LABEL})?$"),
        "identity": text(r"\S|^$"),
        "lease_duration_secs": config_integer(1),
        "grace_period_secs": config_integer(0),
    }
)
EXPORTER = table(
    {
        "poll_interval": duration(),
        "http_host": text(_or(r"[A-Za-z0-9_.%-]+|\[?[0-9A-Fa-f:.]+(%[\w.-]+)?\]?")),
        "http_port": PORT,
        "granularity": text(_or("topic|partition")),
        "staleness_threshold": duration(),
        "timestamp_sampling": SAMPLING,
        "performance": PERFORMANCE,
        "otel": OTEL,
        "leadership": LEADERSHIP,
    }
)


def names(pattern: str, refused: Iterable[str], values: Schema) -> Schema:
    """A table whose names match a pattern and are none of those that are refused."""
    # Not propertyNames: Helm's library tells a wrong place for what is wrong there.
    return {
        "type": "object",
        "properties": dict.fromkeys(sorted(refused), False),
        "patternProperties": {pattern: values},
        "additionalProperties": False,
    }


PROPERTIES = names("^[A-Za-z0-9._-]+$", REFUSED, {"type": ["string", "number", "boolean"]})
CLUSTER = table(
    {
        "name": FILLED,
        "bootstrap_servers": text(_or(BOOTSTRAP)),
        "group_whitelist": _PATTERNS,
        "group_blacklist": _PATTERNS,
        "topic_whitelist": _PATTERNS,
        "topic_blacklist": _PATTERNS,
        "consumer_properties": PROPERTIES,
        "clusters.consumer_properties": PROPERTIES,
        "labels": names(_LABEL_NAME, BUILT_IN_LABELS, text()),
    },
    required=("name", "bootstrap_servers"),
)
CONFIG = table(
    {
        "exporter": EXPORTER,
        "exporter.timestamp_sampling": SAMPLING,
        "exporter.performance": PERFORMANCE,
        "exporter.otel": OTEL,
        "exporter.leadership": LEADERSHIP,
        "clusters": array(CLUSTER),
    }
)
