from __future__ import annotations

import copy
import traceback

import attrs
import pytest
from tests.unit.config.files import CLUSTER, cluster_problem, problems, with_cluster

from klag_trio.config import ConfigError, Properties, load_config

OWNED = [
    "group.id",
    "group.instance.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "enable.partition.eof",
    "allow.auto.create.topics",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "fetch.wait.max.ms",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "statistics.interval.ms",
    "client.rack",
]


def test_properties_are_revealed_to_who_asks() -> None:
    cluster = with_cluster(
        """
        [clusters.consumer_properties]
        "sasl.username" = "u"
        "sasl.password" = "p ${P}"
        "socket.timeout.ms" = 5000
        "socket.keepalive.enable" = true
        "log.connection.close" = false
        "some.ratio" = 0.5
        """,
        P="hunter2",
    )
    assert {
        "sasl.username": "u",
        "sasl.password": "p hunter2",
        "socket.timeout.ms": "5000",
        "socket.keepalive.enable": "true",
        "log.connection.close": "false",
        "some.ratio": "0.5",
    } == cluster.consumer_properties.reveal()
    assert () == cluster.consumer_properties.ignored


def test_no_repr_and_no_dump_of_a_configuration_shows_a_property() -> None:
    config = load_config(CLUSTER + 'consumer_properties."sasl.password" = "hunter2"', {})
    properties = config.clusters[0].consumer_properties
    shown = [
        repr(config),
        str(config),
        repr(attrs.asdict(config)),
        repr(attrs.astuple(config)),
        f"{properties}",
    ]
    assert not [text for text in shown if "hunter2" in text]
    assert "Properties(sasl.password)" == repr(properties)


def test_properties_cannot_be_changed() -> None:
    given = {"sasl.password": "old"}
    properties = Properties(given)
    given["sasl.password"] = "new"
    properties.reveal()["sasl.password"] = "new"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        properties._values = {}  # type: ignore[misc]
    assert {"sasl.password": "old"} == properties.reveal()


def test_properties_with_the_same_values_are_equal_and_others_are_not() -> None:
    assert Properties({"a": "1"}) == copy.copy(Properties({"a": "1"}))
    assert Properties({"a": "1"}) != Properties({"a": "2"})
    assert Properties() != Properties({"a": "2"})


def test_properties_list_their_names() -> None:
    properties = Properties({"b": "1", "a": "2"})
    assert ["b", "a"] == list(properties)
    assert 2 == len(properties)
    assert "a" in properties
    assert "c" not in properties


@pytest.mark.parametrize("name", OWNED)
def test_a_property_that_the_exporter_owns_is_dropped_and_told(name: str) -> None:
    properties = with_cluster(
        f'consumer_properties = {{"client.id" = "x", "{name}" = "1"}}'
    ).consumer_properties
    assert {"client.id": "x"} == properties.reveal()
    assert (name,) == properties.ignored


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("plugin libraries are not loaded: remove it", '"plugin.library.paths"'),
        ("the brokers belong into the cluster's bootstrap_servers", '"bootstrap.servers"'),
        ("the brokers belong into the cluster's bootstrap_servers", '"metadata.broker.list"'),
        ("expected the name of a librdkafka property", '"plugin.library.paths\\u0000"'),
        ("expected the name of a librdkafka property", '" plugin.library.paths"'),
        ("expected the name of a librdkafka property", '""'),
        ('expected quotes around a name with dots in it, as in "sasl.username"', "sasl.password"),
    ],
)
def test_some_properties_are_refused(message: str, name: str) -> None:
    found = cluster_problem(f'consumer_properties.{name} = "hunter2"')
    assert message == found.message
    assert found.path.startswith("clusters[0].consumer_properties.")
    assert found.found is None


@pytest.mark.parametrize(
    "value",
    ['["hunter2"]', "{a = 'hunter2'}", "2024-01-01T00:00:00Z", "'hunter2${'", '"hunter2\\u0000"'],
)
def test_a_wrong_property_is_never_shown(value: str) -> None:
    found = cluster_problem(f'consumer_properties."sasl.password" = {value}')
    assert 'clusters[0].consumer_properties."sasl.password"' == found.path
    assert found.found is None
    assert "hunter2" not in str(found)
    assert "2024" not in str(found)


def test_a_variable_that_a_property_needs_is_named() -> None:
    found = cluster_problem('consumer_properties."sasl.password" = "hunter2${NOPE}"')
    assert "the environment variable NOPE is not set" in str(found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    "text",
    [
        'consumer_properties = "hunter2"',
        'consumer_properties = ["hunter2"]',
        'consumer_propertis = {"sasl.password" = "hunter2"}',
        '"sasl.password" = "hunter2"',
        'sasl.password = "hunter2"',
        'labels = ["hunter2"]',
        'topic_whitelist = {"sasl.password" = "hunter2"}',
        'group_whitelist = [{"sasl.password" = "hunter2"}, ["hunter2"]]',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown_either(text: str) -> None:
    assert "hunter2" not in "\n".join(map(str, problems(CLUSTER + text)))


@pytest.mark.parametrize(
    "text",
    [
        '"sasl.password" = hunter2',
        '"sasl.password" = "hunter2',
        '"sasl.password" = "hunter2"\n"sasl.password" = 1',
    ],
)
def test_a_secret_in_wrong_toml_is_not_shown_by_message_or_traceback(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(f"{CLUSTER}[clusters.consumer_properties]\n{text}", {})
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_is_in_no_traceback_of_a_wrong_value() -> None:
    # Python 3.13 shows every line of a call that failed, and this one's are not to hold the secret.
    environ = {"P": "hunter2"}
    with pytest.raises(ConfigError) as caught:
        load_config(f'{CLUSTER}consumer_properties = {{a = ["x"], "b" = "${{P}}", "" = "${{P}}"}}', environ)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
