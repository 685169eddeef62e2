"""What is said about a configuration that is wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Long enough to recognise a value by, short enough for one line.
_SHOWN_AT_MOST = 80

PROBLEMS_AT_MOST = 100
"""More than this many lines nobody reads in one go."""


@attrs.frozen
class Problem:
    """One mistake.

    `path` is where it is, such as `clusters[1].topic_whitelist[0]`, or the line and column where the
    file is no TOML, or empty. `found` is the value as the file spells it, before anything from the
    environment was put in; None where there is nothing to show or it may not be shown.
    """

    path: str
    message: str
    found: str | None = None

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        found = "" if self.found is None else f", found {self.found}"
        return f"{where}{self.message}{found}"


class ConfigError(Exception):
    """The configuration is wrong.

    `problems` holds every mistake that was looked for, str() gives a line for each of the first hundred and
    one with the number of the others.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = list(map(str, self.problems[:PROBLEMS_AT_MOST]))
        if more := len(self.problems) - len(lines):
            lines.append(f"and {more} more")
        super().__init__("\n".join(lines))


class WrongValueError(Exception):
    """One value is not what its key takes; where it stands is added on the way up, as cattrs's notes."""

    def __init__(self, message: str, found: str | None = None) -> None:
        self.message = message
        self.found = found
        super().__init__(message)


def spell_path(steps: Iterable[str | int]) -> str:
    """Write a path as TOML users read it; a key that needs quotes gets them."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
            continue
        step = f"{step[:_SHOWN_AT_MOST]}..." if len(step) > _SHOWN_AT_MOST else step
        key = step if _BARE_KEY.fullmatch(step) else json.dumps(step)
        path += f".{key}" if path else key
    return path


def one_line(text: str) -> str:
    """Keep a value readable and harmless in a message: one line, printable, of bounded length."""
    cut = text if len(text) <= _SHOWN_AT_MOST else f"{text[:_SHOWN_AT_MOST]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
