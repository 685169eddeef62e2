from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.config.files import problem

from klag_trio.config import ConfigError, load_config
from klag_trio.config.written import parse

EXAMPLE = (Path(__file__).parents[3] / "config.toml").read_text()
PIECES = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        '"""',
        "'''",
        "=",
        ",",
        ".",
        "#",
        "\n",
        "\\",
        "$",
        "${A}",
        "${?B}",
        "$${",
        "${",
        "true",
        "1",
        "-1.5",
        "nan",
        "[[clusters]]",
        "[exporter]",
        "a.b = 1",
        "1979-05-27",
        "\ue000",
        "\ud7ff",
        "\0",
    ]
) | st.text(max_size=3)


def loads_or_says_why(text: str) -> None:
    """Anything but a configuration or a ConfigError, with one line for each problem, fails the test."""
    try:
        load_config(text, {"A": "a"})
    except ConfigError as exc:
        problems, lines = exc.problems, str(exc).splitlines()
    else:
        return
    assert problems
    assert len(problems) == len(lines)


@given(st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), PIECES), min_size=1, max_size=4))
def test_a_file_with_random_changes_loads_or_says_why(changes: list[tuple[int, int, str]]) -> None:
    text = EXAMPLE
    for start, length, piece in changes:
        text = text[:start] + piece + text[start + length :]
    loads_or_says_why(text)


VALUES = st.recursive(
    st.sampled_from(
        ["1", "-1", "0.5", "nan", "true", '""', '"a"', '"1s"', "${A}", "${B}", "1979-05-27", "07:32:00"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | inner.map(lambda item: f"{{a = {item}}}")
    ),
    max_leaves=4,
)


@given(st.integers(0, EXAMPLE.count(" = ") - 1), VALUES)
def test_any_value_for_any_key_loads_or_says_why(index: int, value: str) -> None:
    lines = EXAMPLE.splitlines()
    with_value = [number for number, line in enumerate(lines) if " = " in line]
    number = with_value[index % len(with_value)]
    lines[number] = lines[number].removeprefix("# ").split(" = ")[0] + f" = {value}"
    loads_or_says_why("\n".join(lines))


@given(st.lists(PIECES).map("".join))
def test_any_text_loads_or_says_why(text: str) -> None:
    loads_or_says_why(text)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("it is nested too deeply", "a = " + "[" * 60_000),
        ("it is nested too deeply", "a = " + "{a = " * 10_000),
        ("it is nested too deeply", "a" + ".a" * 30_000 + " = 1"),
        ("it is nested too deeply", "[" + "a." * 30_000 + "a]"),
        ("it is nested too deeply, or a key is defined in two ways", "a = " + "[" * 200 + "]" * 200),
        ("it holds a number that is too long", "a = " + "9" * 5000),
        ("the file is larger than 65536 characters", "#" * 64 * 1024 + "#"),
    ],
    ids=["arrays", "inline tables", "dotted key", "table name", "closed arrays", "number", "file"],
)
def test_input_that_is_too_much_is_refused_with_the_reason(reason: str, text: str) -> None:
    assert f"the file is not valid TOML: {reason}" == problem(text).message


# One that takes the square of its length does not end within the time limit of all tests.
@pytest.mark.parametrize(
    "text",
    [
        "a = " + '\\"' * 30_000,
        "a = '" + "${A:-" * 10_000 + "'",
        "a = " + "${A:-" * 10_000,
        '"""\\' * 16_000,
    ],
    ids=["escapes", "references", "unquoted references", "open strings"],
)
def test_odd_input_takes_no_longer_than_its_length(text: str) -> None:
    loads_or_says_why(text)


def test_a_table_has_so_many_keys_with_dots_at_most() -> None:
    keys = "[a.b]\n" + "".join(f"c.d{number} = 1\n" for number in range(64))
    assert parse(keys + '"c.e" = 1.5\n' + keys.replace("b", "c"), {})
    found = problem(f"{keys}c.e = 1\n")
    assert ("line 66", "more than 64 keys with dots in one table: put them in quotes") == (
        found.path,
        found.message,
    )
