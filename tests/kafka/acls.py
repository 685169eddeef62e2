"""Brokers that ask who comes and allow only what is listed, and what they wrote down about it."""

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
from tests.kafka.waiting import wait_until

from stack.kafka import OLDEST, KafkaCluster
from stack.kafka.jars import jars, java

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLUSTER = "kafka-cluster"


def guarded_cluster(users: Mapping[str, str]) -> KafkaCluster:
    """A broker that asks who comes in by its listener LOGIN for name and password, and allows what is listed.

    Whoever comes in by the plain listener may do everything.
    """
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {known};"
        ),
    }
    return KafkaCluster(properties=properties, listeners={"LOGIN": "SASL_PLAINTEXT"})


def login(user: str, password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
    }


def allow(
    cluster: KafkaCluster,
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
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    for created in admin.create_acls(bindings).values():
        created.result(30)
    wanted = AclBindingFilter(kind, name, pattern, f"User:{user}", "*", AclOperation.ANY, permission)
    # The controller has them; the broker, which answers this, hears of them a moment later.
    wait_until(lambda: len(admin.describe_acls(wanted).result(30)) >= len(operations), f"{name} is allowed")


def run_kafka_acls(commands: Sequence[str], principal: str) -> None:
    """Run `kafka-acls.sh` commands as they are written, at once, with Kafka's own tool.

    The tool is the oldest supported Kafka's: its jars have it, those of today keep it in a package apart.
    """
    tool = [java(), "-XX:TieredStopAtLevel=1", "-cp", f"{jars(OLDEST)}/*", "kafka.admin.AclCommand"]

    def run(command: str) -> None:
        program, *arguments = shlex.split(command.replace("$PRINCIPAL", principal))
        assert program == "kafka-acls.sh"
        subprocess.run([*tool, *arguments], check=True, capture_output=True, timeout=120)

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, commands))


def obey(cluster: KafkaCluster, user: str, command: str) -> None:
    """Do what a `kafka-acls.sh` command says, without a Java of its own for it."""
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
    for kind, names in ((ResourceType.TOPIC, said.topic), (ResourceType.GROUP, said.group)):
        for name in names:
            allow(cluster, user, kind, name, operation, pattern=pattern)


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


def requests_of(cluster: KafkaCluster, user: str) -> Sequence[Request]:
    """All that the brokers wrote down about this user so far, in order."""
    found = []
    for node in cluster.nodes:
        for who, verdict, operation, resource, name, kind in _LINE.findall(node.log_file.read_text()):
            if who == user:
                found.append(Request(operation, resource, name, kind, verdict == "Allowed"))
    return found
