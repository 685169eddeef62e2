from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.domain.backoff import ceiling, full_jitter

seconds = st.floats(min_value=1e-3, max_value=1e6)
chances = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(
    ("failures", "delay"), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (10**9, 30.0)]
)
def test_the_ceiling_doubles_from_the_base_up_to_the_cap(failures: int, delay: float) -> None:
    assert delay == ceiling(failures, base=1.0, cap=30.0)


def test_a_cap_below_the_base_holds() -> None:
    assert ceiling(1, base=1.0, cap=0.5) == 0.5


@given(failures=st.integers(0, 10**400), base=seconds, cap=seconds, random=chances)
def test_no_delay_is_negative_or_longer_than_the_cap(
    failures: int, base: float, cap: float, random: float
) -> None:
    assert 0 <= full_jitter(failures, base=base, cap=cap, random=random) <= cap


@given(failures=st.integers(0, 5000), base=seconds, cap=seconds)
def test_another_failure_never_shortens_the_ceiling(failures: int, base: float, cap: float) -> None:
    assert ceiling(failures, base=base, cap=cap) <= ceiling(failures + 1, base=base, cap=cap)


@given(failures=st.integers(1, 100), random=chances)
def test_jitter_takes_its_share_of_the_whole_ceiling(failures: int, random: float) -> None:
    assert random * ceiling(failures, base=1, cap=30) == full_jitter(failures, base=1, cap=30, random=random)
