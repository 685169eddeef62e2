"""From TOML text to a Config, or to every mistake in it at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.tomlkit import TomlkitConverter, make_converter

from klag_trio.files import FileError, read_file

from .errors import PROBLEMS_AT_MOST, ConfigError, Problem, WrongValueError, spell_path
from .readers import array_of
from .schema import ORDERS, Cluster, Config
from .written import LARGEST, Node, Written, describe, parse

T = TypeVar("T")

_CLUSTERS = "one or more tables, written [[clusters]]"
# Each has a process and a dozen threads of its own: with 300 on two cores, probes waited for seconds.
_MOST_CLUSTERS = 200


def read_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Load a configuration file; one that cannot be read is a ConfigError too."""
    try:
        content = read_file(path, largest=LARGEST)
    except FileError as exc:
        raise ConfigError([Problem(str(path), f"cannot be read: {exc}")]) from exc
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError([Problem(str(path), f"is not UTF-8 text (byte {exc.start})")]) from None
    return load_config(text, environ)


def load_config(text: str, environ: Mapping[str, str]) -> Config:
    """Parse and check a configuration.

    `environ` is what `${NAME}` is taken from. Raises ConfigError with all mistakes, in the order of
    the keys' documentation.
    """
    tree = parse(text, environ)
    # None at all is told like an empty array, among the other mistakes.
    tree.setdefault("clusters", [])
    config = structure(tree, Config)
    exporter = config.exporter
    if exporter.leadership.identity is None:
        identity = environ.get("POD_NAME") or environ.get("HOSTNAME") or None
        leadership = attrs.evolve(exporter.leadership, identity=identity)
        config = attrs.evolve(config, exporter=attrs.evolve(exporter, leadership=leadership))
    return config


def structure(tree: Node, kind: type[T]) -> T:
    """Turn a file's tree into one of our classes.

    Raises ConfigError with all mistakes, in the order of the keys' documentation.
    """
    try:
        structured: T = _converter().structure(tree, kind)
    except ExceptionGroup as exc:
        raise ConfigError(_problems(exc, (), kind)) from None
    return structured


def _converter() -> TomlkitConverter:
    converter = make_converter(detailed_validation=True)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _table_hook(kind, converter))
    clusters = array_of(lambda node: converter.structure(node, Cluster), _CLUSTERS)
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[Cluster, ...], lambda node, _: _distinct(clusters, node)
    )
    return converter


def _table_hook(kind: type[Any], converter: TomlkitConverter) -> Callable[[Any, Any], Any]:
    """Make what turns a table into one of our classes and tells all that is wrong with it."""

    def with_reader(read: Callable[[Node], Any]) -> Callable[[Any, Any], Any]:
        return lambda node, _: read(node)

    overrides: dict[str, Any] = {
        field.name: override(struct_hook=with_reader(field.metadata["read"]))
        for field in attrs.fields(kind)
        if "read" in field.metadata
    }
    structure = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **overrides)

    def hook(node: Node, _: object) -> Any:
        if not isinstance(node, dict):
            raise WrongValueError("expected a table", describe(node))
        mistakes: list[Exception] = list(_out_of_order(kind, node))
        try:
            structured = structure(node, kind)
        except ClassValidationError as exc:
            mistakes = [*exc.exceptions, *mistakes]
        if mistakes:
            raise ExceptionGroup(kind.__name__, mistakes)
        return structured

    return hook


def _out_of_order(kind: type[Any], table: dict[str, Node]) -> Iterator[WrongValueError]:
    """Compare two keys of one table, whatever else is wrong in it."""
    order = ORDERS.get(kind)
    if order is None or not table.keys() & {order.lower, order.upper}:
        return
    lower, upper = (_sound(kind, name, table) for name in (order.lower, order.upper))
    if lower is None or upper is None or lower < upper or (order.may_be_equal and lower == upper):
        return
    given = table.get(order.blame)
    default = attrs.fields_dict(kind)[order.blame].default
    mistake = WrongValueError(order.reason, f"{default} (the default)" if given is None else describe(given))
    mistake.add_note(AttributeValidationNote("", order.blame, object))
    yield mistake


