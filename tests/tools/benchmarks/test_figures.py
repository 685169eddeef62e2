from __future__ import annotations

import pytest
from benchmarks.figures import Figures, median, medians, percentile, ratio


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.501, 51.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert expected == percentile([float(n) for n in range(100, 0, -1)], share)


def test_the_p99_of_few_values_is_the_largest() -> None:
    assert 7.0 == percentile([3.0, 7.0, 1.0], 0.99)


def test_nothing_measured_gives_no_figure() -> None:
    assert percentile([], 0.5) is None
    assert median([None, None]) is None
    assert ratio(None, 2.0) is None
    assert ratio(2.0, None) is None
    assert ratio(2.0, 0.0) is None


def test_medians_are_taken_figure_by_figure_over_the_repeats_that_have_it() -> None:
    repeats: list[Figures] = [{"a": 1.0, "b": 5.0}, {"a": 9.0, "b": None}, {"a": 2.0}]

    assert {"a": 2.0, "b": 5.0} == medians(repeats)
