"""What a user may do on a broker that allows only what is listed, and what the broker wrote down about it."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from tests.broker.waiting import wait_until

from stack.kafka import OLDEST
from stack.kafka.jars import jars, java
from stack.kafka.prepared import class_archive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.broker.shared import SharedKafka

CLUSTER = "kafka-cluster"


def login(user: str, password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
    }


def allow(
    kafka: SharedKafka,
    user: str,
    kind: ResourceType,
    name: str,
    *operations: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.PREFIXED,
    permission: AclPermissionType = AclPermissionType.ALLOW,
) -> None:
    """Allow (or deny) the user these operations on what has this name, or one that begins so."""
    if kind == ResourceType.BROKER:  # as librdkafka calls the cluster
        name, pattern = CLUSTER, ResourcePatternType.LITERAL
    bindings = [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, permission)
        for operation in operations
    ]
    _create(kafka, bindings)


def run_kafka_acls(kafka: SharedKafka, commands: Sequence[str], user: str) -> None:
    """Run `kafka-acls.sh` commands as they are written, at once, with Kafka's own tool.

    The tool is the oldest supported Kafka's: its jars have it, those of today keep it in a package apart.
    """
    classes = f"-XX:SharedArchiveFile={class_archive(OLDEST)}"
    tool = [java(), "-XX:TieredStopAtLevel=1", classes, "-cp", f"{jars(OLDEST)}/*", "kafka.admin.AclCommand"]

    def run(command: str) -> None:
        program, *arguments = shlex.split(command.replace("$PRINCIPAL", f"User:{user}"))
        assert program == "kafka-acls.sh"
        subprocess.run([*tool, *arguments], check=True, capture_output=True, timeout=120)

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, commands))
    for command in commands:
        for binding in bindings_of(command, user):
            _wait_for(kafka, binding)


def obey(kafka: SharedKafka, user: str, command: str) -> None:
    """Do what a `kafka-acls.sh` command says, without a Java of its own for it."""
    _create(kafka, bindings_of(command, user))


def bindings_of(command: str, user: str) -> list[AclBinding]:
    """What a `kafka-acls.sh` command allows this user."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for option in ("--bootstrap-server", "--allow-principal", "--operation", "--resource-pattern-type"):
        parser.add_argument(option)
    parser.add_argument("--add", action="store_true", required=True)
    for option in ("--topic", "--group"):
        parser.add_argument(option, action="append", default=[])
    program, *arguments = shlex.split(command)
    said = parser.parse_args(arguments)
    assert ("kafka-acls.sh", "$PRINCIPAL") == (program, said.allow_principal)
    pattern = ResourcePatternType[(said.resource_pattern_type or "literal").upper()]
    operation = AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", said.operation).upper()]
    return [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for kind, names in ((ResourceType.TOPIC, said.topic), (ResourceType.GROUP, said.group))
        for name in names
    ]


def _create(kafka: SharedKafka, bindings: Sequence[AclBinding]) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for created in admin.create_acls(list(bindings)).values():
        created.result(30)
    for binding in bindings:
        _wait_for(kafka, binding)


def _wait_for(kafka: SharedKafka, binding: AclBinding) -> None:
    # The controller has it; the broker, which answers this, hears of it a moment later.
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    wanted = AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )
    wait_until(lambda: admin.describe_acls(wanted).result(30), f"{binding} holds")


@attrs.frozen(order=True)
class Request:
    """What the authorizer was asked about, as it wrote it down."""

    operation: str
    resource: str
    """Its type."""
    name: str
    kind: str
    """The request of Kafka's protocol."""
    allowed: bool


_LINE = re.compile(
    r"Principal = User:(\S+) is (Allowed|Denied) operation = (\w+) from host = \S+"
    r" on resource = (\w+):\w+:(.*?) for request = (\w+)"
)


def requests_of(kafka: SharedKafka, user: str) -> Sequence[Request]:
    """All that the brokers wrote down about this user so far, in order."""
    found = []
    for who, verdict, operation, resource, name, kind in _LINE.findall(
        kafka.log_file.read_text(errors="replace")
    ):
        if who == user:
            found.append(Request(operation, resource, name, kind, verdict == "Allowed"))
    return found
