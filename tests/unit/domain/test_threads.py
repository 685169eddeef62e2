from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.domain.threads import Threads, share


@pytest.mark.parametrize(
    ("total", "clusters", "readers", "each"),
    [
        (64, 1, 10, Threads(8, 10)),
        (64, 4, 10, Threads(8, 8)),
        (64, 5, 10, Threads(6, 6)),
        (64, 5, 0, Threads(8, 0)),
        (6, 2, 10, Threads(4, 1)),
        (1, 1, 10, Threads(4, 1)),
        (1, 3, 0, Threads(4, 0)),
    ],
)
def test_threads_are_shared_out_evenly(total: int, clusters: int, readers: int, each: Threads) -> None:
    assert each == share(total, clusters=clusters, readers=readers)


@given(total=st.integers(1, 1000), clusters=st.integers(1, 100), readers=st.integers(0, 50))
def test_no_more_threads_than_are_configured_but_for_what_each_cluster_needs(
    total: int, clusters: int, readers: int
) -> None:
    each = share(total, clusters=clusters, readers=readers)
    least = 4 + (readers > 0)
    assert each.total * clusters <= max(total, least * clusters)
    assert 4 <= each.admin <= 8
    assert min(1, readers) <= each.readers <= readers


@given(total=st.integers(1, 1000), clusters=st.integers(1, 100), readers=st.integers(1, 50))
def test_as_many_readers_as_are_wanted_where_there_are_threads_enough(
    total: int, clusters: int, readers: int
) -> None:
    if total // clusters >= 16 + readers:
        assert readers == share(total, clusters=clusters, readers=readers).readers
