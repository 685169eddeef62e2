"""A TOML file as it was written, with the environment put into its values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs

from .errors import ConfigError, Problem, one_line

LARGEST = 256 * 1024
"""Characters in the largest file that is read; far above any real one, and read within 2 seconds."""

# In one key. What tomllib needs for a key grows with the square of its dots.
_MOST_DOTS = 20
# Of one value.
_MOST_FAULTS = 10

_NAME = r"[A-Za-z_][A-Za-z0-9_.]*"
_REFERENCE = re.compile(
    rf"(?P<literal>\$\$\{{)|\$\{{(?P<optional>\?)?(?P<name>{_NAME})(?::-(?P<default>[^{{}}]*))?\}}|(?P<broken>\$\{{)"
)
# A string without an end is no TOML, and runs on here so that it is looked through only once.
_QUOTED = r"""
    \"\"\"(?:[^\\]|\\(?:.|\Z))*?(?:\"{3,5}|\Z) | \'\'\'.*?(?:\'{3,5}|\Z)
    | "(?:[^"\\\r\n]|\\[^\r\n])*+"? | '[^'\r\n]*+'?
"""
_COMMENT = r"\#[^\r\n]*+"
_TOKEN = re.compile(
    rf"""
      (?P<quoted>{_QUOTED} | {_COMMENT})
    | \$\{{(?P<reference>\??{_NAME}(?::-[^{{}}'\r\n]*+)?)\}}
    | (?P<mark>[=\[\]{{}},.\n])
    """,
    re.DOTALL | re.VERBOSE,
)
# Of a file that is valid TOML. A key is taken for a scalar, too: where it stands says which it is.
_SCALAR = re.compile(
    rf"""
      {_COMMENT}
    | (?P<scalar>{_QUOTED} | [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[ ][0-9]{{2}}:[\w:.+-]++ | [\w:.+-]++)
    | (?P<mark>[=\[\]{{}},\n])
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
        tomllib.loads(marked)
        return _tree(marked, marker, environ)
    except tomllib.TOMLDecodeError as exc:
        reason, where = _located(str(exc), marked)
        raise _no_toml(where, reason) from None
    except RecursionError:
        raise _no_toml("", "it is nested too deeply") from None
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


class _Position:
    """Tells keys from values while the tokens of a file go by."""

    def __init__(self) -> None:
        self.expects_value = False
        self._opened: list[str] = []

    def advance(self, mark: str) -> None:
        match mark:
            case "=":
                self.expects_value = True
            case "[" | "{" if self.expects_value:
                self._opened.append(mark)
                self.expects_value = mark == "["
            case "]" | "}":
                if self._opened:
                    self._opened.pop()
                self.expects_value = bool(self._opened)
            case ",":
                self.expects_value = self._opened[-1:] == ["["]
            case "\n" if not self._opened:
                self.expects_value = False


def _quote_references(text: str, marker: str) -> str:
    """Turn each bare `${NAME}` into the string 'xNAME', where x is the marker: no column moves."""
    position = _Position()
    dots = 0

    def replace(token: re.Match[str]) -> str:
        nonlocal dots
        if token["mark"] == ".":
            dots += 1
            if dots > _MOST_DOTS:
                raise _no_toml("", "it is nested too deeply")
            return "."
        if token["mark"]:
            dots = 0
            position.advance(token["mark"])
        if token["reference"] and position.expects_value:
            return f"'{marker}{token['reference']}'"
        return token[0]

    return _TOKEN.sub(replace, text)


def _tree(text: str, marker: str, environ: Mapping[str, str]) -> dict[str, Node]:
    """Read valid TOML with its scalars as the file spells them, which tomllib does not keep.

    tomllib reads the scalars as one flat array, and then the file with the index of each in its place.
    """
    position = _Position()
    spellings: list[str] = []

    def replace(token: re.Match[str]) -> str:
        if token["mark"]:
            position.advance(token["mark"])
        if not token["scalar"] or not position.expects_value:
            return token[0]
        spellings.append(token[0])
        # A float, the only kind for which tomllib asks what to make of it.
        return f"{len(spellings) - 1}.0"

    indexed = _SCALAR.sub(replace, text)
    values = tomllib.loads(f"values = [{','.join(spellings)}]")["values"]
    written = [
        _scalar(spelling, value, marker, environ) for spelling, value in zip(spellings, values, strict=True)
    ]
    return tomllib.loads(indexed, parse_float=lambda index: written[int(index.partition(".")[0])])


def _scalar(spelling: str, value: object, marker: str, environ: Mapping[str, str]) -> Written:
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
