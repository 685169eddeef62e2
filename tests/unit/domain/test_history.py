from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.snapshots import T0, T1, lag_report, snapshot

from klag_trio.domain.history import POINTS, SPAN, History
from klag_trio.domain.lag import LagReport

START = 1_700_000_000.0


def report(at: float, **lags: int) -> LagReport:
    groups = {name: {T0: 10**12 - lag} for name, lag in lags.items()}
    return lag_report(snapshot({T0: (0, 10**12), T1: (0, 10)}, groups, now=at))


def grown(interval: float, cycles: int) -> History:
    """A history of a group whose lag is the seconds since the start."""
    history = History()
    for cycle in range(cycles):
        at = cycle * interval
        history = history.add(report(START + at, app=round(at)))
    return history


def test_the_trend_is_the_sum_lag_of_each_moment() -> None:
    history = History().add(report(START, a=5, b=7)).add(report(START + 1, a=6, b=0))
    assert [(START, 5.0), (START + 1, 6.0)] == history.trend("a")
    assert [(START, 7.0), (START + 1, 0.0)] == history.trend("b")
    assert [] == history.trend("c")


def test_a_group_that_comes_and_goes_has_only_its_own_moments() -> None:
    history = History()
    for at, names in enumerate(["a", "ab", "b", "ab"]):
        history = history.add(report(START + at, **dict.fromkeys(names, at)))
    assert [(START, 0.0), (START + 1, 1.0), (START + 3, 3.0)] == history.trend("a")
    assert [(START + 1, 1.0), (START + 2, 2.0), (START + 3, 3.0)] == history.trend("b")


def test_a_group_without_a_commit_has_no_lag_rather_than_0() -> None:
    history = History().add(lag_report(snapshot({T0: (0, 9)}, {"newcomer": {}}, now=START)))
    assert [] == history.trend("newcomer")


@pytest.mark.parametrize("interval", [0.25, 2.0, 10.0, 30.0, 60.0, 45.0, 120.0])
def test_it_spans_the_last_hour_in_at_most_60_moments(interval: float) -> None:
    cycles = int(2 * SPAN / interval)
    history = grown(interval, cycles)
    now = START + (cycles - 1) * interval
    times = [at for at, _ in history.trend("app")]
    assert len(times) <= POINTS
    assert times == sorted(times)
    # Moments may be a twentieth closer than a minute, and as far apart as a minute and a cycle.
    gap = interval + SPAN / POINTS
    assert now - SPAN - gap <= times[0] <= now - 0.95 * SPAN + gap
    assert now - times[-1] <= gap


def test_there_is_a_trend_from_the_second_cycle_on() -> None:
    for cycles in range(2, POINTS + 1):
        assert cycles == len(grown(2.0, cycles).moments)


def test_thinning_keeps_the_newest_moment_and_even_gaps() -> None:
    before, after = grown(2.0, POINTS), grown(2.0, POINTS + 1)
    assert POINTS // 2 + 1 == len(after.moments)
    assert before.moments[-1].at == after.moments[-2].at
    gaps = {later.at - earlier.at for earlier, later in zip(after.moments, after.moments[1:-1], strict=False)}
    assert {4.0} == gaps


def test_a_report_that_comes_too_soon_changes_nothing() -> None:
    history = grown(60.0, 200)
    last = history.moments[-1].at
    assert history is history.add(report(last + 10, app=1))


def test_a_clock_that_was_set_back_leaves_no_moment_of_the_future() -> None:
    history = grown(60.0, 10)
    assert not history.due(START)
    # It goes on once the clock has come to where it was; until then nothing is forgotten.
    assert history is history.add(report(START + 1, app=1))


def test_moments_without_change_share_their_groups() -> None:
    history = grown(30.0, 50)
    assert 1 == len({id(moment.groups) for moment in history.moments})


def test_4000_groups_take_one_megabyte() -> None:
    base = report(START, **{f"group-{number}": number for number in range(4000)})
    history = History()
    for cycle in range(150):
        history = history.add(attrs.evolve(base, now=START + cycle * 30))
    assert POINTS == len(history.moments)
    taken = sum(moment.lags.itemsize * len(moment.lags) for moment in history.moments)
    assert 4 * POINTS * 4000 == taken
    assert 1 == len({id(moment.groups) for moment in history.moments})


@given(st.integers(0, 2**63 - 1))
def test_a_lag_is_kept_to_24_bits(lag: int) -> None:
    topped = lag_report(snapshot({T0: (0, 2**63 - 1)}, {"app": {T0: 2**63 - 1 - lag}}, now=START))
    ((_, kept),) = History().add(topped).trend("app")
    assert math.isclose(lag, kept, rel_tol=2**-23)
