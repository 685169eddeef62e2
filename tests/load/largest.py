"""Configurations of the largest size that is read, in the shapes that take longest and most memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

from benchmarks.family import status_bytes

from klag_trio.config import ConfigError, load_config
from klag_trio.config.web import load_web_config
from klag_trio.config.written import LARGEST
from klag_trio.config.yaml_nodes import LARGEST as LARGEST_YAML

CLUSTER = '[[clusters]]\nname = "a"\nbootstrap_servers = "h:1"\n'


def _repeated(unit: Callable[[int], str], before: str, after: str = "", *, size: int = LARGEST) -> str:
    """As many units as there is room for, each made of its number."""
    units: list[str] = []
    room = size - len(before) - len(after)
    while (room := room - len(made := unit(len(units)))) >= 0:
        units.append(made)
    return "".join([before, *units, after])


def _lines(unit: Callable[[int], str]) -> str:
    return _repeated(unit, CLUSTER)


def _array(item: str, key: str = "x") -> str:
    return _repeated(lambda _: item, f"{CLUSTER}{key} = [", "]\n")


def _in_string(unit: str) -> str:
    return _repeated(lambda _: unit, f'{CLUSTER}topic_whitelist = ["', '"]\n')


TOML: dict[str, Callable[[], str]] = {
    "clusters": lambda: _lines(lambda n: f'[[clusters]]\nname = "c{n}"\nbootstrap_servers = "h:1"\n'),
    "clusters of one name": lambda: _lines(lambda _: CLUSTER),
    "empty clusters": lambda: _repeated(lambda _: "{},", "clusters = [", "]\n"),
    "unknown keys": lambda: _lines(lambda n: f"k{n}=1\n"),
    "keys like a known one": lambda: _lines(lambda n: f"topic_whitelis{n}=1\n"),
    "wrong labels": lambda: _repeated(lambda n: f'"a-{n}"=1\n', f"{CLUSTER}[clusters.labels]\n"),
    "properties": lambda: _repeated(
        lambda n: f'"a.b{n}"="1"\n', f"{CLUSTER}[clusters.consumer_properties]\n"
    ),
    "properties without quotes": lambda: _repeated(
        lambda n: f'a.b{n}="1"\n', f"{CLUSTER}[clusters.consumer_properties]\n"
    ),
    "patterns": lambda: _repeated(lambda n: f'"^t{n}.*$",', f"{CLUSTER}topic_whitelist = [", "]\n"),
    "patterns that repeat": lambda: _repeated(
        lambda n: f'"{n}a{{1000}}",', f"{CLUSTER}topic_whitelist = [", "]\n"
    ),
    "wrong patterns": lambda: _array('"(",', "topic_whitelist"),
    "numbers for patterns": lambda: _array("1,", "topic_whitelist"),
    "one pattern": lambda: _in_string("(a|b){1,9}"),
    "bad references": lambda: _in_string("${}"),
    "references to nothing": lambda: _repeated(
        lambda n: f"${{B{n}}}", f'{CLUSTER}topic_whitelist = ["', '"]\n'
    ),
    "bare references": lambda: _repeated(lambda n: f"${{B{n}}},", f"{CLUSTER}topic_whitelist = [", "]\n"),
    "one string": lambda: _in_string("a"),
    "escapes": lambda: _in_string("\\n"),
    "one key": lambda: _repeated(lambda _: "k", CLUSTER, "=1\n"),
    "comments": lambda: _lines(lambda _: "#\n"),
    "empty lines": lambda: _lines(lambda _: "\n"),
    "dotted keys": lambda: _lines(lambda n: f"a{n}.b.c=1\n"),
    "long dotted keys": lambda: _lines(lambda n: f"a{n}{'.b' * 19}=1\n"),
    "dotted keys of one table": lambda: _lines(lambda n: f"a{'.b' * 18}.c{n}=1\n"),
    "tables": lambda: _lines(lambda n: f"[t{n}]\n"),
    "tables in each other": lambda: _lines(lambda n: f"[t{n}{'.a' * 19}]\n"),
    "tables in one table": lambda: _lines(lambda n: f"[t{'.a' * 18}.b{n}]\n"),
    "tables in turns": lambda: _lines(lambda n: f"[a.t{n}]\n[b.t{n}]\n"),
    "arrays of tables": lambda: _lines(lambda _: "[[x]]\na.b=1\na.c=2\n"),
    "numbers": lambda: _array("1,"),
    "arrays": lambda: _array("[],"),
    "deep arrays": lambda: _array("[" * 60 + "]" * 60 + ","),
    "an array without an end": lambda: _repeated(lambda _: "[", f"{CLUSTER}x = "),
    "empty strings": lambda: _array('"",'),
    "inline tables": lambda: _array("{a.b=1,a.c=1},"),
    "deep inline tables": lambda: _array("{a=" * 40 + "1" + "}" * 40 + ","),
    "one inline table": lambda: _repeated(lambda n: f"a.b{n}=1,", f"{CLUSTER}x = {{", "z=1}\n"),
}


def _yaml(unit: Callable[[int], str], before: str = "", after: str = "") -> str:
    return _repeated(unit, before, after, size=LARGEST_YAML)


YAML: dict[str, Callable[[], str]] = {
    "users": lambda: _yaml(lambda n: f"  u{n}: $2b$10${'a' * 21}.{'b' * 31}\n", "basic_auth_users:\n"),
    "wrong users": lambda: _yaml(lambda n: f"  u{n}: x\n", "basic_auth_users:\n"),
    "unknown keys": lambda: _yaml(lambda n: f"k{n}: 1\n"),
    "a list": lambda: _yaml(lambda _: "- \n"),
    "names": lambda: _yaml(lambda _: "  - a\n", "tls_server_config:\n  client_allowed_sans:\n"),
    "wrong names": lambda: _yaml(lambda _: "  - a\n", "tls_server_config:\n  cipher_suites:\n"),
    "a flow list": lambda: _yaml(lambda _: "1,", "a: [", "]"),
    "flow tables": lambda: _yaml(lambda _: "a:,", "a: [", "]"),
    "deep lists": lambda: _yaml(lambda _: "[" * 60 + "]" * 60 + ",", "a: [", "]"),
    "a list without an end": lambda: _yaml(lambda _: "["),
    "aliases": lambda: _yaml(lambda _: "*a,", "a: &a [x]\nb: [", "]"),
    "anchors": lambda: _yaml(lambda n: f"- &a{n} x\n", "a:\n"),
    "escapes": lambda: _yaml(lambda _: "\\x41", 'a: "', '"'),
    "words": lambda: _yaml(lambda _: "x ", "a: "),
    "empty lines": lambda: _yaml(lambda _: "\n"),
}


def main(kind: str, shape: str) -> None:
    """Say what reading took, in seconds of a processor and MiB of all of this process, and what was said."""
    text = {"TOML": TOML, "YAML": YAML}[kind][shape]()
    before = process_time()
    try:
        if kind == "TOML":
            load_config(text, {})
        else:
            load_web_config(text, Path("/"))
    except ConfigError as exc:
        outcome = f"{len(str(exc).splitlines())} lines, {len(str(exc))} characters"
    else:
        outcome = "0 lines, 0 characters"
    # Not ru_maxrss, in which the process that started this one counts.
    mebibytes = status_bytes(os.getpid(), "VmHWM") >> 20
    sys.stdout.write(f"{process_time() - before:.2f} s, {mebibytes} MiB, {outcome}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
