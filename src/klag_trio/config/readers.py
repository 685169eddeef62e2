"""Readers: from what was written to what a key takes.

A reader is called with a node and returns the value, or raises WrongValueError with what it expected. No
message of theirs repeats a value, as it may have come from the environment and be a secret.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from cattrs.errors import IterableValidationNote

from klag_trio.domain.patterns import NamePattern, PatternError

from .durations import format_duration, parse_duration
from .errors import PROBLEMS_AT_MOST, WrongValueError
from .written import Node, Written, describe

T = TypeVar("T")
S = TypeVar("S", bound=str)

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_SERVER = re.compile(
    r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.%-]+)(?::(?P<port>[0-9]{1,5}))?"
)
# Of what is wrong only this is shown: anywhere else there may be a password.
_SHOWN = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.]*\]?|[\w.%\s-]*)(?::[0-9]*)?/?")
DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
DNS_NAME = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"

YEAR = 365 * 86400.0
# What RE2 needs for repetitions grows with the square of how many there are: some seconds at ten times this.
_LONGEST_PATTERN = 4096


def scalar(node: Node, expected: str) -> Written:
    """Return the node if it is a scalar into which the environment could be put."""
    if not isinstance(node, Written):
        raise WrongValueError(f"expected {expected}", describe(node))
    if node.fault is not None:
        raise WrongValueError(node.fault, node.text)
    return node


def string(node: Node, expected: str) -> str:
    """Return the string that was written."""
    written = scalar(node, expected)
    if not isinstance(written.value, str):
        raise WrongValueError(f"expected {expected}", written.text)
    return written.value


def text(expected: str = "a string that is not empty") -> Callable[[Node], str]:
    """Take any string but an empty one."""

    def read(node: Node) -> str:
        value = string(node, expected)
        if not value.strip():
            raise WrongValueError(f"expected {expected}", describe(node))
        return value

    return read


def matching(pattern: str, expected: str, *, longest: int = 253) -> Callable[[Node], str]:
    """Take a string that the pattern matches as a whole."""

    def read(node: Node) -> str:
        value = string(node, expected)
        if len(value) > longest or not re.fullmatch(pattern, value, re.ASCII):
            raise WrongValueError(f"expected {expected}", describe(node))
        return value

    return read


def choice(*words: S) -> Callable[[Node], S]:
    """Take one of a few words."""
    expected = " or ".join(f'"{word}"' for word in words)

    def read(node: Node) -> S:
        value = string(node, expected)
        for word in words:
            if word == value:
                return word
        near = difflib.get_close_matches(value, words, n=1) if not _from_environment(node) else []
        raise WrongValueError(
            f"expected {expected}" + "".join(f' (did you mean "{word}"?)' for word in near), describe(node)
        )

    return read


def boolean(node: Node) -> bool:
    """Read true or false; without quotes unless it is put in from the environment."""
    written = scalar(node, "true or false")
    value = {"true": True, "false": False}.get(str(written.value)) if written.bare else written.value
    if not isinstance(value, bool):
        raise WrongValueError("expected true or false" + _unquote(written), written.text)
    return value


def integer(least: int, most: int = 1_000_000) -> Callable[[Node], int]:
    """Take a whole number within bounds."""
    expected = f"a whole number from {least} to {most}"

    def read(node: Node) -> int:
        written = scalar(node, expected)
        value = written.value
        if written.bare and isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            value = int(value)
        # A boolean is an int to Python alone.
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise WrongValueError(f"expected {expected}" + _unquote(written), written.text)
        return value

    return read


def number(least: float, most: float = 1e12) -> Callable[[Node], float]:
    """Take a number within bounds, whole or not."""
    expected = f"a number from {least:g} to {most:g}"

    def read(node: Node) -> float:
        written = scalar(node, expected)
        value = written.value
        if written.bare and isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise WrongValueError(f"expected {expected}" + _unquote(written), written.text)
        return float(value)

    return read


def duration(least: float = 0.001, most: float = YEAR, *, zero: str = "") -> Callable[[Node], float]:
    """Take a duration and give seconds. `zero` says what 0 means where it is allowed too."""
    bounds = f"from {format_duration(least)} to {format_duration(most)}"
    expected = f'a duration such as "30s", "1m 30s" or "500ms", {bounds}'
    if zero:
        expected += f', or "0s" ({zero})'

    def read(node: Node) -> float:
        written = scalar(node, expected)
        value = written.value
        if not isinstance(value, str):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            raise WrongValueError(
                f"expected {expected}" + "; it needs a unit and quotes" * is_number, written.text
            )
        try:
            seconds = parse_duration(value)
        except ValueError as exc:
            raise WrongValueError(
                f"expected {expected}" + f" ({exc})" * (not written.from_environment), written.text
            ) from None
        if not (least <= seconds <= most or (zero and seconds == 0)) or math.isnan(seconds):
            raise WrongValueError(f"expected {expected}", written.text)
        return seconds

    return read


def pattern(node: Node) -> NamePattern:
    """Read a regular expression. It matches anywhere in a name (`search`) unless it has anchors."""
    value = string(node, expected := "a regular expression in RE2's syntax")
    if len(value) > _LONGEST_PATTERN:
        raise WrongValueError(f"expected {expected}: more than {_LONGEST_PATTERN} characters", describe(node))
    try:
        return NamePattern(value)
    except PatternError as exc:
        detail = "" if _from_environment(node) else f": {exc}"
        raise WrongValueError(f"expected {expected}{detail}", describe(node)) from None


def array_of(read_item: Callable[[Node], T], expected: str) -> Callable[[Node], tuple[T, ...]]:
    """Take an array; every item that is wrong is told, not only the first, up to a hundred of them."""

    def read(node: Node) -> tuple[T, ...]:
        if not isinstance(node, list):
            if isinstance(node, Written):
                scalar(node, expected)
            raise WrongValueError(f"expected {expected}", describe(node))
        items, mistakes = [], []
        for index, item in enumerate(node):
            try:
                items.append(read_item(item))
            except (WrongValueError, ExceptionGroup) as exc:
                exc.add_note(IterableValidationNote("", index, object))
                mistakes.append(exc)
                if len(mistakes) == PROBLEMS_AT_MOST and index + 1 < len(node):
                    mistakes.append(WrongValueError(f"the items from [{index + 1}] on were not checked"))
                    break
        if mistakes:
            raise ExceptionGroup("array", mistakes)
        return tuple(items)

    return read


def optional(read_given: Callable[[Node], T]) -> Callable[[Node], T | None]:
    """Take an empty string, as `${?NAME}` gives, for a key that was left out."""

    def read(node: Node) -> T | None:
        if isinstance(node, Written) and node.fault is None and node.value in {"", None}:
            return None
        return read_given(node)

    return read


def listen_host(node: Node) -> str:
    """Read the address to listen on; an IPv6 address may stand in brackets."""
    value = string(node, expected := 'an address or a host name such as "0.0.0.0", "::" or "localhost"')
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not re.fullmatch(r"[A-Za-z0-9_.%-]+|[0-9A-Fa-f:.]+(?:%[\w.-]+)?", host, re.ASCII):
        raise WrongValueError(f"expected {expected}", describe(node))
    return host


def bootstrap_servers(node: Node) -> str:
    """Read host:port pairs with commas between them; librdkafka takes 9092 where a port is missing."""
    value = string(node, expected := 'one or more brokers such as "kafka1:9092,kafka2:9092"')
    servers = [server.strip() for server in value.split(",")]
    matches = [_SERVER.fullmatch(server) for server in servers]
    good = [found is not None and 1 <= int(found["port"] or 9092) <= 65535 for found in matches]
    if not all(good):
        which = f"; number {good.index(False) + 1} of these {len(good)} is none" if len(good) > 1 else ""
        raise WrongValueError(f"expected {expected}{which}", _shown(node, servers))
    return ",".join(servers)


def is_http_url(text: str) -> bool:
    """Whether it is the address of an HTTP server, without credentials in it."""
    try:
        url = urlsplit(text)
        known = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return known and "@" not in url.netloc and text.isprintable() and " " not in text


def http_url(node: Node) -> str:
    """Read the address of an HTTP server, without credentials in it."""
    value = string(
        node, expected := 'a URL such as "http://localhost:4317", http or https, without user and password'
    )
    if not is_http_url(value):
        raise WrongValueError(f"expected {expected}", _shown(node, [value]))
    return value


dns_name = matching(
    DNS_NAME, "a DNS-1123 subdomain: lower-case letters, digits, - and ., at most 253 characters"
)
dns_label = matching(
    DNS_LABEL, "a DNS-1123 label: lower-case letters, digits and -, at most 63 characters", longest=63
)


def _shown(node: Node, addresses: Sequence[str]) -> str | None:
    """What was found where addresses were expected, if it holds nothing but hosts and ports."""
    return describe(node) if all(map(_SHOWN.fullmatch, addresses)) else None


def _from_environment(node: Node) -> bool:
    return isinstance(node, Written) and node.from_environment


def _unquote(written: Written) -> str:
    return " without quotes" if isinstance(written.value, str) and not written.bare else ""
