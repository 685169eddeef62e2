"""Whose turn it is to be asked about: a coordinator that hangs takes no other's."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.kafka.turns import Coordination, Turns

PATIENCE = 1.0


class ByLetter(Coordination):
    """Groups whose names begin alike have one coordinator."""

    def coordinator(self, group: str) -> int:
        return ord(group[0])


def turns(groups: list[str], *, most: int = 2, is_known: bool = True) -> Turns:
    return Turns(groups, ByLetter([], is_known=is_known), most=most, patience=PATIENCE)


@pytest.mark.parametrize(
    ("group", "partition"),
    [
        # As Java tells String.hashCode.
        ("", 0),
        ("a", 97 % 50),
        ("console-consumer-1", 24),
        ("payments", 13),
        ("größe", 7),
        ("\N{PILE OF POO}", 6),
        # String.hashCode is the least of all numbers here, which has no absolute value.
        ("polygenelubricants", 0),
    ],
)
def test_the_coordinator_leads_the_partition_that_kafka_chooses(group: str, partition: int) -> None:
    assert partition == Coordination(range(50)).coordinator(group)


def test_so_many_are_asked_about_at_a_time() -> None:
    queue = turns(["a1", "b1", "c1"])
    assert ["a1", "b1"] == list(queue.take(0))
    assert [] == list(queue.take(0))
    queue.answered("b1", 0)
    assert ["c1"] == list(queue.take(0))


def test_coordinators_come_one_after_the_other() -> None:
    queue = turns(["a1", "a2", "a3", "b1", "b2"], most=4)
    assert ["a1", "b1", "a2", "b2"] == list(queue.take(0))


def test_one_that_is_silent_neither_counts_nor_is_asked_about_more() -> None:
    queue = turns(["a1", "a2", "a3", "c1", "c2", "c3"])
    assert ["a1", "c1"] == list(queue.take(0))
    queue.answered("c1", 0.9)
    # Two are under way, and neither is overdue yet.
    assert ["c2"] == list(queue.take(0.9))
    assert ["c3"] == list(queue.take(PATIENCE))


def test_one_that_answers_again_counts_again() -> None:
    queue = turns(["a1", "a2", "c1", "c2", "c3"], most=1)
    assert ["a1"] == list(queue.take(0))
    assert ["c1"] == list(queue.take(PATIENCE))
    queue.answered("a1", PATIENCE)
    queue.answered("c1", PATIENCE)
    assert ["a2"] == list(queue.take(PATIENCE))
    queue.answered("a2", PATIENCE)
    assert ["c2"] == list(queue.take(PATIENCE))


def test_one_holds_up_the_others_from_the_moment_at_which_it_is_silent() -> None:
    queue = turns(["a1", "b1", "c1"])
    assert not queue.is_held_up(10, PATIENCE)
    assert ["a1", "b1"] == list(queue.take(10))
    queue.answered("b1", 10)
    assert not queue.is_held_up(10 + PATIENCE / 2, PATIENCE)
    assert queue.is_held_up(10 + PATIENCE, PATIENCE)
    assert ["a1", "c1"] == sorted(queue.left())


@pytest.mark.parametrize("first", ["a1", "a2", "a3"])
def test_a_coordinator_is_asked_again_about_the_same_groups_and_no_others(first: str) -> None:
    names = sorted(["a1", "a2", "a3"], key=lambda name: name != first)
    earlier = turns([*names, "b1", "b2"])
    assert [first, "b1"] == list(earlier.take(0))
    assert [first, "b1"] == list(earlier.again().take(1))


def test_an_answer_over_an_earlier_handle_counts() -> None:
    earlier = turns(["a1", "a2", "a3", "b1"])
    assert ["a1", "b1"] == list(earlier.take(0))
    earlier.answered("b1", 0)
    queue = earlier.again()
    assert ["a1", "a2"] == list(queue.take(1))
    queue.answered("a1", 1)
    queue.answered("a3", 1)
    assert ["a2"] == queue.left()
    assert () == queue.timed_out("a2")
    assert [] == queue.left()


def test_those_of_a_coordinator_that_never_answered_are_given_up_with_the_first() -> None:
    queue = turns(["a1", "a2", "c1"], most=2)
    assert ["a1", "c1"] == list(queue.take(0))
    queue.answered("c1", 0)
    assert ["a2"] == queue.timed_out("a1")
    assert [] == queue.left()


@pytest.mark.parametrize("is_known", [True, False])
def test_those_of_one_that_has_answered_or_is_not_known_have_their_turn_yet(*, is_known: bool) -> None:
    queue = turns(["a1", "a2", "a3"], most=1, is_known=is_known)
    assert ["a1"] == list(queue.take(0))
    if is_known:
        queue.answered("a1", 0)
        assert ["a2"] == list(queue.take(0))
    assert () == queue.timed_out("a2" if is_known else "a1")
    assert ["a3" if is_known else "a2"] == list(queue.take(10))


@given(
    groups=st.lists(st.sampled_from("abc"), max_size=60),
    hanging=st.sets(st.sampled_from("abc")),
    most=st.integers(1, 5),
    is_known=st.booleans(),
    pace=st.floats(0.01, 2.5),
)
def test_every_group_has_its_turn_once_or_is_given_up_and_nobody_is_asked_too_much(
    groups: list[str], hanging: set[str], most: int, is_known: bool, pace: float
) -> None:
    names = [f"{letter}{number}" for number, letter in enumerate(groups)]
    queue = turns(names, most=most, is_known=is_known)
    under_way: dict[str, float] = {}
    ended: list[str] = []
    now = 0.0
    while len(ended) < len(names):
        for group in queue.take(now):
            under_way[group] = now
        assert all(count <= most for count in Counter(group[0] for group in under_way).values())
        assert under_way
        now += pace
        group, asked_at = next(iter(under_way.items()))
        answering = [group for group in under_way if group[0] not in hanging]
        if answering:
            del under_way[answering[0]]
            queue.answered(answering[0], now)
            ended.append(answering[0])
        elif now >= asked_at + 10 * PATIENCE:
            del under_way[group]
            ended += [group, *queue.timed_out(group)]
    assert sorted(names) == sorted(ended)
    assert [] == queue.left()
