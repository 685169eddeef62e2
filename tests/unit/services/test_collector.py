"""Schedules, failures and recovery, in virtual time on a cluster in memory."""

from __future__ import annotations

import traceback
from itertools import pairwise, repeat
from typing import NoReturn

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from tests.fakes.cluster import TIMED_OUT
from tests.unit.domain.snapshots import NOW
from tests.unit.services.collecting import (
    NO_CACHES,
    POLL,
    THRESHOLD,
    Collected,
    collected,
    make_board,
)
from tests.unit.services.exports import by_cluster, exported, lag
from trio.testing import MockClock

from klag_trio.config import Performance
from klag_trio.domain.offsets import Fault, GroupState, ListedGroup, TopicPartition
from klag_trio.services.time_lag import NoTimeLag

ORDERS = TopicPartition("orders", 0)
DENIED = Fault("GROUP_AUTHORIZATION_FAILED", "not allowed")
DOWN = Fault("_TRANSPORT", "connection refused", retriable=True)


async def start(nursery: trio.Nursery, *every: Collected) -> None:
    await nursery.start(every[0].board.run)
    for one in every:
        await nursery.start(one.collector.run)


def states(one: Collected) -> set[str]:
    """The groups that are served."""
    return {group for (group,) in exported(one.board, "kafka_consumergroup_group_state", "group")}


def errors(one: Collected) -> dict[tuple[str, ...], float]:
    return exported(one.board, "klag_errors_total", "stage", "code")


# The schedule


async def test_a_cycle_starts_every_poll_interval(virtual_time: MockClock, nursery: trio.Nursery) -> None:
    prod = collected(takes=repeat(7))
    await start(nursery, prod)
    await trio.sleep(100)
    assert [0, 30, 60, 90] == prod.starts
    assert {"prod": 0.0} == by_cluster(prod.board, "klag_cycles_overrun_total")


