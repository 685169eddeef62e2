from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from klag_trio.domain.lease import (
    Action,
    Candidate,
    Lease,
    View,
    claim,
    decide,
    free_at,
    leads_until,
    observe,
    release,
)

ME = Candidate("pod-1", "process-1", duration=15, grace=5)
OTHER = Candidate("pod-2", "process-2", duration=30, grace=5)
WALL = datetime(2026, 11, 24, 12, tzinfo=UTC)
THEIRS = attrs.evolve(claim(None, OTHER, WALL), version="7")
MINE = attrs.evolve(claim(None, ME, WALL), version="7")
SEEN = 100.0


def decided(lease: Lease | None, now: float, *, until: float | None = None) -> Action:
    return decide(View(lease, SEEN), ME, leads_until=until, now=now)


def test_a_lease_that_nobody_made_is_acquired() -> None:
    assert Action.ACQUIRE == decided(None, SEEN)


def test_a_lease_that_was_given_back_is_acquired_at_once() -> None:
    assert Action.ACQUIRE == decided(release(THEIRS, WALL), SEEN)


@pytest.mark.parametrize(("passed", "action"), [(29.9, Action.WAIT), (30.0, Action.ACQUIRE)])
def test_another_s_lease_is_taken_after_its_own_duration_since_it_was_seen_to_change(
    passed: float, action: Action
) -> None:
    assert action == decided(THEIRS, SEEN + passed)


def test_a_lease_that_tells_no_duration_holds_for_ours() -> None:
    assert SEEN + ME.duration == free_at(View(attrs.evolve(THEIRS, duration=None), SEEN), ME)


@pytest.mark.parametrize("renewed", [WALL - timedelta(days=400), WALL + timedelta(days=400), None])
def test_the_other_s_clock_says_nothing(renewed: datetime | None) -> None:
    lease = attrs.evolve(THEIRS, renewed=renewed)
    assert Action.WAIT == decided(lease, SEEN + 29)
    assert Action.ACQUIRE == decided(lease, SEEN + 30)


def test_any_write_starts_the_wait_anew_even_if_all_times_in_it_are_the_same() -> None:
    view = observe(None, THEIRS, SEEN)
    assert view == observe(view, THEIRS, SEEN + 20)
    assert View(attrs.evolve(THEIRS, version="8"), SEEN + 20) == observe(
        view, attrs.evolve(THEIRS, version="8"), SEEN + 20
    )


def test_the_leader_renews_until_its_term_is_over() -> None:
    until = leads_until(SEEN, ME)
    assert SEEN + 10 == until
    assert Action.RENEW == decided(MINE, until - 0.1, until=until)
    assert Action.STEP_DOWN == decided(MINE, until, until=until)


@pytest.mark.parametrize("lease", [THEIRS, None, release(MINE, WALL)])
def test_a_leader_whose_lease_is_not_its_own_steps_down(lease: Lease | None) -> None:
    assert Action.STEP_DOWN == decided(lease, SEEN + 1, until=SEEN + 9)


def test_a_lease_that_is_ours_without_our_knowing_is_renewed() -> None:
    assert Action.RENEW == decided(MINE, SEEN + 1000)


def test_another_process_of_the_same_name_is_another() -> None:
    namesake = attrs.evolve(MINE, process="process-9")
    assert Action.WAIT == decided(namesake, SEEN + 14)
    assert Action.STEP_DOWN == decided(namesake, SEEN + 1, until=SEEN + 9)


def test_a_first_claim_starts_the_count_of_transitions() -> None:
    assert Lease("pod-1", "process-1", 15, WALL, WALL, 0, "") == claim(None, ME, WALL)


def test_a_renewal_moves_nothing_but_renew_time() -> None:
    later = WALL + timedelta(seconds=2)
    assert attrs.evolve(MINE, renewed=later) == claim(MINE, ME, later)


@pytest.mark.parametrize("lease", [THEIRS, release(THEIRS, WALL)])
def test_a_change_of_holder_counts_as_a_transition(lease: Lease) -> None:
    later = WALL + timedelta(seconds=2)
    taken = claim(lease, ME, later)
    assert Lease("pod-1", "process-1", 15, later, later, THEIRS.transitions + 1, "7") == taken


def test_a_release_leaves_no_holder_and_the_shortest_duration() -> None:
    assert Lease("", "", 1, WALL, WALL, MINE.transitions, "7") == release(MINE, WALL)


def test_five_renewals_fit_into_a_term() -> None:
    assert 2.0 == ME.retry
