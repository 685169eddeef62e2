from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.config import format_duration, parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (30.0, "30s"),
        (90.0, "1m 30s"),
        (90.0, "1m30s"),
        (0.5, "500ms"),
        (0.3, "300ms"),
        (3600.0, "1h"),
        (172800.0, "2d"),
        (604800.0, "1w"),
        (0.00025, "250us"),
        (0.00025, "250µs"),
        (2e-9, "2ns"),
        (7325.0, "2 hours 2 min 5 seconds"),
        (1.5, "1.5s"),
        (2630016.0, "1M"),
        (31557600.0, "1 year"),
        (0.0, "0s"),
        (0.0, "0"),
        (5.0, "  5 sec  "),
    ],
)
def test_a_duration_is_the_sum_of_its_parts_in_seconds(seconds: float, text: str) -> None:
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("a number without a unit", "30"),
        ("a number without a unit", "1m 30"),
        ("no such unit", "3 fortnights"),
        ("no such unit", "3S"),
        ("no number where one should be", "s"),
        ("no number where one should be", "-3s"),
        ("no number where one should be", "1m, 3s"),
        ("it is empty", " "),
        ("it is too long", "1" * 300 + "s"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(reason: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_duration_that_was_formatted_is_read_back_exactly(milliseconds: int) -> None:
    assert milliseconds / 1000 == parse_duration(format_duration(milliseconds / 1000))


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["ns", "us", "ms", "s", "m", "h", "d"])), max_size=8
    )
)
def test_spaces_between_parts_do_not_matter(parts: list[tuple[int, str]]) -> None:
    written = [f"{count}{unit}" for count, unit in parts] or ["0s"]
    assert parse_duration("".join(written)) == parse_duration("  ".join(written))


@given(st.text())
def test_any_other_text_is_a_value_error_that_does_not_repeat_it(text: str) -> None:
    reason = ""
    try:
        parse_duration(text)
    except ValueError as exc:
        reason = str(exc)
    assert reason in {
        "",
        "it is empty",
        "it is too long",
        "no such unit",
        "a number without a unit",
        "no number where one should be",
    }
