"""The elector in virtual time: who leads when, and what runs meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from tests.fakes.leases import FakeLeases, StoredLease
from trio.testing import MockClock

from klag_trio.domain.lease import Candidate, Lease, release
from klag_trio.kubernetes.leases import LeaseConflict, LeaseUnavailable
from klag_trio.services.elector import Elector
from klag_trio.services.tenure import Tenure
from klag_trio.stopping import RELEASE_SECONDS

DURATION, GRACE = 15, 5
TERM = DURATION - GRACE
WALL = datetime(2026, 11, 24, tzinfo=UTC)
ROUGH_SECONDS, LOST = 150.0, 300.0
Hop = Callable[[], Awaitable[None]]
Log = list[tuple[float, str, bool]]


@attrs.define
class Replica:
    """An elector, and when it led."""

    name: str
    leases: FakeLeases
    tenure: Tenure
    elector: Elector
    scope: trio.CancelScope
    working: bool = False
    events: Log = attrs.field(factory=list)

    async def lead(self) -> None:
        assert not self.working
        self.working = True
        self.events.append((trio.current_time(), self.name, True))
        try:
            await trio.sleep_forever()
        finally:
            self.working = False
            self.events.append((trio.current_time(), self.name, False))


def replica(name: str, store: StoredLease, *, clock: Callable[[], float] | None = None) -> Replica:
    leases, tenure = FakeLeases(store), Tenure(clock or trio.current_time)
    me = Candidate(name, f"process of {name} {id(leases)}", DURATION, GRACE)
    made: Replica

    async def lead() -> None:
        await made.lead()

    elector = Elector(leases, me, tenure, lead, wall_clock=lambda: WALL)
    made = Replica(name, leases, tenure, elector, trio.CancelScope())
    return made


def start(nursery: trio.Nursery, *replicas: Replica) -> None:
    async def run(one: Replica) -> None:
        with one.scope:
            await one.elector.run()

    for one in replicas:
        nursery.start_soon(run, one)


async def until(condition: Callable[[], bool], *, seconds: float = 120.0) -> float:
    """Wait for it, and return when it came about, to a hundredth of a second."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - many things are waited for, at one's own clock
            await trio.sleep(0.01)
    return trio.current_time()


async def never_answers() -> None:
    await trio.sleep_forever()


async def refuses() -> None:
    raise LeaseUnavailable("500 Internal Server Error: etcdserver: no leader")


