"""`python scripts/reference.py` renews the tables of docs/configuration.md and docs/metrics.md.

They come from the classes that read the configuration and from the table of metric families. What stands
outside of the marks in those pages is written by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs

from klag_trio.config import schema
from klag_trio.config.errors import WrongValueError
from klag_trio.config.written import plain
from klag_trio.exposition import families as f

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DOCS = Path(__file__).resolve().parents[1] / "docs"
_EXAMPLES = 'a duration such as "30s", "1m 30s" or "500ms", '
LABEL_SETS = {f.P: "P", f.G: "G", f.M: "M", (*f.M, *f.FLAGS): "M, compaction_detected, data_loss_detected"}


def filled(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table between the marks that carry its name; ValueError where they do not fit."""
    for name, table in tables.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        if (count := page.count(begin)) != 1:
            raise ValueError(f"{begin.strip()} stands {count} times in the page")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{table}\n{end}{after}"
    if left := set(re.findall("<!-- generated: (.*?) -->", page)) - set(tables):
        raise ValueError(f"there is no table called {', '.join(sorted(left))}")
    return page


def configuration() -> dict[str, str]:
    """A table of keys for every table of the configuration, by its path."""
    return {
        path: _table(("key", "default", "what it takes", "meaning"), keys)
        for path, kind in _tables("", schema.Config)
        if (keys := list(_keys(kind)))
    }


def metrics() -> dict[str, str]:
    """The families, in three tables."""
    members: dict[str, list[tuple[str, ...]]] = {
        "P": [f.P],
        "group": [f.G, (*f.G, "topic")],
        "M": [f.M, (*f.M, *f.FLAGS)],
    }
    lag = {name: [x for x in f.LAG_FAMILIES if x.labels in sets] for name, sets in members.items()}
    if missing := set(f.LAG_FAMILIES).difference(*lag.values()):
        raise ValueError(f"no table for {missing}")
    own = [x for x in f.STATUS_FAMILIES if x.name.startswith("klag_")]
    inherited = [x for x in f.STATUS_FAMILIES if x not in own]
    return {name: _families(found) for name, found in {**lag, "inherited": inherited, "own": own}.items()}


def _tables(path: str, kind: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    yield path, kind
    hints = get_type_hints(kind)
    for field in attrs.fields(kind):
        inner = f"{path}.{field.name}".lstrip(".")
        hint = hints[field.name]
        if attrs.has(hint):
            yield from _tables(inner, hint)
        elif (item := _item(hint)) is not None:
            yield from _tables(f"{inner}[]", item)


def _item(hint: Any) -> type[Any] | None:
    """The class of the tables in an array of tables."""
    first = getattr(hint, "__args__", (None,))[0]
    return first if isinstance(first, type) and attrs.has(first) else None


def _keys(kind: type[Any]) -> Iterator[tuple[str, ...]]:
    for field in attrs.fields(kind):
        if "read" not in field.metadata:
            continue
        yield f"`{field.name}`", _default(field), _takes(field.metadata["read"]), field.metadata["doc"]


def _default(field: Any) -> str:
    if "default" not in field.metadata:
        return "required"
    default = field.metadata["default"]
    if default is None:
        return ""
    # JSON spells these as TOML does.
    return default if isinstance(default, str) and " x " in default else f"`{json.dumps(default)}`"


def _takes(read: Any) -> str:
    """What the key's reader says that it expected, when it gets something that no reader takes."""
    for wrong in ({}, plain(0.5), plain("")):
        try:
            read(wrong)
        except WrongValueError as exc:
            told = str(exc).removeprefix("expected ").removesuffix("; it needs a unit and quotes")
            return told.replace(_EXAMPLES, "a duration, ")
    raise ValueError(f"{read} takes anything")


def _families(found: Iterable[f.Family]) -> str:
    return _table(
        ("name", "type", "labels", "unit", "value"),
        (
            (f"`{x.name}`", x.type, LABEL_SETS.get(x.labels) or ", ".join(x.labels), x.unit, x.help)
            for x in found
        ),
    )


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


PAGES = {DOCS / "configuration.md": configuration, DOCS / "metrics.md": metrics}


def main() -> None:
    for page, tables in PAGES.items():
        page.write_text(filled(page.read_text(), tables()))


if __name__ == "__main__":
    main()
