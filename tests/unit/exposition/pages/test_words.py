from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.exposition.pages import words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, words.NOT_KNOWN),
        (0.0, "0 s"),
        (0.0001, "1 ms"),
        (0.0124, "12 ms"),
        (0.9999, "1.0 s"),
        (3.44, "3.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86_400 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(seconds: float | None, said: str) -> None:
    assert said == words.span(seconds)


@given(st.floats(0, 1e9))
def test_every_span_has_a_number_and_a_unit(seconds: float) -> None:
    assert words.span(seconds)[0].isdigit()
    assert words.span(seconds).split()[-1] in {"ms", "s", "min", "h", "d"}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "just now"), (1.9, "1 s ago"), (12.7, "12 s ago"), (61.5, "1 min 1 s ago")]
)
def test_how_long_ago_is_said_in_whole_seconds(seconds: float, said: str) -> None:
    assert said == words.ago(seconds)


def test_numbers_have_their_thousands_apart() -> None:
    assert "9,223,372,036,854,775,807" == words.count(2**63 - 1)
    assert "1 group" == words.many(1, "group")
    assert "1,200 groups" == words.many(1200, "group")


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, words.NOT_KNOWN), (0.0, "0 %"), (0.2, "<1 %"), (47.4, "47 %"), (100.0, "100 %")],
)
def test_a_share_that_is_not_quite_0_never_looks_like_0(share: float | None, said: str) -> None:
    assert said == words.percent(share)


def test_instants_are_in_utc() -> None:
    assert "2023-11-14 22:13:20 UTC" == words.clock(1_700_000_000.9)
    assert "2023-11-14T22:13:20Z" == words.machine_time(1_700_000_000.9)
