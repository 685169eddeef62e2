from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.domain.acls import DESCRIBE_GROUP, Permission, command, known_as, permission, word


@pytest.mark.parametrize(
    ("stage", "code", "operation", "resource"),
    [
        ("committed", "GROUP_AUTHORIZATION_FAILED", "Describe", "group"),
        ("members", "GROUP_AUTHORIZATION_FAILED", "Describe", "group"),
        ("earliest", "TOPIC_AUTHORIZATION_FAILED", "Describe", "topic"),
        ("policies", "TOPIC_AUTHORIZATION_FAILED", "DescribeConfigs", "topic"),
        ("timestamps", "TOPIC_AUTHORIZATION_FAILED", "Read", "topic"),
        ("groups", "CLUSTER_AUTHORIZATION_FAILED", "Describe", "cluster"),
    ],
)
def test_what_is_denied_tells_what_to_allow(stage: str, code: str, operation: str, resource: str) -> None:
    assert Permission(operation, resource) == permission(stage, code)


def test_no_permission_helps_against_a_timeout() -> None:
    assert permission("committed", "_TIMED_OUT") is None


def test_the_command_names_broker_principal_operation_and_resources() -> None:
    assert (
        'kafka-acls.sh --bootstrap-server b1:9092,b2:9092 --add --allow-principal "$PRINCIPAL"'
        " --operation Read --topic a --topic b"
    ) == command("b1:9092,b2:9092", Permission("Read", "topic"), ["b", "a"])
    assert command("b:1", Permission("Describe", "cluster"), []).endswith("--operation Describe --cluster")
    assert command("b:1", DESCRIBE_GROUP, ["own-"], prefixed=True).endswith(
        "--operation Describe --group own- --resource-pattern-type prefixed"
    )


def test_many_names_become_all() -> None:
    assert command("b:1", DESCRIBE_GROUP, [f"g{n}" for n in range(50)]).endswith(" --group '*'")


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({}, "ANONYMOUS"),
        ({"security.protocol": "ssl"}, "certificate"),
        ({"security.protocol": "SASL_SSL"}, "sasl.kerberos.principal"),
        ({"security.protocol": "sasl_plaintext", "sasl.mechanisms": "OAUTHBEARER"}, "subject of the token"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}, "sasl.username"),
    ],
)
def test_it_tells_which_name_brokers_know(properties: dict[str, str], words: str) -> None:
    assert words in known_as({**properties, "sasl.password": "secret"})


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)))
def test_a_shell_reads_each_name_as_it_is_and_a_terminal_is_not_touched(names: list[str]) -> None:
    words = [word(name) for name in names]
    assert all(spelt.isprintable() for spelt in words)
    script = "printf '%s\\0' " + " ".join(words) if words else "true"
    read = subprocess.run(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    ).stdout
    assert names == read.decode().split("\0")[:-1]
