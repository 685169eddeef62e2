"""Which permission an error asks for, and the command that gives it.

The operations that a request needs are listed in Kafka's documentation under "Operations and Resources on
Protocols"; `docs/permissions.md` says what klag-trio needs them for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

import attrs

PRINCIPAL = "$PRINCIPAL"
"""Stands for whom the brokers take klag-trio for: the configuration does not say so for certain."""

_NAMED = 20


@attrs.frozen(order=True)
class Permission:
    """An operation that Kafka's authorizer has to allow on a kind of resource."""

    operation: str
    """As kafka-acls.sh spells it: `DescribeConfigs`."""
    resource: str
    """`cluster`, `group` or `topic`."""

    def __str__(self) -> str:
        """The operation as Kafka's authorizer logs it, and the resource: `DESCRIBE_CONFIGS on the topic`."""
        return f"{re.sub('(?<=[a-z])(?=[A-Z])', '_', self.operation).upper()} on the {self.resource}"


DESCRIBE_GROUP = Permission("Describe", "group")
DESCRIBE_TOPIC = Permission("Describe", "topic")

_NEEDED = {
    "GROUP_AUTHORIZATION_FAILED": DESCRIBE_GROUP,
    "TOPIC_AUTHORIZATION_FAILED": DESCRIBE_TOPIC,
    "CLUSTER_AUTHORIZATION_FAILED": Permission("Describe", "cluster"),
}
_NEEDED_IN_STAGE = {
    ("policies", "TOPIC_AUTHORIZATION_FAILED"): Permission("DescribeConfigs", "topic"),
    ("timestamps", "TOPIC_AUTHORIZATION_FAILED"): Permission("Read", "topic"),
}


def permission(stage: str, code: str) -> Permission | None:
    """The permission that is missing where this stage of a cycle meets this error; None for other errors."""
    return _NEEDED_IN_STAGE.get((stage, code)) or _NEEDED.get(code)


def command(bootstrap: str, missing: Permission, names: Sequence[str], *, prefixed: bool = False) -> str:
    """Spell the call of Kafka's own tool that allows it on all that has one of these names.

    More than a few names become all (`*`), for somebody to narrow down.
    """
    parts = [
        "kafka-acls.sh",
        f"--bootstrap-server {word(bootstrap)}",
        f'--add --allow-principal "{PRINCIPAL}"',
        f"--operation {missing.operation}",
    ]
    if missing.resource == "cluster":
        parts.append("--cluster")
    else:
        chosen = sorted(names) if len(names) <= _NAMED else ["*"]
        parts += [f"--{missing.resource} {word(name)}" for name in chosen]
    if prefixed:
        parts.append("--resource-pattern-type prefixed")
    return " ".join(parts)


def known_as(properties: Mapping[str, str]) -> str:
    """What brokers call a client with these librdkafka properties, after `User:`, unless told otherwise."""
    protocol = properties.get("security.protocol", "plaintext").lower()
    if protocol == "plaintext":
        return "ANONYMOUS"
    if protocol == "ssl":
        return "the subject of the client's certificate, as ssl.principal.mapping.rules make it"
    mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "GSSAPI"))
    return {
        "GSSAPI": "the name in sasl.kerberos.principal, up to the first / or @",
        "OAUTHBEARER": "the subject of the token",
    }.get(mechanism, "the value of sasl.username")


def word(text: str) -> str:
    """Spell a name as one word of a shell: a group may be called after an escape sequence of the terminal."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(c if c.isprintable() and c not in "\\'" else f"\\U{ord(c):08x}" for c in text) + "'"


def printable(text: str) -> str:
    """The text with its control characters written out."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()