def _sound(kind: type[Any], name: str, table: dict[str, Node]) -> float | None:
    """Return the value or the default of a key; None where it is wrong or there is no fixed default."""
    field = attrs.fields_dict(kind)[name]
    value: float | None
    if name not in table:
        value = None if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
        return value
    try:
        value = field.metadata["read"](table[name])
    except WrongValueError:
        return None
    return value


def _distinct(read: Callable[[Node], tuple[Cluster, ...]], node: Node) -> tuple[Cluster, ...]:
    """Read the clusters; none at all is a mistake, and so is a name that is taken."""
    if node == []:
        raise WrongValueError(f"expected {_CLUSTERS}")
    if isinstance(node, list) and len(node) > _MOST_CLUSTERS:
        raise WrongValueError(
            f"expected at most {_MOST_CLUSTERS}: run several klag-trio for more", f"{len(node)} clusters"
        )
    mistakes: list[Exception] = []
    clusters: tuple[Cluster, ...] = ()
    try:
        clusters = read(node)
    except WrongValueError as exc:
        mistakes.append(exc)
    except ExceptionGroup as exc:
        mistakes.extend(exc.exceptions)
    first: dict[object, int] = {}
    for index, cluster in enumerate(node if isinstance(node, list) else []):
        name = cluster.get("name") if isinstance(cluster, dict) else None
        if not isinstance(name, Written) or name.fault or not isinstance(name.value, str):
            continue
        if first.setdefault(name.value, index) != index:
            taken = WrongValueError(
                f"expected another name than clusters[{first[name.value]}] has", name.text
            )
            taken.add_note(AttributeValidationNote("", "name", object))
            at = ExceptionGroup("cluster", [taken])
            at.add_note(IterableValidationNote("", index, object))
            mistakes.append(at)
    if mistakes:
        raise ExceptionGroup("clusters", mistakes)
    return clusters


def _problems(exc: Exception, above: tuple[str | int, ...], root: type[Any]) -> Iterator[Problem]:
    """Flatten what cattrs and the readers raised into one problem a mistake."""
    path = (*above, *_steps(exc))
    match exc:
        case ExceptionGroup():
            for inner in exc.exceptions:
                yield from _problems(inner, path, root)
        case WrongValueError():
            yield Problem(spell_path(path), exc.message, exc.found)
        case ForbiddenExtraKeysError():
            for number, name in enumerate(sorted(exc.extra_fields)):
                # What is behind these is counted only, and looking for a like name takes long.
                hint = _suggest(name, exc.cl, root) if number < PROBLEMS_AT_MOST else ""
                yield Problem(spell_path((*path, name)), f"unknown key{hint}")
        case KeyError():
            yield Problem(spell_path(path), "is required")
        case _:
            raise exc


def _steps(exc: Exception) -> Iterator[str | int]:
    for note in getattr(exc, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            yield note.name
        elif isinstance(note, IterableValidationNote):
            yield note.index


def _suggest(name: str, kind: type[Any], root: type[Any]) -> str:
    """Name the nearest known key: the same name in one other table, or a like one in this table."""
    own = [field.name for field in attrs.fields(kind)]
    elsewhere = [path for path in _paths(root) if path.rpartition(".")[2] == name]
    near = elsewhere if len(elsewhere) == 1 else difflib.get_close_matches(name, own, n=1)
    return f" (did you mean {near[0]}?)" if near else f" (known here: {', '.join(own)})"


def _paths(kind: type[Any], above: str = "") -> Iterator[str]:
    for field in attrs.fields(attrs.resolve_types(kind)):
        path = f"{above}{field.name}"
        if attrs.has(field.type) and "read" not in field.metadata:
            yield from _paths(field.type, f"{path}.")
        elif field.type == tuple[Cluster, ...]:
            yield from _paths(Cluster, f"{path}[].")
        else:
            yield path
