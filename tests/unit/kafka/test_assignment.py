"""The assignment of a member, whatever bytes it is."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker.stranger import assignment

from klag_trio.kafka.assignment import MalformedAssignment, parse

NUMBERS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20)
OWNED = st.dictionaries(st.text(max_size=30).map(str.encode), NUMBERS, max_size=10)


@given(owned=OWNED, version=st.integers(0, 2**15 - 1), later=st.binary(max_size=20))
def test_an_assignment_is_read_as_it_was_written_in_any_version(
    owned: dict[bytes, list[int]], version: int, later: bytes
) -> None:
    found = parse(assignment(owned, version) + later)
    assert {topic.decode(): numbers for topic, numbers in owned.items()} == {
        topic: list(numbers) for topic, numbers in found.items()
    }


@given(data=st.binary(max_size=300))
def test_any_bytes_are_an_assignment_or_malformed(data: bytes) -> None:
    found: Mapping[str, array[int]] = {}
    with suppress(MalformedAssignment):
        found = parse(data)
    # Nothing grows beyond what was written.
    assert 4 * sum(map(len, found.values())) <= len(data)


@given(owned=OWNED.filter(bool), size=st.integers(0, 400))
def test_an_assignment_that_ends_early_is_malformed(owned: dict[bytes, list[int]], size: int) -> None:
    whole = assignment(owned)
    without_user_data = len(whole) - 4
    cut = whole[: min(size, without_user_data - 1)]
    if cut:
        with pytest.raises(MalformedAssignment):
            parse(cut)


def test_no_bytes_are_no_partitions() -> None:
    assert {} == parse(b"")


def test_a_topic_that_is_no_utf_8_has_a_replacement_character() -> None:
    assert ["\ufffd\ufffd"] == list(parse(assignment({b"\xff\xfe": [0]})))


def test_a_topic_that_comes_twice_has_the_partitions_of_both() -> None:
    once = assignment({b"orders": [0]})[6:-4]
    twice = struct.pack(">hi", 0, 2) + once + assignment({b"orders": [1]})[6:-4]
    assert [0, 1] == list(parse(twice)["orders"])
