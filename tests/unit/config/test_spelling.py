"""What was found is shown as the file spells it, wherever it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.config.written import Node, Written, parse

SCALARS = [
    "1",
    "+1_000",
    "0xFFFF_FFFF",
    "0o17",
    "1.50",
    "-6.02e+23",
    "inf",
    "nan",
    "true",
    "false",
    "1979-05-27",
    "07:32:00.5",
    "1979-05-27T07:32:00Z",
    "1979-05-27 07:32:00-07:00",
    '""',
    '"a, b = [1] # {}"',
    '"\\" \\u0041"',
    "'it is \\'",
    '"""a "" \\" b"""""',
    "'''a '' b'''''",
    "${A}",
    '"${A}"',
]
LAYOUTS = [
    "k = X",
    "k=X# = 2, [3]",
    "'k' = X\n\"1.5\" = 3",
    "1.5 = X",
    "a.k = X",
    "[t]\n1979-05-27 = X",
    "[[t]]\nk = X\n[[t]]\nk = true",
    "k = [X]",
    "k = [ # 7, 'a'\n X , # 8\n]",
    "k = [[0, {a = 1, 2.b = X}], 9]",
    "k = {a = [1, [X], 2], b = 3}",
    "k = {a = {}, b = X, 'c' = []}",
]


def scalars(node: Node) -> list[Written]:
    if isinstance(node, Written):
        return [node]
    return [found for item in (node.values() if isinstance(node, dict) else node) for found in scalars(item)]


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_scalar_is_shown_as_it_is_spelled_wherever_it_stands(layout: str, scalar: str) -> None:
    tree = parse(layout.replace("X", scalar), {"A": "a"})
    assert scalar in [written.text for written in scalars(tree)]


@given(st.lists(st.sampled_from(SCALARS)))
def test_scalars_keep_their_order_their_spelling_and_their_value(chosen: list[str]) -> None:
    alone = [parse(f"k = {scalar}", {"A": "a"})["k"] for scalar in chosen]
    assert repr(alone) == repr(parse(f"k = [{', '.join(chosen)}]", {"A": "a"})["k"])
    assert chosen == [node.text for node in alone if isinstance(node, Written)]
