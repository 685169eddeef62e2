"""What no real cluster does on demand: two coordinators list one group, or some brokers do not list theirs.

The same checks as in tests/faults, on the cluster in memory that the contract suite holds to the real one.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from structlog.testing import capture_logs
from tests.fakes.cluster import TIMED_OUT
from tests.unit.services.collecting import POLL, THRESHOLD, collected, make_board
from tests.unit.services.exports import by_cluster, exported, lag
from trio.testing import MockClock

from klag_trio.config import Performance
from klag_trio.domain.offsets import Fault, GroupListing, GroupState, ListedGroup, TopicPartition

ORDERS = TopicPartition("orders", 0)


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        (GroupState.EMPTY, GroupState.STABLE, GroupState.STABLE),
        (GroupState.UNKNOWN, GroupState.EMPTY, GroupState.EMPTY),
        (GroupState.DEAD, GroupState.PREPARING_REBALANCE, GroupState.PREPARING_REBALANCE),
        (GroupState.DEAD, GroupState.EMPTY, GroupState.EMPTY),
        (GroupState.UNKNOWN, GroupState.UNKNOWN, GroupState.UNKNOWN),
    ],
)
def test_a_group_that_two_coordinators_list_is_one_group(
    one: GroupState, other: GroupState, merged: GroupState
) -> None:
    for first, second in ((one, other), (other, one)):
        listed = [("app", ListedGroup(first)), ("app", ListedGroup(second))]
        assert {"app": ListedGroup(merged)} == GroupListing.merged(listed, []).groups


async def test_a_group_on_its_way_between_coordinators_has_its_rows_once(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    await nursery.start(prod.board.run)
    await nursery.start(prod.collector.run)
    await trio.sleep(1)
    also = (GroupState.DEAD, GroupState.UNKNOWN)
    prod.cluster.troubles.listed_also = [("app", ListedGroup(state)) for state in also]
    await trio.sleep(3 * POLL)
    assert {("prod", "app"): 60.0} == lag(prod.board)
    states = exported(prod.board, "kafka_consumergroup_group_state", "group")
    assert {("app",): float(GroupState.EMPTY)} == states
    assert {} == exported(prod.board, "klag_errors_total", "stage", "code")
    assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")


async def test_the_groups_of_a_broker_that_does_not_list_them_stay(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board("prod", "other")
    prod, other = (collected(name=name, board=board) for name in ("prod", "other"))
    for group in ("app", "lost"):
        prod.cluster.commit(group, {ORDERS: 40})
    other.cluster.commit("app", {ORDERS: 90})
    whole = {("prod", "app"): 60.0, ("prod", "lost"): 60.0, ("other", "app"): 10.0}
    await nursery.start(board.run)
    with capture_logs() as events:
        for one in (prod, other):
            await nursery.start(one.collector.run)
        await trio.sleep(1)
        prod.cluster.troubles.listing = [TIMED_OUT]
        prod.cluster.troubles.unlisted = {"lost"}
        # Its commits do arrive, so that it is known to be there however long its broker is silent.
        for _ in range(6):
            await trio.sleep(POLL)
            assert whole == lag(board)
            assert {"prod": 1.0, "other": 1.0} == by_cluster(board, "klag_cluster_up")
        assert trio.current_time() > THRESHOLD
        assert {("prod", "groups", "_TIMED_OUT"): 6.0} == exported(
            board, "klag_errors_total", "cluster_name", "stage", "code"
        )
        prod.cluster.troubles.listing = []
        prod.cluster.troubles.unlisted = set()
        prod.cluster.delete_group("lost")
        await trio.sleep(POLL)
    assert {("prod", "app"): 60.0, ("other", "app"): 10.0} == lag(board)
    said = [event["event"] for event in events if event["log_level"] != "debug"]
    assert ["cannot read groups", "can read groups again"] == said
    assert {POLL} == {after - before for before, after in pairwise(other.starts)}


async def test_a_group_that_nobody_lists_while_its_coordinator_moves_stays(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(performance=Performance())
    for group in ("app", "moving", "deleted"):
        prod.cluster.commit(group, {ORDERS: 40})
    await nursery.start(prod.board.run)
    await nursery.start(prod.collector.run)
    await trio.sleep(1)
    prod.cluster.troubles.unlisted = {"moving"}
    prod.cluster.delete_group("deleted")
    cached = Performance().consumer_groups_cache_ttl
    while trio.current_time() < cached + 3 * POLL:
        await trio.sleep(POLL)
        assert {("prod", "app"): 60.0, ("prod", "moving"): 60.0} == lag(prod.board)
    # What is not listed is looked for until it is listed again, or its coordinator knows it no more.
    assert prod.admin.names().count("groups") >= 4
    prod.cluster.delete_group("moving")
    await trio.sleep(POLL)
    assert {("prod", "app"): 60.0} == lag(prod.board)


async def test_a_group_that_may_not_be_seen_any_more_is_not_looked_for(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected(performance=Performance())
    for group in ("app", "denied"):
        prod.cluster.commit(group, {ORDERS: 40})
    await nursery.start(prod.board.run)
    await nursery.start(prod.collector.run)
    await trio.sleep(1)
    prod.cluster.troubles.unlisted = {"denied"}
    prod.cluster.troubles.groups["denied"] = Fault("GROUP_AUTHORIZATION_FAILED", "not allowed")
    await trio.sleep(Performance().consumer_groups_cache_ttl + POLL)
    prod.admin.asked.clear()
    await trio.sleep(POLL)
    assert {"app"} == prod.admin.subjects("commits")


async def test_at_the_default_timeouts_a_broker_that_hangs_costs_no_series(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.create_topic("hung")
    prod.cluster.commit("app", {ORDERS: 40})
    await nursery.start(prod.board.run)
    await nursery.start(prod.collector.run)
    await trio.sleep(1)
    # It leads a partition, coordinates a group, and is the one that is asked for the topics. The connections
    # to it end after a while: then others are asked, and each broker answers the listing for itself.
    troubles, timeouts = prod.cluster.troubles, Performance()
    call = timeouts.kafka_timeout
    troubles.slow = {
        "topics": call,
        "groups": call,
        "earliest": call,
        "commits": timeouts.offset_fetch_timeout,
    }
    troubles.unavailable = {"topics": TIMED_OUT, "groups": TIMED_OUT}
    troubles.partitions[TopicPartition("hung", 0)] = TIMED_OUT
    while trio.current_time() < 3 * THRESHOLD:
        await trio.sleep(1)
        assert {("prod", "app"): 60.0} == lag(prod.board)
        if trio.current_time() > POLL + call:
            troubles.unavailable.clear()
            troubles.listing = [TIMED_OUT]


async def test_groups_that_are_neither_listed_nor_answered_for_go_at_the_threshold(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    for group in ("app", "lost"):
        prod.cluster.commit(group, {ORDERS: 40})
    await nursery.start(prod.board.run)
    await nursery.start(prod.collector.run)
    await trio.sleep(1)
    prod.cluster.troubles.listing = [TIMED_OUT]
    prod.cluster.troubles.unlisted = {"lost"}
    prod.cluster.troubles.groups["lost"] = TIMED_OUT
    await trio.sleep_until(THRESHOLD - 1)
    assert {("prod", "app"): 60.0, ("prod", "lost"): 60.0} == lag(prod.board)
    await trio.sleep_until(THRESHOLD + POLL + 1)
    assert {("prod", "app"): 60.0} == lag(prod.board)


async def test_where_groups_are_not_listed_at_all_the_known_ones_are_asked_for_until_the_threshold(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    prod = collected()
    prod.cluster.commit("app", {ORDERS: 40})
    await nursery.start(prod.board.run)
    await nursery.start(prod.collector.run)
    await trio.sleep(1)
    prod.cluster.troubles.unavailable["groups"] = TIMED_OUT
    prod.cluster.commit("app", {ORDERS: 70})
    await trio.sleep(POLL)
    # The cycle is good, and what it shows is new.
    assert {("prod", "app"): 30.0} == lag(prod.board)
    assert {"prod": 1.0} == by_cluster(prod.board, "klag_cluster_up")
    assert {("groups", "_TIMED_OUT"): 1.0} == exported(prod.board, "klag_errors_total", "stage", "code")
    await trio.sleep_until(THRESHOLD + POLL)
    assert {"prod": 0.0} == by_cluster(prod.board, "klag_cluster_up")
    await trio.sleep_until(2 * THRESHOLD + POLL)
    assert {} == lag(prod.board)
