"""What the reader makes of faults; what it asks and when is in the contract suite, on real clusters too."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio
from tests.fakes.cluster import TIMED_OUT, UNKNOWN_TOPIC, InMemoryCluster
from tests.fakes.watched import WatchedAdmin
from trio.testing import MockClock

from klag_trio.config import Cluster, Performance
from klag_trio.domain.offsets import (
    CleanupPolicy,
    ClusterSnapshot,
    ClusterUnavailable,
    Fault,
    GroupState,
    TopicPartition,
)
from klag_trio.services.cached import Cached
from klag_trio.services.faults import FaultLog
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.stopwatch import Stopwatch

KEEP = 90.0
NO_CACHES = Performance(metadata_cache_ttl=0, consumer_groups_cache_ttl=0)
ORDERS = TopicPartition("orders", 0)
PAYMENTS = TopicPartition("payments", 0)
DENIED = Fault("TOPIC_AUTHORIZATION_FAILED", "not allowed")


@attrs.frozen
class Asked:
    """A cluster with two topics and one group, and what is asked of it."""

    cluster: InMemoryCluster
    admin: WatchedAdmin
    faults: FaultLog
    reader: SnapshotReader

    async def snapshot(self) -> ClusterSnapshot:
        return await self.reader.snapshot(Stopwatch())


def asked(performance: Performance | None = None) -> Asked:
    cluster = InMemoryCluster()
    for topic in ("orders", "payments"):
        cluster.create_topic(topic)
        cluster.produce(topic, n=10)
    cluster.commit("app", {ORDERS: 4, PAYMENTS: 5})
    admin, faults = WatchedAdmin(cluster), FaultLog("prod")
    reader = SnapshotReader(
        admin,
        Cluster(name="prod", bootstrap_servers="unused:1"),
        performance or Performance(),
        faults,
        keep_seconds=KEEP,
        identify_topics=True,
        wall_clock=trio.current_time,
    )
    return Asked(cluster, admin, faults, reader)


# Watermarks


async def test_one_partition_that_fails_is_left_out(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.partitions[ORDERS] = TIMED_OUT
    found = await prod.snapshot()
    assert [ORDERS, PAYMENTS] == list(found.partitions)
    assert ({PAYMENTS: 0}, {PAYMENTS: 10}) == (found.earliest, found.latest)
    assert {("earliest", "_TIMED_OUT"): 1, ("latest", "_TIMED_OUT"): 1} == prod.faults.counts


async def test_where_no_partition_answers_there_is_no_cycle(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.partitions.update({ORDERS: DENIED, PAYMENTS: DENIED})
    with pytest.raises(ClusterUnavailable) as caught:
        await prod.snapshot()
    assert ("watermarks", DENIED) == (caught.value.stage, caught.value.fault)


async def test_a_topic_that_is_gone_does_not_pass_for_an_answer(autojump_clock: MockClock) -> None:
    prod = asked()
    await prod.snapshot()
    prod.cluster.delete_topic("orders")
    prod.cluster.troubles.partitions[PAYMENTS] = TIMED_OUT
    with pytest.raises(ClusterUnavailable):
        await prod.snapshot()


async def test_a_partition_without_a_leader_for_a_while_is_neither_gone_nor_answered(
    autojump_clock: MockClock,
) -> None:
    prod = asked()
    prod.cluster.troubles.partitions[ORDERS] = UNKNOWN_TOPIC
    found = await prod.snapshot()
    assert [ORDERS, PAYMENTS] == list(found.partitions)
    assert {PAYMENTS: 10} == found.latest


async def test_now_is_taken_between_the_committed_and_the_latest_offsets(autojump_clock: MockClock) -> None:
    prod = asked()
    for method, seconds in (("commits", 3), ("latest", 5)):
        prod.admin.before[method] = partial(autojump_clock.jump, seconds)
    found = await prod.snapshot()
    assert (3, 8) == (found.now, trio.current_time())


async def test_a_leader_that_was_silent_is_not_waited_for_again(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.partitions[ORDERS] = TIMED_OUT
    await prod.snapshot()
    assert {PAYMENTS} == prod.admin.subjects("latest")


async def test_a_leader_that_answered_with_an_error_is_asked_again(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.partitions[ORDERS] = DENIED
    await prod.snapshot()
    assert {ORDERS, PAYMENTS} == prod.admin.subjects("latest")


# What is there


async def test_a_broker_that_hangs_costs_its_timeout_once(autojump_clock: MockClock) -> None:
    prod = asked(NO_CACHES)
    await prod.snapshot()
    began = trio.current_time()
    prod.cluster.troubles.slow = {"topics": 20, "groups": 30, "earliest": 25}
    await prod.snapshot()
    assert 30 == trio.current_time() - began


async def test_a_listing_of_topics_that_takes_long_is_for_the_next_cycle(autojump_clock: MockClock) -> None:
    prod = asked(NO_CACHES)
    await prod.snapshot()
    prod.cluster.create_topic("new")
    prod.cluster.troubles.slow = {"topics": 20}
    assert [ORDERS, PAYMENTS] == list((await prod.snapshot()).partitions)
    assert [TopicPartition("new", 0), ORDERS, PAYMENTS] == list((await prod.snapshot()).partitions)


async def test_where_topics_are_not_listed_the_known_ones_stay(autojump_clock: MockClock) -> None:
    prod = asked(NO_CACHES)
    await prod.snapshot()
    prod.cluster.troubles.unavailable["topics"] = TIMED_OUT
    prod.cluster.create_topic("new")
    for times in (1, 2):
        assert [ORDERS, PAYMENTS] == list((await prod.snapshot()).partitions)
        assert {("topics", "_TIMED_OUT"): times} == prod.faults.counts
    del prod.cluster.troubles.unavailable["topics"]
    assert [TopicPartition("new", 0), ORDERS, PAYMENTS] == list((await prod.snapshot()).partitions)


@pytest.mark.parametrize(("known", "fault"), [(False, TIMED_OUT), (True, DENIED)])
async def test_without_topics_there_is_no_cycle(autojump_clock: MockClock, known: bool, fault: Fault) -> None:
    prod = asked(NO_CACHES)
    if known:
        await prod.snapshot()
    prod.cluster.troubles.unavailable["topics"] = fault
    with pytest.raises(ClusterUnavailable) as caught:
        await prod.snapshot()
    assert ("topics", fault) == (caught.value.stage, caught.value.fault)


async def test_one_error_says_that_a_cluster_is_away(autojump_clock: MockClock) -> None:
    prod = asked(NO_CACHES)
    await prod.snapshot()
    for method in ("topics", "groups", "earliest", "topic_ids"):
        prod.cluster.troubles.unavailable[method] = TIMED_OUT
    with pytest.raises(ClusterUnavailable) as caught:
        await prod.snapshot()
    assert "topics" == caught.value.stage
    assert {} == prod.faults.counts


# Groups


@pytest.mark.parametrize("method", ["commits", "describe", "topic_ids"])
async def test_a_question_about_groups_that_nobody_answers_costs_only_its_answers(
    autojump_clock: MockClock, method: str
) -> None:
    prod = asked()
    prod.cluster.troubles.unavailable[method] = TIMED_OUT
    with prod.cluster.consuming("live", ["orders"]):
        found = await prod.snapshot()
    answered = {group.name: group.state for group in found.groups}
    states = {"app": GroupState.EMPTY, "live": GroupState.STABLE}
    assert (states, answered) == ((found.failed_groups, {}) if method == "commits" else (answered, states))
    assert {ORDERS: 10, PAYMENTS: 10} == found.latest


@pytest.mark.parametrize(("fault", "attempts"), [(TIMED_OUT, 3), (DENIED, 1)])
async def test_what_may_pass_is_asked_again_of_the_groups_that_failed(
    autojump_clock: MockClock, fault: Fault, attempts: int
) -> None:
    prod = asked(Performance(group_fetch_retries=2))
    prod.cluster.troubles.groups["live"] = fault
    with prod.cluster.consuming("live", ["orders"]), prod.cluster.consuming("fine", ["orders"]):
        await prod.snapshot()
    questions = [set(groups) for name, groups in prod.admin.asked if name == "commits"]
    first, *others = questions
    assert {"live", "fine"} <= first
    assert [{"live"}] * (attempts - 1) == others


async def test_members_are_asked_for_once_a_cycle_since_the_last_known_ones_serve(
    autojump_clock: MockClock,
) -> None:
    prod = asked(Performance(group_fetch_retries=2))
    prod.cluster.troubles.descriptions["live"] = TIMED_OUT
    with prod.cluster.consuming("live", ["orders"]):
        await prod.snapshot()
    assert 1 == prod.admin.names().count("describe")


async def test_a_cluster_that_does_not_answer_at_first_is_asked_again(autojump_clock: MockClock) -> None:
    prod = asked(Performance(group_fetch_retries=1))
    prod.cluster.troubles.unavailable["commits"] = TIMED_OUT

    def answer_the_second_time() -> None:
        if prod.admin.names().count("commits") == 2:
            prod.cluster.troubles.unavailable.clear()

    prod.admin.before["commits"] = answer_the_second_time
    (app,) = (await prod.snapshot()).groups
    assert {ORDERS: 4, PAYMENTS: 5} == app.commits
    assert {} == prod.faults.counts


async def test_a_commit_that_fails_alone_is_counted_with_its_partition(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.commits["app", ORDERS] = DENIED
    (app,) = (await prod.snapshot()).groups
    assert {ORDERS: DENIED, PAYMENTS: 5} == app.commits
    prod.faults.end_cycle()
    assert [("committed", "app orders/0", DENIED)] == prod.faults.lasting


async def test_a_group_that_failed_is_asked_last_the_next_time(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.commit("zebra", {ORDERS: 4})
    prod.cluster.troubles.groups["app"] = TIMED_OUT
    for _ in range(2):
        await prod.snapshot()
    assert [("app", "zebra"), ("zebra", "app")] == [
        groups for name, groups in prod.admin.asked if name == "commits"
    ]


async def test_members_are_remembered_while_a_group_cannot_be_described_for_a_while(
    autojump_clock: MockClock,
) -> None:
    prod = asked()
    with prod.cluster.consuming("live", ["orders"], client_id="the-client"):
        prod.cluster.commit("live", {ORDERS: 4})
        await prod.snapshot()
        prod.cluster.troubles.descriptions["live"] = TIMED_OUT
        await trio.sleep(KEEP - 1)
        assert {ORDERS: "the-client"} == await clients(prod)
        await trio.sleep(2)
        assert {} == await clients(prod)


async def clients(prod: Asked) -> dict[TopicPartition, str]:
    (live,) = (group for group in (await prod.snapshot()).groups if group.name == "live")
    return {tp: member.client_id for tp, member in live.owners.items()}


async def test_a_group_without_commits_is_looked_for_once_in_a_listing_of_its_own(
    autojump_clock: MockClock,
) -> None:
    prod = asked(Performance(consumer_groups_cache_ttl=60))
    prod.cluster.show_state("bare", GroupState.EMPTY)
    for _ in range(5):
        assert {"app", "bare"} == {group.name for group in (await prod.snapshot()).groups}
    # The second is to see whether it is there at all; after that it is known.
    assert 2 == prod.admin.names().count("groups")
    prod.cluster.delete_group("app")
    assert {"bare"} == {group.name for group in (await prod.snapshot()).groups}
    assert 3 == prod.admin.names().count("groups")
    prod.cluster.delete_group("bare")
    await trio.sleep(60)
    assert [] == list((await prod.snapshot()).groups)


async def test_a_group_whose_last_commit_went_may_be_gone_and_is_looked_for(
    autojump_clock: MockClock,
) -> None:
    prod = asked()
    await prod.snapshot()
    for topic in ("orders", "payments"):
        prod.cluster.expire_commit("app", topic, 0)
    (app,) = (await prod.snapshot()).groups
    assert {} == app.commits
    prod.cluster.commit("app", {ORDERS: 4})
    await prod.snapshot()
    assert 2 == prod.admin.names().count("groups")
    prod.cluster.delete_group("app")
    assert [] == list((await prod.snapshot()).groups)


# Topics


async def test_topic_ids_come_for_topics_with_commits_that_are_still_there(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.create_topic("nobody-reads-it")
    prod.cluster.delete_topic("payments")
    found = await prod.snapshot()
    assert {"orders"} == found.topic_ids.keys()
    assert {} == prod.faults.counts


async def test_a_policy_that_cannot_be_read_is_missing_and_asked_for_again(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.policies["orders"] = DENIED
    policies = await prod.reader.policies.of({"orders", "payments"})
    assert {"payments": CleanupPolicy.DELETE} == policies
    assert {("policies", "TOPIC_AUTHORIZATION_FAILED"): 1} == prod.faults.counts
    prod.cluster.troubles.policies.clear()
    # Once in a cycle is enough.
    assert {"payments"} == (await prod.reader.policies.of({"orders", "payments"})).keys()
    prod.reader.policies.begin_cycle()
    assert {"orders", "payments"} == (await prod.reader.policies.of({"orders", "payments"})).keys()
    assert [("orders", "payments"), ("orders",)] == [
        topics for name, topics in prod.admin.asked if name == "cleanup_policies"
    ]


async def test_policies_that_nobody_tells_are_missing(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.unavailable["cleanup_policies"] = TIMED_OUT
    assert {} == await prod.reader.policies.of({"orders"})
    assert {("policies", "_TIMED_OUT"): 1} == prod.faults.counts


async def test_a_policy_that_can_no_longer_be_read_is_what_it_was(autojump_clock: MockClock) -> None:
    prod = asked(Performance(compacted_topics_cache_ttl=0))
    assert {"orders": CleanupPolicy.DELETE} == await prod.reader.policies.of({"orders"})
    prod.cluster.troubles.policies["orders"] = DENIED
    for _ in range(2):
        prod.reader.policies.begin_cycle()
        assert {"orders": CleanupPolicy.DELETE} == await prod.reader.policies.of({"orders"})
    assert {("policies", "TOPIC_AUTHORIZATION_FAILED"): 2} == prod.faults.counts


async def test_policies_are_waited_for_no_longer_than_they_may_take(autojump_clock: MockClock) -> None:
    prod = asked()
    prod.cluster.troubles.hanging.add("cleanup_policies")
    began = trio.current_time()
    assert {} == await prod.reader.policies.of({"orders"}, within=3)
    assert {} == await prod.reader.policies.of({"orders"})
    assert began + 3 == trio.current_time()
    assert {("policies", "_TIMED_OUT"): 1} == prod.faults.counts


async def test_a_denied_policy_lasts_until_it_is_told_however_rarely_it_is_wanted(
    autojump_clock: MockClock,
) -> None:
    prod = asked()
    prod.cluster.troubles.policies["orders"] = DENIED
    wanted: list[set[str]] = [{"orders"}, set(), {"orders"}, set()]
    for topics in wanted:
        prod.reader.policies.begin_cycle()
        await prod.reader.policies.of(topics)
        prod.faults.end_cycle()
        assert [("policies", "orders", DENIED)] == prod.faults.lasting
    prod.cluster.troubles.policies.clear()
    prod.reader.policies.begin_cycle()
    await prod.reader.policies.of({"orders"})
    prod.faults.end_cycle()
    assert [] == prod.faults.lasting


# The cache


async def test_a_value_is_trusted_for_its_time(autojump_clock: MockClock) -> None:
    cached: Cached[str] = Cached(10)
    assert cached.get() is None
    assert "value" == cached.put("value") == cached.get()
    await trio.sleep(9)
    assert "value" == cached.get()
    await trio.sleep(1)
    assert cached.get() is None


async def test_a_time_of_0_trusts_nothing(autojump_clock: MockClock) -> None:
    cached: Cached[str] = Cached(0)
    cached.put("value")
    assert cached.get() is None


async def test_a_dropped_value_is_trusted_no_longer(autojump_clock: MockClock) -> None:
    cached: Cached[str] = Cached(10)
    cached.put("value")
    cached.drop()
    assert cached.get() is None


async def test_a_group_without_commits_in_a_fresh_listing_is_not_looked_for(
    autojump_clock: MockClock,
) -> None:
    prod = asked(NO_CACHES)
    prod.cluster.show_state("bare", GroupState.EMPTY)
    await prod.snapshot()
    assert 1 == prod.admin.names().count("groups")