async def test_a_replica_alone_leads_at_once_and_renews_five_times_a_term(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one = replica("a", store)
    start(nursery, one)
    await until(lambda: one.working)
    assert trio.current_time() < 0.1
    await trio.sleep(4 * TERM)
    assert 4 * 5 + 1 == pytest.approx(len(store.writes), abs=1)
    assert [True] == [working for _, _, working in one.events]


async def test_a_standby_takes_over_when_the_leader_s_lease_has_run_out(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one, two = replica("a", store), replica("b", store)
    start(nursery, one)
    await until(lambda: one.working)
    start(nursery, two)
    await trio.sleep(60)
    assert not two.working
    assert "standing by: a leads" == two.tenure.reason()
    cut_off = trio.current_time()
    one.leases.there = never_answers
    gone = await until(lambda: not one.working)
    assert TERM - one.elector._me.retry <= gone - cut_off <= TERM + 0.02
    taken = await until(lambda: two.working)
    # What the standby has seen last may be a second old.
    assert GRACE <= taken - gone
    assert taken - cut_off <= DURATION + 1.1


async def test_a_lease_counts_from_before_the_request_that_renewed_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    one = replica("a", StoredLease())

    async def slowly() -> None:
        await trio.sleep(2)

    one.leases.back = slowly
    start(nursery, one)
    await until(lambda: one.working)
    # The look was answered after 2 s, the write went out then and was answered after 4 s.
    assert 4 == pytest.approx(trio.current_time(), abs=0.02)
    assert 2 + TERM == pytest.approx(one.tenure.until, abs=0.02)


@pytest.mark.parametrize("fault", [never_answers, refuses])
async def test_a_leader_that_cannot_renew_stops_at_the_end_of_its_term_and_comes_back(
    autojump_clock: MockClock, nursery: trio.Nursery, fault: Hop
) -> None:
    store = StoredLease()
    one = replica("a", store)
    start(nursery, one)
    await until(lambda: one.working)
    one.leases.there = fault
    await until(lambda: not one.working)
    assert TERM == pytest.approx(trio.current_time(), abs=0.05)
    assert not one.tenure.holds()
    assert one.tenure.reason().startswith("standing by: ")
    one.leases = FakeLeases(store)
    one.elector._leases = one.leases
    await until(lambda: one.working, seconds=TERM)


async def test_a_write_whose_answer_is_lost_gives_no_lead_and_is_found_by_the_next_look(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one = replica("a", store)
    one.leases.back = lose_the_first_answer_to_a_write(store)
    start(nursery, one)
    await until(lambda: bool(store.writes), seconds=1)
    assert not one.tenure.holds()
    await until(lambda: one.working)
    # Two writes: the one that was lost and its renewal, by the same holder.
    assert [0, 0] == [lease.transitions for lease in store.writes]


def lose_the_first_answer_to_a_write(store: StoredLease) -> Hop:
    lost = False

    async def back() -> None:
        nonlocal lost
        if store.writes and not lost:
            lost = True
            await trio.sleep_forever()

    return back


async def test_a_stale_write_is_refused_and_the_leader_steps_back_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one = replica("a", store)
    start(nursery, one)
    await until(lambda: one.working)
    assert store.lease is not None
    # By an administrator.
    store.put(attrs.evolve(store.lease, holder="b", process="", duration=DURATION))
    await until(lambda: not one.working)
    assert trio.current_time() <= one.elector._me.retry + 0.05
    assert "standing by: b leads" == one.tenure.reason()
    await until(lambda: one.working)
    assert DURATION <= trio.current_time()


async def test_a_lease_that_is_deleted_costs_the_lead_until_it_is_made_anew(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one = replica("a", store)
    start(nursery, one)
    await until(lambda: one.working)
    store.lease = None
    await until(lambda: len(one.events) == 3)
    assert one.working
    assert store.lease is not None


async def test_a_replica_that_stops_gives_the_lease_back_after_its_work_has_ended(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one, two = replica("a", store), replica("b", store)
    start(nursery, one)
    await until(lambda: one.working)
    start(nursery, two)
    await trio.sleep(5.55)
    stopped = trio.current_time()
    one.scope.cancel()
    await until(lambda: two.working)
    assert trio.current_time() - stopped < 1.1
    assert not one.working
    assert one.events[-1][0] <= two.events[0][0]
    assert store.lease is not None
    assert 1 == store.lease.transitions


async def test_a_standby_that_stops_asks_nothing(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    store = StoredLease()
    one, two = replica("a", store), replica("b", store)
    start(nursery, one)
    await until(lambda: one.working)
    start(nursery, two)
    await trio.sleep(1.5)
    requests = two.leases.requests
    two.scope.cancel()
    await trio.sleep(1)
    assert requests == two.leases.requests
    assert one.working


async def test_giving_back_is_tried_again_but_not_for_long(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one = replica("a", store)

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        with one.scope:
            await one.elector.run()
        one.events.append((trio.current_time(), "ended", False))

    await nursery.start(run)
    await until(lambda: one.working)
    one.leases.there = refuses
    stopped = trio.current_time()
    one.scope.cancel()
    await until(lambda: one.events[-1][1] == "ended")
    assert RELEASE_SECONDS == pytest.approx(trio.current_time() - stopped, abs=0.05)
    # Several attempts.
    assert one.leases.requests > 5


async def test_two_replicas_of_one_name_do_not_both_lead(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    one, two = replica("same", store), replica("same", store)
    start(nursery, one, two)
    for _ in range(600):
        await trio.sleep(0.1)
        assert not (one.working and two.working)
    assert one.working or two.working


async def test_the_server_s_request_to_wait_is_heeded(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    one = replica("a", StoredLease())

    async def too_many() -> None:
        raise LeaseUnavailable("429 Too Many Requests: slow down", retry_after=7.0)

    one.leases.there = too_many
    start(nursery, one)
    await trio.sleep(6.9)
    assert 1 == one.leases.requests
    await trio.sleep(0.2)
    assert 2 == one.leases.requests


async def test_a_bug_in_the_leader_s_work_ends_the_elector_and_gives_the_lease_back(
    autojump_clock: MockClock,
) -> None:
    store = StoredLease()

    async def lead() -> None:
        raise ZeroDivisionError

    me = Candidate("a", "process", DURATION, GRACE)
    elector = Elector(FakeLeases(store), me, Tenure(trio.current_time), lead, wall_clock=lambda: WALL)
    with pytest.raises(ExceptionGroup) as caught:
        await elector.run()
    assert caught.group_contains(ZeroDivisionError)
    assert store.lease is not None
    assert "" == store.lease.holder


async def test_each_trouble_is_logged_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    one = replica("a", StoredLease())
    with capture_logs() as logged:
        start(nursery, one)
        await until(lambda: one.working)
        one.leases.there = refuses
        await until(lambda: not one.working)
        await trio.sleep(60)
    assert ["leading", "cannot renew the lease", "stopped leading"] == [line["event"] for line in logged]


async def test_a_machine_that_slept_knows_that_its_lead_is_over(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    slept = 0.0
    store = StoredLease()
    one = replica("a", store, clock=lambda: trio.current_time() + slept)
    start(nursery, one)
    await until(lambda: one.working)
    assert one.tenure.holds()
    slept = TERM
    # Nothing has run since.
    assert not one.tenure.holds()
    assert one.working
    # It finds out that another took the lease meanwhile.
    assert store.lease is not None
    store.put(attrs.evolve(store.lease, holder="b", process="", duration=DURATION))
    await until(lambda: one.tenure.holds() or not one.working)
    assert not one.tenure.holds()
    assert "standing by: b leads" == one.tenure.reason()


@attrs.define
class LateLeases(FakeLeases):
    """Here a write arrives even when its sender has given up, as what is on the wire does."""

    nursery: trio.Nursery = attrs.field(kw_only=True)

    async def write(self, lease: Lease) -> Lease:
        async def arrive() -> None:
            try:
                await self.there()
                written.append(self.store.put(lease))
                await self.back()
            except (LeaseConflict, LeaseUnavailable) as exc:
                failed.append(exc)
            answered.set()

        written: list[Lease] = []
        failed: list[Exception] = []
        answered = trio.Event()
        self.nursery.start_soon(arrive)
        await answered.wait()
        if failed:
            raise failed[0]
        return written[0]


@pytest.mark.parametrize("seed", range(20))
def test_never_two_lead_whatever_the_network_does(seed: int) -> None:
    play(seed)


def play(seed: int) -> None:
    random = Random(seed)
    delays = [0.0, 0.0, 0.0, 0.0, 0.3, 2.0, 4.9, 9.0, 30.0, LOST, None]
    store, events = StoredLease(), Log()

    async def hop() -> None:
        delay = random.choice(delays) if trio.current_time() < ROUGH_SECONDS else 0.0
        if delay is None:
            raise LeaseUnavailable("refused")
        await trio.sleep(delay)

    async def main() -> None:
        replicas = [replica(name, store) for name in random.choice(["abc", "ab", "aa"])]
        for one in replicas:
            one.leases.there = one.leases.back = hop
            one.events = events
        async with trio.open_nursery() as nursery:
            for one in replicas:
                one.elector._leases = LateLeases(store, hop, hop, nursery=nursery)
            start(nursery, *replicas)
            while trio.current_time() < ROUGH_SECONDS:
                await trio.sleep(0.25)
                assert sum(one.tenure.holds() for one in replicas) <= 1
                assert sum(one.working for one in replicas) <= 1
            # It recovers: a late write may hold the way for as long as a shield lasts.
            await until(lambda: any(one.working for one in replicas), seconds=2 * LOST)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0.0))


async def test_what_was_given_back_is_taken_by_one_only(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = StoredLease()
    former = Lease("gone", "gone", DURATION, WALL, WALL, transitions=4, version="")
    store.put(former)
    assert store.lease is not None
    store.put(release(store.lease, WALL))
    many = [replica(name, store) for name in "abcde"]
    start(nursery, *many)
    await trio.sleep(30)
    assert 1 == sum(one.working for one in many)
    assert store.lease is not None
    assert 5 == store.lease.transitions
