"""librdkafka's properties, which hold passwords: they are handed on, and never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import attrs
from cattrs.errors import AttributeValidationNote

from .errors import WrongValueError
from .readers import scalar
from .written import Node

OWNED = frozenset(
    {
        "group.id",
        "group.instance.id",
        "enable.auto.commit",
        "auto.commit.enable",
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
        "fetch.queue.backoff.ms",
        "fetch.error.backoff.ms",
        "check.crcs",
        "queued.min.messages",
        "queued.max.messages.kbytes",
        # Nobody would look at them.
        "statistics.interval.ms",
        # A follower may take its own end for that of the partition.
        "client.rack",
    }
)
"""What klag-trio decides itself, with librdkafka's aliases: a reader that commits or resets would do harm."""

REFUSED = {
    "bootstrap.servers": "the brokers belong into the cluster's bootstrap_servers",
    "metadata.broker.list": "the brokers belong into the cluster's bootstrap_servers",
    "plugin.library.paths": "plugin libraries are not loaded: remove it",
}
# A name with a NUL in it would reach librdkafka cut short, as another property.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXPECTED = "a string, a number or a boolean"


class _Sealed:
    """A value that only its holder opens; attrs.asdict, repr and logs see nothing of it."""

    __slots__ = ("opened",)

    def __init__(self, value: str) -> None:
        self.opened = value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sealed) and self.opened == other.opened

    __hash__ = None  # type: ignore[assignment]


def _seal(values: Mapping[str, str]) -> Mapping[str, _Sealed]:
    return MappingProxyType({name: _Sealed(value) for name, value in values.items()})


@attrs.frozen(repr=False, hash=False)
class Properties:
    """The properties of one cluster, made from a mapping of names to values.

    Iterating gives the names, in the order of the file.
    """

    _values: Mapping[str, _Sealed] = attrs.field(factory=dict, converter=_seal)

    def reveal(self) -> dict[str, str]:
        """Return names and values for librdkafka, without those that klag-trio sets itself."""
        return {name: sealed.opened for name, sealed in self._values.items() if name not in OWNED}

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names that were given although klag-trio sets them itself."""
        return tuple(name for name in self._values if name in OWNED)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"Properties({', '.join(self._values)})"


def consumer_properties(node: Node) -> Properties:
    """Read the table of librdkafka's properties; whether a name exists librdkafka itself says later."""
    if not isinstance(node, dict):
        raise WrongValueError("expected a table of librdkafka properties")
    values, mistakes = {}, []
    for name, item in node.items():
        try:
            values[name] = _value(name, item)
        except WrongValueError as exc:
            # Without what was found: even a wrong value may be a password.
            hidden = WrongValueError(exc.message)
            hidden.add_note(AttributeValidationNote("", name, object))
            mistakes.append(hidden)
    if mistakes:
        raise ExceptionGroup("consumer_properties", mistakes)
    return Properties(values)


def _value(name: str, node: Node) -> str:
    if name in REFUSED:
        raise WrongValueError(REFUSED[name])
    if not _NAME.fullmatch(name):
        raise WrongValueError("expected the name of a librdkafka property")
    if isinstance(node, dict):
        raise WrongValueError('expected quotes around a name with dots in it, as in "sasl.username"')
    value = scalar(node, _EXPECTED).value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str) or "\0" in value:
        raise WrongValueError(f"expected {_EXPECTED}")
    return value