async def test_a_cycle_that_overran_is_counted_and_the_schedule_stays(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(takes=iter([0, 40]))
    await start(nursery, prod)
    await trio.sleep(125)
    assert [0, 30, 70, 90, 120] == prod.starts
    assert {"prod": 1.0} == by_cluster(prod.board, "klag_cycles_overrun_total")


async def test_a_cycle_that_missed_several_starts_is_followed_by_one(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(poll=10, takes=iter([35]))
    await start(nursery, prod)
    await trio.sleep(55)
    assert [0, 35, 40, 50] == prod.starts


async def test_a_cycle_as_long_as_the_interval_is_no_overrun(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(takes=repeat(POLL))
    await start(nursery, prod)
    await trio.sleep(100)
    assert [0, 30, 60, 90] == prod.starts
    assert {"prod": 0.0} == by_cluster(prod.board, "klag_cycles_overrun_total")


async def test_cycles_of_a_cluster_never_overlap(virtual_time: MockClock, nursery: trio.Nursery) -> None:
    prod = collected(takes=repeat(40))
    prod.cluster.commit("app", {ORDERS: 40})
    await start(nursery, prod)
    await trio.sleep(250)
    assert [0, 40, 80, 120, 160, 200, 240] == prod.starts
    asked = prod.admin.names()
    for first in range(0, 30, 5):
        # What is there is asked at once, and so in any order.
        what_is_there, offsets = asked[first : first + 3], asked[first + 3 : first + 5]
        assert (["earliest", "groups", "topics"], ["commits", "latest"]) == (sorted(what_is_there), offsets)
    assert {"earliest", "groups", "topics"} >= set(asked[30:])


async def test_figures_follow_the_cluster(virtual_time: MockClock, nursery: trio.Nursery) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    await start(nursery, prod)
    await trio.sleep(1)
    assert {("prod", "app"): 60.0} == lag(prod.board)
    prod.cluster.produce("orders", n=5)
    prod.cluster.commit("new", {ORDERS: 105})
    await trio.sleep(POLL)
    assert {("prod", "app"): 65.0, ("prod", "new"): 0.0} == lag(prod.board)
    assert {"prod": NOW + POLL} == by_cluster(prod.board, "kafka_lag_exporter_last_update_timestamp_seconds")


# A cluster that is down, or hangs


async def test_a_cluster_that_is_down_is_marked_so_and_comes_back(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    prod.cluster.troubles.unavailable["groups"] = DOWN
    await start(nursery, prod)
    await trio.sleep(POLL)
    assert {"prod": 0.0} == by_cluster(prod.board, "klag_cluster_up")
    assert {("groups", "_TRANSPORT")} == errors(prod).keys()
    assert "no fresh metrics; cluster prod: groups: connection refused (_TRANSPORT)" == prod.board.unready()
    del prod.cluster.troubles.unavailable["groups"]
    await trio.sleep(POLL)
    assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")
    assert {("prod", "app"): 60.0} == lag(prod.board)
    assert prod.board.unready() is None


async def test_no_wait_between_failures_is_longer_than_the_poll_interval(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.troubles.unavailable["topics"] = DOWN
    failures: list[float] = []
    prod.admin.before["topics"] = lambda: failures.append(trio.current_time())
    await start(nursery, prod)
    await trio.sleep(1000)
    waits = [after - before for before, after in pairwise(failures)]
    assert all(0 <= wait <= min(2.0**i, POLL) for i, wait in enumerate(waits))
    assert max(waits) > 10


async def test_one_good_cycle_ends_the_long_waits(virtual_time: MockClock, nursery: trio.Nursery) -> None:
    prod = collected()
    prod.cluster.troubles.unavailable["latest"] = DOWN
    await start(nursery, prod)
    await trio.sleep(500)
    prod.cluster.troubles.unavailable.clear()
    await trio.sleep(POLL)
    good = prod.starts[-1]
    prod.cluster.troubles.unavailable["latest"] = DOWN
    await trio.sleep_until(good + POLL + 1.5)
    first, second, *_ = (start for start in prod.starts if start > good)
    assert good + POLL == first
    assert first <= second <= first + 1


async def test_the_deadline_of_a_cycle_is_the_staleness_threshold(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.troubles.hanging.add("commits")
    prod.cluster.commit("app", {ORDERS: 40})
    await start(nursery, prod)
    await trio.sleep(THRESHOLD - 1)
    assert [0] == prod.starts
    await trio.sleep(3)
    assert {("cycle", "_TIMED_OUT"): 1.0} == errors(prod)
    assert {"prod": 0.0} == by_cluster(prod.board, "klag_cluster_up")
    assert {"prod": 1.0} == by_cluster(prod.board, "klag_cycles_overrun_total")
    assert 2 == len(prod.starts)


async def test_a_cluster_whose_cycles_take_nearly_the_threshold_is_served_without_a_gap(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(takes=repeat(THRESHOLD - 10))
    prod.cluster.commit("app", {ORDERS: 40})
    await start(nursery, prod)
    for _ in range(30):
        await trio.sleep_until(max(THRESHOLD - 9, trio.current_time() + 10))
        assert {("prod", "app"): 60.0} == lag(prod.board)


async def test_a_cluster_that_hangs_drops_out_at_the_threshold_and_delays_no_other(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board("east", "west")
    east, west = (collected(name=name, board=board) for name in ("east", "west"))
    for one in (east, west):
        one.cluster.commit("app", {ORDERS: 40})
    await start(nursery, east, west)
    await trio.sleep(1)
    east.cluster.troubles.hanging.add("latest")
    await trio.sleep_until(east.starts[0] + THRESHOLD - 1)
    assert {("east", "app"): 60.0, ("west", "app"): 60.0} == lag(board)
    await trio.sleep(2)
    assert {("west", "app"): 60.0} == lag(board)
    assert [0, 30, 60, 90] == west.starts
    assert {"east": 0.0, "west": 1.0} == by_cluster(board, "klag_cluster_up")
    assert board.unready() is None
    east.cluster.troubles.hanging.clear()
    await trio.sleep(3 * POLL)
    assert {("east", "app"): 60.0, ("west", "app"): 60.0} == lag(board)


async def test_a_cancelled_collector_ends_at_once(virtual_time: MockClock) -> None:
    prod = collected()
    prod.cluster.troubles.hanging.add("topics")
    with trio.move_on_after(5):
        await prod.collector.run()
    assert 5 == trio.current_time()


class Closing(NoTimeLag):
    """Takes a second to let go of its connections."""

    closed = False

    async def recycle(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        self.closed = True


async def test_a_cancelled_collector_lets_go_of_the_connections_of_its_time_lag(
    virtual_time: MockClock,
) -> None:
    time_lag = Closing()
    prod = collected(time_lag=time_lag)
    with trio.move_on_after(5):
        await prod.collector.run()
    assert time_lag.closed


async def test_a_collector_that_is_cancelled_while_it_recycles_lets_its_client_be(
    virtual_time: MockClock,
) -> None:
    prod = collected(time_lag=Closing(), performance=attrs.evolve(NO_CACHES, client_recycle_interval=1))
    with trio.move_on_after(0.5):
        await prod.collector.run()
    # A stop has no time for it as well.
    assert [] == prod.client.at


# Faults of single groups and partitions


async def test_a_group_that_fails_keeps_its_rows_until_the_threshold(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    prod.cluster.commit("other", {ORDERS: 90})
    await start(nursery, prod)
    await trio.sleep(1)
    prod.cluster.troubles.groups["app"] = DENIED
    prod.cluster.produce("orders", n=1000)
    await trio.sleep_until(THRESHOLD + 1)
    assert {("prod", "app"): 60.0, ("prod", "other"): 1010.0} == lag(prod.board)
    assert {("committed", "GROUP_AUTHORIZATION_FAILED"): 3.0} == errors(prod)
    await trio.sleep(POLL)
    assert {("prod", "other"): 1010.0} == lag(prod.board)
    assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")
    prod.cluster.troubles.groups.clear()
    await trio.sleep(POLL)
    assert {("prod", "app"): 1060.0, ("prod", "other"): 1010.0} == lag(prod.board)


async def test_a_partition_without_watermarks_keeps_its_rows(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.create_topic("payments")
    prod.cluster.commit("app", {ORDERS: 40, ("payments", 0): 0})
    await start(nursery, prod)
    await trio.sleep(1)
    prod.cluster.troubles.partitions[ORDERS] = TIMED_OUT
    prod.cluster.produce("payments", n=3)
    prod.cluster.commit("app", {ORDERS: 100})
    await trio.sleep(POLL)
    assert {("orders",): 60.0, ("payments",): 3.0} == exported(
        prod.board, "kafka_consumergroup_group_lag", "topic"
    )
    assert {("earliest", "_TIMED_OUT"): 1.0, ("latest", "_TIMED_OUT"): 1.0} == errors(prod)


async def test_an_error_is_logged_when_it_begins_and_when_it_ends(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    prod.cluster.troubles.groups["app"] = DENIED
    with capture_logs() as events:
        await start(nursery, prod)
        await trio.sleep(3 * POLL + 1)
        prod.cluster.troubles.groups.clear()
        await trio.sleep(3 * POLL)
    said = [(event["event"], event["subject"]) for event in events if event["log_level"] != "debug"]
    assert [("cannot read committed", "app"), ("can read committed again", "app")] == said
    assert {("committed", "GROUP_AUTHORIZATION_FAILED"): 4.0} == errors(prod)


@pytest.mark.parametrize(("fault", "attempts"), [(TIMED_OUT, 4), (DENIED, 1)])
async def test_only_what_may_pass_is_tried_again(
    virtual_time: MockClock, nursery: trio.Nursery, fault: Fault, attempts: int
) -> None:
    prod = collected(performance=attrs.evolve(NO_CACHES, group_fetch_retries=3))
    prod.cluster.commit("app", {ORDERS: 40})
    prod.cluster.commit("fine", {ORDERS: 40})
    prod.cluster.troubles.groups["app"] = fault
    await start(nursery, prod)
    await trio.sleep(POLL - 1)
    asked = [set(groups) for name, groups in prod.admin.asked if name == "commits"]
    assert [{"app", "fine"}, *[{"app"}] * (attempts - 1)] == asked
    assert {("committed", fault.code): 1.0} == errors(prod)


async def test_a_retry_that_succeeds_is_no_error(virtual_time: MockClock, nursery: trio.Nursery) -> None:
    prod = collected(performance=attrs.evolve(NO_CACHES, group_fetch_retries=1))
    prod.cluster.commit("app", {ORDERS: 40})
    prod.cluster.troubles.groups["app"] = TIMED_OUT

    def recover_before_the_second_attempt() -> None:
        if prod.admin.names().count("commits") == 2:
            prod.cluster.troubles.groups.clear()

    prod.admin.before["commits"] = recover_before_the_second_attempt
    await start(nursery, prod)
    await trio.sleep(POLL - 1)
    assert {("prod", "app"): 60.0} == lag(prod.board)
    assert {} == errors(prod)


async def test_without_members_to_ask_for_a_group_still_has_its_lag(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    with prod.cluster.consuming("app", ["orders"], client_id="the-client") as member:
        member.commit({ORDERS: 40})
        prod.cluster.troubles.descriptions["app"] = DENIED
        await start(nursery, prod)
        await trio.sleep(1)
        assert {("app", ""): 60.0} == exported(
            prod.board, "kafka_consumergroup_group_lag", "group", "client_id"
        )
        assert {("members", "GROUP_AUTHORIZATION_FAILED"): 1.0} == errors(prod)


# Listings


async def test_a_partial_listing_keeps_the_groups_of_the_broker_that_did_not_answer(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    prod.cluster.commit("other", {ORDERS: 90})
    await start(nursery, prod)
    await trio.sleep(1)
    prod.cluster.troubles.listing.append(TIMED_OUT)
    prod.cluster.troubles.unlisted.add("app")
    prod.cluster.produce("orders", n=5)
    await trio.sleep(5 * POLL)
    assert {("prod", "app"): 65.0, ("prod", "other"): 15.0} == lag(prod.board)
    assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")


async def test_a_group_that_a_partial_listing_showed_stays_while_listings_are_partial(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    await start(nursery, prod)
    await trio.sleep(1)
    prod.cluster.troubles.listing.append(TIMED_OUT)
    prod.cluster.commit("new", {ORDERS: 40})
    await trio.sleep(POLL)
    prod.cluster.troubles.unlisted.add("new")
    await trio.sleep(POLL)
    assert {("prod", "new"): 60.0} == lag(prod.board)


async def test_a_group_that_ends_between_its_listing_and_its_description_is_no_error(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.troubles.listed_also = [("ended", ListedGroup(GroupState.STABLE))]
    await start(nursery, prod)
    await trio.sleep(1)
    assert {} == errors(prod)


@pytest.mark.parametrize("listed_with_members", [False, True])
async def test_a_group_deleted_while_its_listing_is_cached_is_gone_at_the_next_cycle(
    virtual_time: MockClock, nursery: trio.Nursery, listed_with_members: bool
) -> None:
    prod = collected(performance=Performance(consumer_groups_cache_ttl=1000))
    prod.cluster.commit("other", {ORDERS: 90})
    prod.cluster.commit("app", {ORDERS: 40})
    if listed_with_members:
        prod.cluster.show_state("app", GroupState.STABLE)
    await start(nursery, prod)
    await trio.sleep(1)
    assert {"app", "other"} == states(prod)
    prod.cluster.delete_group("app")
    await trio.sleep(POLL)
    assert {"other"} == states(prod)
    assert {("prod", "other"): 10.0} == lag(prod.board)


@pytest.mark.parametrize(("ttl", "seen"), [(0.0, 1), (45.0, 2), (1000.0, 34)])
async def test_a_new_group_is_seen_when_the_listing_is_read_anew(
    virtual_time: MockClock, nursery: trio.Nursery, ttl: float, seen: int
) -> None:
    prod = collected(performance=Performance(consumer_groups_cache_ttl=ttl))
    prod.cluster.commit("app", {ORDERS: 40})
    await start(nursery, prod)
    await trio.sleep(1)
    prod.cluster.commit("new", {ORDERS: 90})
    await trio.sleep_until(seen * POLL - 1)
    assert {"app"} == states(prod)
    await trio.sleep(2)
    assert {"app", "new"} == states(prod)


# Bugs


def failing() -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("method", ["topics", "groups", "describe", "earliest", "commits", "latest"])
async def test_a_bug_costs_the_cluster_its_cycles_and_is_logged_once(
    virtual_time: MockClock, nursery: trio.Nursery, method: str
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    with prod.cluster.consuming("app", ["orders"]), capture_logs() as events:
        await start(nursery, prod)
        await trio.sleep(1)
        assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")
        prod.admin.before[method] = failing
        await trio.sleep(3 * POLL)
        assert {"prod": 0.0} == by_cluster(prod.board, "klag_cluster_up")
        assert errors(prod)["cycle", "bug"] > 1
        del prod.admin.before[method]
        await trio.sleep(2 * POLL)
        assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")
    (bug,) = [event for event in events if event["event"] == "a bug ended the cycle"]
    assert "a bug" in "".join(traceback.format_exception(bug["exc_info"]))


async def fails_when_cancelled(*_: object) -> NoReturn:
    try:
        await trio.sleep_forever()
    finally:
        failing()


async def test_a_bug_beside_expected_trouble_hides_neither(
    virtual_time: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    prod = collected()
    prod.cluster.troubles.unavailable["latest"] = DOWN
    # Only then is it certain that both come in one cycle.
    monkeypatch.setattr(prod.cluster, "describe", fails_when_cancelled)
    with prod.cluster.consuming("app", ["orders"]):
        await start(nursery, prod)
        await trio.sleep(1)
    assert {("cycle", "bug"), ("latest", DOWN.code)} <= errors(prod).keys()


async def no_thread(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("can't start new thread")


async def test_where_no_thread_starts_cycles_go_on_or_fail_for_that_without_a_traceback(
    virtual_time: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    with capture_logs() as events:
        await start(nursery, prod)
        await trio.sleep(1)
        assert {("prod", "app"): 60.0} == lag(prod.board)
        with monkeypatch.context() as patch:
            patch.setattr(trio.to_thread, "run_sync", no_thread)
            await trio.sleep(2 * POLL)
            assert errors(prod)["cycle", "_CRIT_SYS_RESOURCE"] >= 1
        await trio.sleep(2 * POLL)
        assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")
    said = [event for event in events if event["log_level"] != "debug"]
    assert ["cannot end a cycle in time", "can end a cycle in time again"] == [e["event"] for e in said]
    assert "ulimit -u" in said[0]["error"]
    assert "watch fewer clusters" in said[0]["mend"]


# The client


@pytest.mark.parametrize(("interval", "recycled"), [(0, []), (1, [0, 30, 60, 90]), (3, [60])])
async def test_the_client_is_recycled_every_so_many_cycles(
    virtual_time: MockClock, nursery: trio.Nursery, interval: int, recycled: list[float]
) -> None:
    prod = collected(performance=attrs.evolve(NO_CACHES, client_recycle_interval=interval))
    await start(nursery, prod)
    await trio.sleep(100)
    assert recycled == prod.client.at


async def test_a_client_that_cannot_be_made_anew_is_said_once_and_the_old_one_goes_on(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(performance=attrs.evolve(NO_CACHES, client_recycle_interval=3))
    prod.cluster.commit("app", {ORDERS: 40})
    prod.client.refused = Fault("_INVALID_ARG", "the certificate is gone")
    with capture_logs() as events:
        await start(nursery, prod)
        await trio.sleep_until(9 * POLL + 1)
        assert {("prod", "app"): 60.0} == lag(prod.board)
        assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")
        assert {("recycle", "_INVALID_ARG"): 3.0} == errors(prod)
        prod.client.refused = None
        await trio.sleep(4 * POLL)
    said = [event["event"] for event in events if event["log_level"] != "debug"]
    assert ["cannot make the client anew", "can make the client anew again"] == said


async def test_retries_of_one_group_never_cost_the_cycle(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(performance=attrs.evolve(NO_CACHES, group_fetch_retries=100))
    prod.cluster.commit("app", {ORDERS: 40})
    prod.cluster.commit("fine", {ORDERS: 40})
    prod.cluster.troubles.groups["app"] = TIMED_OUT
    await start(nursery, prod)
    await trio.sleep(THRESHOLD)
    assert {("prod", "fine"): 60.0} == lag(prod.board)
    assert {("committed", "_TIMED_OUT"): 1.0} == errors(prod)
    assert prod.admin.names().count("commits") > 10


async def test_a_failure_that_took_long_is_followed_by_the_next_cycle_at_once(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(takes=repeat(POLL))
    prod.cluster.troubles.unavailable["earliest"] = DOWN
    await start(nursery, prod)
    await trio.sleep(5 * POLL)
    assert [0, 30, 60, 90, 120] == prod.starts
