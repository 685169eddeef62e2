from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.exposition.pages.drawing import Curve, curve, log_position, phases

START = 1_700_000_000.0


def drawn(*lags: float, width: int = 120, height: int = 28) -> Curve:
    trend = [(START + at * 60, lag) for at, lag in enumerate(lags)]
    found = curve(trend, since=START, until=trend[-1][0], width=width, height=height)
    assert found is not None
    return found


def points(path: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"(-?\d+) (-?\d+)", path)]


def test_a_curve_goes_from_edge_to_edge_and_from_0_to_its_highest_point() -> None:
    assert [(0, 27), (60, 14), (120, 1)] == points(drawn(0, 50, 100).line)
    assert (120, 1) == drawn(0, 50, 100).end
    assert [(0, 27), (120, 27)] == points(drawn(0, 0).line)


def test_the_area_is_closed_along_the_bottom() -> None:
    found = drawn(0, 100)
    assert found.area.endswith("L120 28L0 28Z")


def test_what_began_later_begins_further_right() -> None:
    found = curve(
        [(START + 60, 1.0), (START + 120, 2.0)], since=START, until=START + 120, width=100, height=20
    )
    assert found is not None
    assert [50, 100] == [x for x, _ in points(found.line)]


def test_one_moment_is_no_trend() -> None:
    assert curve([(START, 5.0)], since=START, until=START, width=10, height=10) is None
    assert curve([], since=START, until=START + 5, width=10, height=10) is None


@pytest.mark.parametrize(
    ("lags", "direction"),
    [
        ((0, 0, 0), "level"),
        ((100, 101, 99), "level"),
        ((10, 20, 30), "rising"),
        ((30, 20, 10), "falling"),
        ((900, 1000, 1120, 1240, 1000, 760, 520, 280, 40), "falling"),
        ((1000, *([5] * 20)), "level"),
        ((0, 36, 3, 30, 1, 36, 0, 33, 4, 36), "level"),
        ((0, 5, 3, 9, 7, 14, 12, 17, 15, 20), "rising"),
    ],
)
def test_the_direction_is_that_of_the_last_eight_moments(lags: tuple[float, ...], direction: str) -> None:
    assert direction == drawn(*lags).direction


def test_the_label_says_what_the_picture_shows() -> None:
    assert "rising: from 10 to 4,000 in 2 min" == drawn(10, 20, 4000).label
    peak = drawn(10, 4000, 3000, 2000, 1000, 900, 800, 700, 600)
    assert "falling: from 10 to 600 in 8 min, 4,000 at most" == peak.label


@given(st.lists(st.floats(0, 2.0**63), min_size=2, max_size=60))
def test_every_point_lies_inside_the_box(lags: list[float]) -> None:
    found = drawn(*lags)
    assert all(0 <= x <= 120 and 0 <= y <= 28 for x, y in points(found.line) + points(found.area))


def test_phases_lie_end_to_end_and_fill_the_bar() -> None:
    first, second = phases({"topics": 1.0, "groups": 3.0})
    assert ("topics", 0.0, 25.0, "1.0 s", 1) == (first.name, first.x, first.width, first.label, first.number)
    assert ("groups", 25.0, 75.0, "3.0 s", 2) == (
        second.name, second.x, second.width, second.label, second.number
    )  # fmt: skip


def test_phases_that_took_no_time_have_no_width() -> None:
    assert [0.0, 0.0] == [segment.width for segment in phases({"topics": 0.0, "groups": 0.0})]


@pytest.mark.parametrize(
    ("earliest", "committed", "latest", "position"),
    [(0, 25, 100, 25), (100, 50, 200, 0), (100, 300, 200, 100), (5, 5, 5, 100), (5, 4, 5, 0)],
)
def test_the_position_is_where_the_group_stands_in_what_is_retained(
    earliest: int, committed: int, latest: int, position: float
) -> None:
    assert position == log_position(earliest, committed, latest)
