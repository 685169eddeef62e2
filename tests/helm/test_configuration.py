"""The configuration file that the chart renders, read by klag-trio's own loader."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from klag_trio.config import Cluster, Config, load_config
from klag_trio.config.properties import Properties
from klag_trio.config.schema import Exporter
from stack import ROOT
from stack.chart.rendering import RefusedError, template

# Values of keys that take only some.
NAMED = {
    "exporter.http_host": "::1",
    "exporter.granularity": "partition",
    "exporter.timestamp_sampling.mode": "rate",
    "exporter.otel.protocol": "http/protobuf",
    "exporter.otel.endpoint": "https://collector:4317",
    "exporter.leadership.provider": "kubernetes",
    "exporter.leadership.lease_name": "the-lease",
    "exporter.leadership.lease_namespace": "elsewhere",
    "exporter.leadership.identity": "me",
    "clusters.name": 'a "cluster" \\ named $${x} \u007f\u00fc\n',
    "clusters.bootstrap_servers": "one:9092,two:9093",
    "clusters.consumer_properties": {
        "sasl.password": "a'\"\\b",
        "socket.keepalive.enable": True,
        "retries": 7,
    },
    "clusters.labels": {"environment": "a <b> & c"},
}
PATTERNS = ["^a\\.b$", 'x"y', "[a-z]+"]


def keys(kind: type[Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a table, with its path and its field."""
    for field in attrs.fields(attrs.resolve_types(kind)):
        path = f"{above}{field.name}"
        if attrs.has(field.type) and "read" not in field.metadata:
            yield from keys(field.type, f"{path}.")
        else:
            yield path, field


KEYS = [*keys(Exporter, "exporter."), *keys(Cluster, "clusters.")]


def another(path: str, field: Any) -> Any:
    """A value for a key, as values.yaml has it, that is not what is there without it."""
    default = field.metadata.get("default")
    if path in NAMED:
        return NAMED[path]
    if field.name.endswith("list"):
        return PATTERNS
    if isinstance(default, bool):
        return not default
    if isinstance(default, int) or field.type == int | None:
        return (default or 1) + 1
    if isinstance(default, float):
        return 0.5
    return "17m"


def values_with(path: str, value: Any) -> dict[str, Any]:
    """Values that set one key of the configuration."""
    cluster: dict[str, Any] = {"name": "a", "bootstrap_servers": "kafka:9092"}
    exporter: dict[str, Any] = {}
    *tables, name = path.split(".")
    if tables == ["clusters"]:
        cluster[name] = value
    else:
        at = exporter
        for table in tables[1:]:
            at = at.setdefault(table, {})
        at[name] = value
    return {"config": {"exporter": exporter, "clusters": [cluster]}}


def loaded(values: dict[str, Any], **environ: str) -> Config:
    return load_config(template(values).config, environ)


def at(config: Config, path: str) -> Any:
    found: Any = config
    for step in path.split("."):
        found = found[0] if isinstance(found, tuple) else found
        found = getattr(found, step)
    return found


def expected(field: Any, value: Any) -> Any:
    """What the loader makes of a value."""
    if field.type is Properties:
        return Properties(
            {name: str(item).lower() if item is True else str(item) for name, item in value.items()}
        )
    if field.name.endswith("list"):
        return tuple(value)
    return 17 * 60.0 if value == "17m" else value


def test_keys_are_many() -> None:
    assert len(KEYS) > 40


@pytest.mark.parametrize(("path", "field"), KEYS, ids=[path for path, _ in KEYS])
def test_every_key_of_the_configuration_can_be_set(path: str, field: Any) -> None:
    value = another(path, field)
    found = at(loaded(values_with(path, value)), path)
    if field.name.endswith("list"):
        found = tuple(pattern.pattern for pattern in found)
    wanted = value.replace("$${", "${") if path == "clusters.name" else expected(field, value)
    assert wanted == found
    if path != "exporter.leadership.provider":
        assert wanted != field.default


