from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.domain.filters import NameFilter
from klag_trio.domain.patterns import NamePattern


def name_filter(whitelist: list[str], blacklist: list[str]) -> NameFilter:
    return NameFilter(list(map(NamePattern, whitelist)), list(map(NamePattern, blacklist)))


@pytest.mark.parametrize(
    ("whitelist", "blacklist", "name", "passes"),
    [
        ([".*"], [], "anything", True),
        ([".*"], [], "", True),
        (["payments"], [], "eu-payments-1", True),
        (["^payments$"], [], "eu-payments-1", False),
        (["^payments$"], [], "payments", True),
        (["^eu-", "-1$"], [], "us-payments-1", True),
        (["^eu-", "-1$"], [], "us-payments-2", False),
        (["payments"], ["-1$"], "eu-payments-1", False),
        (["payments"], ["-1$", "^eu"], "eu-payments-2", False),
        ([".*"], ["__.*"], "__consumer_offsets", False),
        ([".*"], ["__.*"], "my__topic", False),
        ([".*"], ["^__"], "my__topic", True),
        ([], [], "anything", False),
        (["Payments"], [], "payments", False),
        (["(?i)Payments"], [], "payments", True),
        (["^.$"], [], "é", True),
        (["ü"], ["é$"], "zürich-é", False),
    ],
)
def test_a_name_passes_that_matches_one_of_the_first_and_none_of_the_second_anywhere(
    whitelist: list[str], blacklist: list[str], name: str, passes: bool
) -> None:
    assert passes == name_filter(whitelist, blacklist)(name)


def test_names_keep_their_order_and_are_selected_once() -> None:
    assert name_filter(["1"], []).select(["b1", "a2", "a1", "b1"]) == ["b1", "a1"]


@given(st.lists(st.text()))
def test_everything_passes_by_default(names: list[str]) -> None:
    assert list(dict.fromkeys(names)) == name_filter([".*"], []).select(names)
