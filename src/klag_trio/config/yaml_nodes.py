"""A YAML file as it was written, in the form that the readers take."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from .errors import ConfigError, Problem, one_line, spell_path
from .written import Node, Written

LARGEST = 64 * 1024
"""Characters in the largest file that is read; far above any real one, and read within 3 seconds."""

_PLAIN = "tag:yaml.org,2002:"
# What YAML 1.1 takes for a number or a date is text to whoever wants text, as in Go.
_TEXT = {f"{_PLAIN}{kind}" for kind in ("str", "int", "float", "timestamp")}
# PyYAML quotes from the file, where there may be secrets; names of tokens stand in angle brackets.
_QUOTED = re.compile(r" '[^<'][^']+'")


def parse_yaml(text: str) -> dict[str, Node]:
    """Read YAML; keys without a value are left out, as if they were not there.

    Raises ConfigError with one problem, which names line and column, where the text is no YAML or more
    than a configuration needs: tags, keys that are no text, aliases within themselves, a key given twice.
    """
    if len(text) > LARGEST:
        raise _no_yaml("", f"the file is larger than {LARGEST} characters")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = {} if root is None or _is_null(root) else _Reader().read(root, ())
    except yaml.MarkedYAMLError as exc:
        problem = "an alias stands for nothing, or an anchor is given twice"
        if not isinstance(exc, yaml.composer.ComposerError):
            problem = _QUOTED.sub("", exc.problem or "it cannot be read")
        raise _no_yaml(_place(exc.problem_mark), problem) from None
    except yaml.YAMLError:
        raise _no_yaml("", "it holds a character that YAML does not allow") from None
    except RecursionError:
        raise _no_yaml("", "it is nested too deeply") from None
    except ValueError:
        raise _no_yaml("", "it holds a value that cannot be read") from None
    if not isinstance(tree, dict):
        raise _no_yaml("", "expected keys with values at the top")
    return tree


def _no_yaml(where: str, reason: str) -> ConfigError:
    return ConfigError([Problem(where, f"the file is not valid YAML: {reason}")])


def _place(mark: Any) -> str:
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_PLAIN}null"


class _Reader:
    """Each node is read once, however many aliases stand for it."""

    def __init__(self) -> None:
        self._read: dict[int, Node] = {}
        self._within: set[int] = set()

    def read(self, node: yaml.Node, path: tuple[str | int, ...]) -> Node:
        known = self._read.get(id(node))
        if known is not None:
            return known
        if id(node) in self._within:
            raise _no_yaml(_place(node.start_mark), "an alias stands for what it is in")
        self._within.add(id(node))
        self._read[id(node)] = made = self._make(node, path)
        return made

    def _make(self, node: yaml.Node, path: tuple[str | int, ...]) -> Node:
        if isinstance(node, yaml.MappingNode):
            return self._table(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        text: str = node.value
        shown = one_line(text)
        if node.tag in _TEXT:
            return Written(shown, text)
        if node.tag == f"{_PLAIN}bool":
            return Written(shown, SafeConstructor.bool_values[text.lower()])
        if node.tag == f"{_PLAIN}null":
            return Written("nothing", None)
        return Written("a value with a tag", None, fault="tags are not supported: remove it")

    def _table(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> Node:
        table: dict[str, Node] = {}
        names: set[str] = set()
        for name_node, item in node.value:
            place = _place(name_node.start_mark)
            if not isinstance(name_node, yaml.ScalarNode):
                raise _no_yaml(place, "a key is no text")
            name = name_node.value
            if name in names:
                raise ConfigError([Problem(spell_path((*path, name)), f"is given twice, again at {place}")])
            names.add(name)
            if not _is_null(item):
                table[name] = self.read(item, (*path, name))
        return table