def test_without_values_for_it_the_configuration_is_the_programs_own() -> None:
    rendered = loaded({"bootstrapServers": "kafka:9092"})
    own = load_config('[[clusters]]\nname = "kafka"\nbootstrap_servers = "kafka:9092"\n', {})
    assert own == rendered


def test_the_example_configuration_goes_through_values_unchanged() -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    assert load_config(text, {}) == loaded({"config": tomllib.loads(text)})


# A surrogate or NUL is in no YAML file, and ${ is for the next test.
written = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=30, deadline=None)
@given(st.lists(written.filter(lambda text: "${" not in text), min_size=1, max_size=50))
@example(["0E0", "0o7", "y", "1_000", ".5", "0x1F", "~", "2026-11-25"])
def test_every_string_arrives_as_it_was_given(texts: list[str]) -> None:
    labels = {f"label_{index}": text for index, text in enumerate(texts)}
    cluster = {"name": "a", "bootstrap_servers": "kafka:9092", "labels": labels}
    assert labels == loaded({"config": {"clusters": [cluster]}}).clusters[0].labels


def test_the_environment_can_stand_for_any_value() -> None:
    values = {
        "config": {
            "exporter": {
                "poll_interval": "${INTERVAL:-7s}",
                "timestamp_sampling": {"enabled": "${SAMPLE}", "rate_min_msgs_per_sec": "${RATE}"},
                "performance": {"max_concurrent_groups": "${GROUPS}"},
            },
            "clusters": [
                {
                    "name": "in-${WHERE}",
                    "bootstrap_servers": "${SERVERS}",
                    "topic_whitelist": ["${TOPICS}"],
                    "consumer_properties": {"sasl.password": "${PASSWORD}", "sasl.username": "${?NOBODY}"},
                }
            ],
        }
    }
    config = loaded(
        values, SAMPLE="false", RATE="0.25", GROUPS="3", WHERE="x", SERVERS="k:1", TOPICS="^a", PASSWORD='p"w'
    )
    exporter, (cluster,) = config.exporter, config.clusters
    assert (7.0, False) == (exporter.poll_interval, exporter.timestamp_sampling.enabled)
    assert (0.25, 3) == (
        exporter.timestamp_sampling.rate_min_msgs_per_sec,
        exporter.performance.max_concurrent_groups,
    )
    assert ("in-x", "k:1", "^a") == (
        cluster.name,
        cluster.bootstrap_servers,
        cluster.topic_whitelist[0].pattern,
    )
    assert {"sasl.password": 'p"w', "sasl.username": ""} == cluster.consumer_properties.reveal()


def test_the_spelling_of_klag_exporters_chart_is_taken_too() -> None:
    ours: dict[str, Any] = {
        "exporter": {"otel": {"export_interval": "5s"}, "performance": {"kafka_timeout": "7s"}},
        "clusters": [{"name": "a", "bootstrap_servers": "k:1", "consumer_properties": {"retries": 1}}],
    }
    theirs = {
        "exporter": {},
        "exporter.otel": {"export_interval": "5s"},
        "exporter.performance": {"kafka_timeout": "7s"},
        "exporter.leadership": {"enabled": False, "lease_namespace": ""},
        "clusters": [
            {"name": "a", "bootstrap_servers": "k:1", "clusters.consumer_properties": {"retries": 1}}
        ],
    }
    assert loaded({"config": ours}) == loaded({"config": theirs})


def test_several_replicas_elect_a_leader_by_a_lease_of_the_release() -> None:
    leadership = loaded({"bootstrapServers": "k:1", "replicaCount": 2}).exporter.leadership
    assert (True, "lag-klag-trio", "monitoring") == (
        leadership.enabled,
        leadership.lease_name,
        leadership.lease_namespace,
    )


def test_several_replicas_without_an_election_are_refused() -> None:
    with pytest.raises(RefusedError, match="would each collect"):
        template(
            {"bootstrapServers": "k:1", "replicaCount": 2}, sets=["config.exporter.leadership.enabled=false"]
        )


def test_without_a_cluster_the_first_line_to_write_is_told() -> None:
    with pytest.raises(RefusedError, match=r'bootstrapServers: set it to the brokers .*"kafka:9092"'):
        template()
