"""The watcher's judgement: it has to see two leaders where there are two."""

from __future__ import annotations

from tests.kubernetes.watching import Observation, gaps, overlaps, stints

A, B = "a:1", "b:1"


def answers(address: str, start: float, end: float, *, yes: bool = True) -> list[Observation]:
    """An answer every 20 ms, each of which takes 4 ms."""
    count = round((end - start) / 0.02)
    times = [start + 0.02 * number for number in range(count)]
    return [Observation(address, "/leader", at, at + 0.004, yes) for at in times]


def test_leaders_one_after_the_other_are_no_overlap() -> None:
    seen = [
        *answers(A, 0, 1),
        *answers(A, 1, 3, yes=False),
        *answers(B, 0, 1, yes=False),
        *answers(B, 1.1, 3),
    ]
    assert [] == overlaps(stints(seen))
    ((at, length),) = gaps(stints(seen))
    assert (0.984, 0.116) == (round(at, 3), round(length, 3))


def test_two_leaders_at_once_are_seen_even_if_only_for_a_moment() -> None:
    seen = [*answers(A, 0, 1), *answers(A, 1, 3, yes=False), *answers(B, 0.95, 3)]
    assert [(A, B)] == [(one.address, other.address) for one, other in overlaps(stints(seen))]


def test_a_single_answer_within_another_s_span_is_an_overlap() -> None:
    seen = [*answers(A, 0, 2), Observation(B, "/leader", 1.0, 1.004, yes=True)]
    assert 1 == len(overlaps(stints(seen)))


def test_an_answer_that_was_under_way_for_long_proves_nothing() -> None:
    frozen = Observation(A, "/leader", 1.0, 9.0, yes=True)
    seen = [*answers(A, 0, 1), frozen, *answers(A, 9.01, 10, yes=False), *answers(B, 4.0, 10)]
    assert [] == overlaps(stints(seen))


def test_a_leader_that_woke_up_and_still_says_so_is_an_overlap() -> None:
    frozen = Observation(A, "/leader", 1.0, 9.0, yes=True)
    seen = [*answers(A, 0, 1), frozen, *answers(A, 9.01, 9.1), *answers(B, 4.0, 10)]
    assert 1 <= len(overlaps(stints(seen)))


def test_a_leader_and_another_that_serves_lag_are_an_overlap() -> None:
    lag = [Observation(B, "/metrics", seen.sent, seen.received, yes=True) for seen in answers(B, 1, 2)]
    assert 1 == len(overlaps(stints([*answers(A, 0, 3), *lag])))
