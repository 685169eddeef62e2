"""A TOML file as it was written, with the environment put into its values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs
import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError
from tomlkit.items import Item

from .errors import ConfigError, Problem, one_line

LARGEST = 64 * 1024
"""Characters in the largest file that is read; far above any real one, and read within 5 seconds."""

# In one key. What tomllib needs for a key grows with the square of its dots.
_MOST_DOTS = 20
# In one table. What tomlkit needs for keys such as a.b and a.c grows with the square of how many there are.
_MOST_DOTTED = 64
# Of one value.
_MOST_FAULTS = 10

_NAME = r"[A-Za-z_][A-Za-z0-9_.]*"
_REFERENCE = re.compile(
    rf"(?P<literal>\$\$\{{)|\$\{{(?P<optional>\?)?(?P<name>{_NAME})(?::-(?P<default>[^{{}}]*))?\}}|(?P<broken>\$\{{)"
)
# A string without an end is no TOML, and runs on here so that it is looked through only once.
_TOKEN = re.compile(
    rf"""
      (?P<quoted>
          \"\"\"(?:[^\\]|\\(?:.|\Z))*?(?:\"{{3,5}}|\Z) | \'\'\'.*?(?:\'{{3,5}}|\Z)
        | "(?:[^"\\\r\n]|\\[^\r\n])*+"? | '[^'\r\n]*+'? | \#[^\r\n]*+ )
    | \$\{{(?P<reference>\??{_NAME}(?::-[^{{}}'\r\n]*+)?)\}}
    | (?P<mark>[=\[\]{{}},.\n])
    """,
    re.DOTALL | re.VERBOSE,
)
_POSITION = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)", re.DOTALL)


@attrs.frozen
class Written:
    """One scalar of the file.

    `text` is how the file spells it and safe to show (but under consumer_properties); `value` has the
    environment in it and is not. `bare` is a `${NAME}` without quotes, whose type follows its key.
    `fault` is what went wrong while the environment was put in.
    """

    text: str
    value: object = attrs.field(repr=False)
    bare: bool = False
    from_environment: bool = False
    fault: str | None = None


Node: TypeAlias = "Written | list[Node] | dict[str, Node]"
"""A scalar, an array or a table."""


def plain(value: object) -> Node:
    """Give a value of ours the form of one that was read from a file."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return Written(repr(value), value)


def describe(node: Node) -> str:
    """Say what was found. Arrays and tables are not spelled out: there may be secrets in them."""
    if isinstance(node, list):
        return "an array"
    if isinstance(node, dict):
        return "a table"
    return node.text


def parse(text: str, environ: Mapping[str, str]) -> dict[str, Node]:
    """Read TOML and put the environment into its string values and its bare `${NAME}`s.

    Raises ConfigError with one problem, which names line and column, where the text is no TOML.
    """
    if len(text) > LARGEST:
        raise _no_toml("", f"the file is larger than {LARGEST} characters")
    # There are more characters from here on than a file may have, so one is always free.
    used = set(text)
    marker = next(c for c in map(chr, range(0xE000, 0x110000)) if c not in used)
    marked = _quote_references(text, marker)
    try:
        # tomllib knows line and column and follows the specification; tomlkit keeps the spelling.
        tomllib.loads(marked)
        document = tomlkit.parse(marked)
        return {name: _node(item, marker, environ) for name, item in document.items()}
    except tomllib.TOMLDecodeError as exc:
        reason, where = _located(str(exc), marked)
        raise _no_toml(where, reason) from None
    except RecursionError:
        raise _no_toml("", "it is nested too deeply") from None
    except TOMLKitError as exc:
        where = f"line {exc.line}, column {exc.col}" if isinstance(exc, ParseError) else ""
        raise _no_toml(where, "it is nested too deeply, or a key is defined in two ways") from None
    except ValueError:
        raise _no_toml("", "it holds a number that is too long") from None


def _located(message: str, text: str) -> tuple[str, str]:
    """Part tomllib's message into the reason and the place, which is always a line and a column."""
    found = _POSITION.fullmatch(message)
    if found is None:
        return message, ""
    reason, where = found.groups()
    if where == "end of document":
        where = f"line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}"
    return reason, where


def _no_toml(where: str, reason: str) -> ConfigError:
    return ConfigError([Problem(where, f"the file is not valid TOML: {reason}")])


def _quote_references(text: str, marker: str) -> str:
    """Turn each bare `${NAME}` into the string 'xNAME', where x is the marker: no column moves."""
    opened: list[str] = []
    expects_value = False
    dots = dotted = 0

    def replace(token: re.Match[str]) -> str:
        nonlocal expects_value, dots, dotted
        if token["mark"] == ".":
            dots += 1
            dotted += dots == 1 and not expects_value
            if dots > _MOST_DOTS:
                raise _no_toml("", "it is nested too deeply")
            if dotted > _MOST_DOTTED:
                where = f"line {text.count(chr(10), 0, token.start()) + 1}"
                reason = f"more than {_MOST_DOTTED} keys with dots in one table: put them in quotes"
                raise ConfigError([Problem(where, reason)])
            return "."
        if token["mark"]:
            dots = 0
        match token["mark"]:
            case "=":
                expects_value = True
            case "[" | "{" as bracket if expects_value:
                opened.append(bracket)
                expects_value = bracket == "["
            case "]" | "}":
                if opened:
                    opened.pop()
                else:
                    dotted = 0
                expects_value = bool(opened)
            case ",":
                expects_value = opened[-1:] == ["["]
            case "\n" if not opened:
                expects_value = False
            case "[":  # Of the name of another table, which has dots of its own.
                dotted = 0
        if token["reference"] and expects_value:
            return f"'{marker}{token['reference']}'"
        return token[0]

    return _TOKEN.sub(replace, text)


def _node(item: object, marker: str, environ: Mapping[str, str]) -> Node:
    if isinstance(item, Mapping):
        return {str(name): _node(value, marker, environ) for name, value in item.items()}
    if isinstance(item, Sequence) and not isinstance(item, str):
        return [_node(value, marker, environ) for value in item]
    if not isinstance(item, Item):
        # tomlkit hands out booleans as Python's own.
        return Written(str(item).lower(), item)
    spelling, value = item.as_string(), item.unwrap()
    if not isinstance(value, str):
        return Written(one_line(spelling), value)
    bare = spelling.startswith(f"'{marker}")
    if bare:
        value = spelling = f"${{{spelling[2:-1]}}}"
    return _with_environment(one_line(spelling), value, environ, bare=bare)


def _with_environment(spelling: str, value: str, environ: Mapping[str, str], *, bare: bool) -> Written:
    faults: list[str] = []

    def replace(reference: re.Match[str]) -> str:
        if reference["literal"]:
            return "${"
        if reference["broken"]:
            faults.append("expected ${NAME}, ${NAME:-default} or ${?NAME} (a literal ${ is written $${)")
            return ""
        name = reference["name"]
        shown = one_line(name)
        fallback: str | None = reference["default"]
        if fallback is None and reference["optional"]:
            fallback = ""
        put_in = environ.get(name, fallback)
        if put_in is None:
            faults.append(
                f"the environment variable {shown} is not set (${{{shown}:-default}} gives it a default)"
            )
            return ""
        if not put_in.isascii() and any("\ud800" <= c <= "\udfff" for c in put_in):
            faults.append(f"the environment variable {shown} is not valid UTF-8")
        return put_in

    replaced, count = _REFERENCE.subn(replace, value)
    return Written(
        spelling,
        replaced,
        bare=bare,
        from_environment=count > 0,
        fault=_joined(list(dict.fromkeys(faults))),
    )


def _joined(faults: Sequence[str]) -> str | None:
    more = len(faults) - _MOST_FAULTS
    return "; ".join([*faults[:_MOST_FAULTS], *([f"and {more} more"] if more > 0 else [])]) or None
