"""What the rest relies on, held against the in-memory cluster and against real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import trio
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique
from tests.broker.worlds import NO_CACHES, World
from tests.fakes.cluster import InMemoryCluster
from tests.fakes.watched import WatchedAdmin

from klag_trio.config import Performance
from klag_trio.domain.offsets import (
    GROUP_GONE,
    CleanupPolicy,
    Fault,
    GroupState,
    GroupType,
    Member,
    TopicPartition,
)
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client
from klag_trio.services.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from klag_trio.domain.offsets import ClusterSnapshot, Commits
    from klag_trio.services.snapshot import SnapshotReader

pytestmark = pytest.mark.usefixtures("slow_close")

OTHER_VERSION = pytest.param("oldest_kafka", marks=pytest.mark.other_version)
GONE = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"}
MAX_CONCURRENT_GROUPS = 3


Protocol = Literal["classic", "consumer"]
PROTOCOLS: tuple[Protocol, ...] = ("classic", "consumer")


@pytest.fixture(params=["memory", "kafka", OTHER_VERSION])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        cluster = InMemoryCluster()
        yield World(WatchedAdmin(cluster), cluster, has_both_protocols=True)
        return
    bootstrap = request.getfixturevalue(request.param).bootstrap_servers
    client = await Client.open("contract", {"bootstrap.servers": bootstrap}, threads=8, timeout=30)
    admin = KafkaAdmin(client, max_concurrent_groups=MAX_CONCURRENT_GROUPS, offset_fetch_timeout=10)
    with KafkaDriver(bootstrap) as driver:
        yield World(WatchedAdmin(admin), driver, has_both_protocols=request.param == "kafka")
    assert await client.aclose()


TYPES = {"classic": GroupType.CLASSIC, "consumer": GroupType.CONSUMER}


def protocols(world: World) -> tuple[Protocol, ...]:
    return PROTOCOLS if world.has_both_protocols else ("classic",)


async def commits_of(world: World, group: str) -> Commits | Fault:
    return (await world.admin.commits([group]))[group]


# ClusterAdmin: each question and its answer


async def test_topics_come_with_their_partitions(world: World) -> None:
    one = world.driver.create_topic(unique("one"))
    three = world.driver.create_topic(unique("three"), partitions=3)
    topics = await world.admin.topics()
    assert [0] == list(topics[one])
    assert [0, 1, 2] == list(topics[three])


async def test_a_topic_that_grew_has_its_new_partitions(world: World) -> None:
    topic = world.driver.create_topic(unique("growing"))
    world.driver.create_partitions(topic, 3)
    assert [0, 1, 2] == list((await world.admin.topics())[topic])


async def test_a_deleted_topic_is_not_among_the_topics(world: World) -> None:
    topic = world.driver.create_topic(unique("deleted"))
    assert topic in await world.admin.topics()
    world.driver.delete_topic(topic)
    assert topic not in await world.admin.topics()


async def test_a_group_that_only_committed_is_listed_as_empty(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"))
    group = unique("empty")
    world.driver.commit(group, {(topic, 0): 0})
    listing = await world.admin.groups()
    assert GroupState.EMPTY == listing.groups[group].state
    assert [] == list(listing.faults)


async def test_a_group_with_a_member_is_listed_as_stable(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"))
    for protocol in protocols(world):
        group = unique(protocol)
        with world.driver.consuming(group, [topic], protocol=protocol):
            listed = (await world.admin.groups()).groups[group]
            assert GroupState.STABLE == listed.state
            assert (protocol == "consumer") == (listed.type is GroupType.CONSUMER)


async def test_a_deleted_group_is_not_listed(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"))
    group = unique("deleted")
    world.driver.commit(group, {(topic, 0): 0})
    assert group in (await world.admin.groups()).groups
    world.driver.delete_group(group)
    assert group not in (await world.admin.groups()).groups


async def test_a_described_group_tells_which_member_owns_which_partition(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"), partitions=2)
    for protocol in protocols(world):
        group = unique(protocol)
        with world.driver.consuming(group, [topic], protocol=protocol, client_id="the-client") as member:
            types = {group: TYPES[protocol]}
            described = (await world.admin.describe(types, {topic: 2}))[group]
            assert not isinstance(described, Fault)
            host = described.owners[TopicPartition(topic, 0)].host
            assert "127.0.0.1" == host.lstrip("/")
            owner = Member(consumer_id=member.member_id, client_id="the-client", host=host)
            assert GroupState.STABLE == described.state
            assert {(topic, 0): owner, (topic, 1): owner} == described.owners
            assert 1 == described.members
            # What was not asked for, although members own it.
            part = (await world.admin.describe(types, {topic: 1}))[group]
            assert not isinstance(part, Fault)
            assert {(topic, 0): owner} == part.owners
            none = (await world.admin.describe(types, {}))[group]
            assert not isinstance(none, Fault)
            assert {} == none.owners
            assert {topic} == none.unknown_topics
            assert 1 == none.members


async def test_a_group_that_does_not_exist_is_not_described(world: World) -> None:
    for protocol in protocols(world):
        group = unique("never-was")
        described = (await world.admin.describe({group: TYPES[protocol]}, {}))[group]
        assert GROUP_GONE == described


async def test_committed_offsets_come_without_the_partitions_that_have_none(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"), partitions=3)
    world.driver.produce(topic, 2, 5)
    group = unique("group")
    world.driver.commit(group, {(topic, 0): 0, (topic, 2): 4})
    assert {(topic, 0): 0, (topic, 2): 4} == await commits_of(world, group)


async def test_committed_offsets_beyond_2_to_the_53_are_exact(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"))
    group = unique("far-out")
    offset = 2**53 + 1
    world.driver.commit(group, {(topic, 0): offset})
    assert {(topic, 0): offset} == await commits_of(world, group)


async def test_a_group_that_does_not_exist_has_no_committed_offsets(world: World) -> None:
    assert {} == await commits_of(world, unique("never-was"))


async def test_more_groups_than_are_fetched_at_once_all_answer(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"))
    offsets = {unique("many"): offset for offset in range(4 * MAX_CONCURRENT_GROUPS + 1)}
    for group, offset in offsets.items():
        world.driver.commit(group, {(topic, 0): offset})
    answers = await world.admin.commits(list(offsets))
    assert {group: {(topic, 0): offset} for group, offset in offsets.items()} == answers


async def test_watermarks_follow_what_is_written_and_deleted(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"), partitions=3)
    world.driver.produce(topic, 1, 7)
    world.driver.produce(topic, 2, 9)
    world.driver.delete_records(topic, 2, 4)
    partitions = [TopicPartition(topic, partition) for partition in range(3)]
    assert dict(zip(partitions, [0, 0, 4], strict=True)) == await world.admin.earliest(partitions)
    assert dict(zip(partitions, [0, 7, 9], strict=True)) == await world.admin.latest(partitions)


async def test_a_partition_that_does_not_exist_costs_only_itself(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"))
    world.driver.produce(topic, 0, 2)
    there = TopicPartition(topic, 0)
    for missing in (TopicPartition(topic, 1), TopicPartition(unique("never-was"), 0)):
        for ask, expected in ((world.admin.earliest, 0), (world.admin.latest, 2)):
            answers = await ask([there, missing])
            assert expected == answers[there]
            fault = answers[missing]
            assert isinstance(fault, Fault)
            assert fault.code in GONE


async def test_cleanup_policies_are_told_apart(world: World) -> None:
    topics = {
        world.driver.create_topic(unique("policy"), config={"cleanup.policy": written}): policy
        for written, policy in {
            "delete": CleanupPolicy.DELETE,
            "compact": CleanupPolicy.COMPACT,
            "compact,delete": CleanupPolicy.COMPACT | CleanupPolicy.DELETE,
        }.items()
    }
    assert topics == await world.admin.cleanup_policies(list(topics))


async def test_a_topic_that_does_not_exist_has_no_policy_and_no_id(world: World) -> None:
    there, missing = world.driver.create_topic(unique("topic")), unique("never-was")
    policies = await world.admin.cleanup_policies([there, missing])
    ids = await world.admin.topic_ids([there, missing])
    assert CleanupPolicy.DELETE == policies[there]
    assert isinstance(policies[missing], Fault)
    assert isinstance(ids[there], str)
    assert isinstance(ids[missing], Fault)


async def test_a_topic_keeps_its_id_until_it_is_made_again(world: World) -> None:
    topic = world.driver.create_topic(unique("topic"))
    first = await world.admin.topic_ids([topic])
    world.driver.produce(topic, 0, 1)
    assert first == await world.admin.topic_ids([topic])
    world.driver.delete_topic(topic)
    world.driver.create_topic(topic)
    assert first[topic] != (await world.admin.topic_ids([topic]))[topic]


async def test_nothing_asked_is_nothing_answered(world: World) -> None:
    admin = world.admin
    for ask in (admin.commits, admin.earliest, admin.latest):
        assert {} == await ask([])
    assert {} == await admin.describe({}, {})
    assert {} == await admin.cleanup_policies([])
    assert {} == await admin.topic_ids([])


# SnapshotReader: one cycle


async def snapshot(reader: SnapshotReader) -> ClusterSnapshot:
    return await reader.snapshot(Stopwatch())


async def eventually(
    reader: SnapshotReader, condition: Callable[[ClusterSnapshot], bool], seconds: float = 30
) -> None:
    """Take snapshots until the condition holds."""
    with trio.fail_after(seconds):
        # Kafka has no event for it.
        while not condition(await snapshot(reader)):  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_a_snapshot_holds_what_was_produced_and_committed(world: World) -> None:
    prefix = unique("whole")
    topic = world.driver.create_topic(f"{prefix}-topic", partitions=3)
    world.driver.produce(topic, 0, 5)
    world.driver.produce(topic, 1, 3)
    world.driver.delete_records(topic, 1, 2)
    group = f"{prefix}-group"
    world.driver.commit(group, {(topic, 0): 1, (topic, 1): 3})
    found = await snapshot(world.reader(prefix))
    assert [(topic, 0), (topic, 1), (topic, 2)] == list(found.partitions)
    assert {(topic, 0): 0, (topic, 1): 2, (topic, 2): 0} == found.earliest
    assert {(topic, 0): 5, (topic, 1): 3, (topic, 2): 0} == found.latest
    (seen,) = found.groups
    assert (group, GroupState.EMPTY) == (seen.name, seen.state)
    assert {(topic, 0): 1, (topic, 1): 3} == seen.commits
    assert {} == seen.owners
    assert {} == found.failed_groups


async def test_a_group_with_a_member_but_no_commit_is_in_the_snapshot(world: World) -> None:
    prefix = unique("fresh")
    topic = world.driver.create_topic(f"{prefix}-topic")
    for protocol in protocols(world):
        with world.driver.consuming(f"{prefix}-{protocol}", [topic], protocol=protocol) as member:
            (seen,) = [
                group
                for group in (await snapshot(world.reader(prefix))).groups
                if group.name == f"{prefix}-{protocol}"
            ]
            assert (GroupState.STABLE, {}) == (seen.state, seen.commits)
            assert member.member_id == seen.owners[TopicPartition(topic, 0)].consumer_id


async def test_the_order_is_earliest_committed_latest(world: World) -> None:
    prefix = unique("order")
    world.driver.commit(f"{prefix}-group", {(world.driver.create_topic(f"{prefix}-topic"), 0): 0})
    await snapshot(world.reader(prefix))
    order = [name for name in world.admin.names() if name in {"earliest", "commits", "latest"}]
    assert ["earliest", "commits", "latest"] == order


async def test_a_group_that_moves_during_the_cycle_shows_no_loss_and_no_negative_lag(world: World) -> None:
    prefix = unique("moving")
    topic = world.driver.create_topic(f"{prefix}-topic")
    group, tp = f"{prefix}-group", TopicPartition(topic, 0)
    world.driver.produce(topic, 0, 10)
    world.driver.commit(group, {tp: 5})

    def go_on() -> None:
        # After earliest was read: the group commits up to the end, and retention takes all but the last.
        world.driver.produce(topic, 0, 10)
        world.driver.commit(group, {tp: 20})
        world.driver.delete_records(topic, 0, 19)

    world.admin.before["commits"] = go_on
    found = await snapshot(world.reader(prefix))
    committed = found.groups[0].commits[tp]
    assert (0, 20, 20) == (found.earliest[tp], committed, found.latest[tp])


async def test_filters_act_before_any_request(world: World) -> None:
    prefix = unique("filter")
    wanted = world.driver.create_topic(f"{prefix}-topic")
    unwanted = world.driver.create_topic(f"{prefix}-topic-no")
    for group in (f"{prefix}-group", f"{prefix}-group-no"):
        world.driver.commit(group, {(wanted, 0): 0, (unwanted, 0): 0})
    with (
        world.driver.consuming(f"{prefix}-live", [wanted]),
        world.driver.consuming(f"{prefix}-live-no", [wanted]),
    ):
        reader = world.reader(prefix, group_blacklist=["-no$"], topic_blacklist=["-no$"])
        found = await snapshot(reader)
    assert {f"{prefix}-group", f"{prefix}-live"} == {group.name for group in found.groups}
    assert {f"{prefix}-group", f"{prefix}-live"} == world.admin.subjects("commits")
    assert {f"{prefix}-live"} == world.admin.subjects("describe")
    assert {(wanted, 0)} == world.admin.subjects("earliest")
    assert {(wanted, 0)} == world.admin.subjects("latest")


async def test_a_filter_that_leaves_nothing_asks_nothing_and_is_no_failure(world: World) -> None:
    prefix = unique("nothing")
    found = await snapshot(world.reader(prefix))
    assert ([], [], {}, {}) == (list(found.partitions), list(found.groups), found.earliest, found.latest)
    assert ["groups", "topics"] == sorted(world.admin.names())


async def test_an_empty_group_is_not_described(world: World) -> None:
    prefix = unique("undescribed")
    world.driver.commit(f"{prefix}-group", {(world.driver.create_topic(f"{prefix}-topic"), 0): 0})
    await snapshot(world.reader(prefix))
    assert "describe" not in world.admin.names()


async def test_topics_and_groups_are_asked_for_once_while_their_caches_hold(world: World) -> None:
    prefix = unique("cached")
    world.driver.commit(f"{prefix}-group", {(world.driver.create_topic(f"{prefix}-topic"), 0): 0})
    reader = world.reader(prefix, performance=Performance())
    for _ in range(3):
        await snapshot(reader)
    assert (1, 1) == (world.admin.names().count("topics"), world.admin.names().count("groups"))
    assert (3, 3) == (world.admin.names().count("commits"), world.admin.names().count("latest"))


async def test_a_cache_of_0_asks_each_time(world: World) -> None:
    prefix = unique("uncached")
    reader = world.reader(prefix, performance=NO_CACHES)
    for _ in range(3):
        await snapshot(reader)
    assert (3, 3) == (world.admin.names().count("topics"), world.admin.names().count("groups"))


async def test_a_new_topic_and_a_new_group_are_seen_when_their_caches_end(world: World) -> None:
    prefix = unique("new")
    world.driver.create_topic(f"{prefix}-old")
    ttl = 1.0
    reader = world.reader(
        prefix, performance=Performance(metadata_cache_ttl=ttl, consumer_groups_cache_ttl=ttl)
    )
    start = trio.current_time()
    await snapshot(reader)
    topic = world.driver.create_topic(f"{prefix}-topic")
    group = f"{prefix}-group"
    world.driver.commit(group, {(topic, 0): 0})
    await eventually(
        reader,
        lambda found: (
            TopicPartition(topic, 0) in found.latest and [group] == [seen.name for seen in found.groups]
        ),
    )
    # One request in each cache time, and not one more for every look in between.
    most = 2 + (trio.current_time() - start) // ttl
    for kind in ("topics", "groups"):
        assert 2 <= world.admin.names().count(kind) <= most


async def test_a_topic_deleted_within_the_cache_time_is_gone_at_once(world: World) -> None:
    prefix = unique("dropped")
    kept = world.driver.create_topic(f"{prefix}-kept")
    dropped = world.driver.create_topic(f"{prefix}-dropped", partitions=2)
    world.driver.commit(f"{prefix}-group", {(kept, 0): 0, (dropped, 0): 0})
    reader = world.reader(prefix, performance=Performance())
    await snapshot(reader)
    world.driver.delete_topic(dropped)
    found = await snapshot(reader)
    assert [(kept, 0)] == list(found.partitions)
    assert ({(kept, 0): 0}, {(kept, 0): 0}) == (found.earliest, found.latest)


async def test_the_only_topic_may_go(world: World) -> None:
    prefix = unique("only")
    topic = world.driver.create_topic(f"{prefix}-topic")
    reader = world.reader(prefix, performance=Performance())
    await snapshot(reader)
    world.driver.delete_topic(topic)
    assert [] == list((await snapshot(reader)).partitions)


async def test_a_group_deleted_within_the_cache_time_is_gone_at_once(world: World) -> None:
    prefix = unique("dropped")
    topic = world.driver.create_topic(f"{prefix}-topic")
    for group in ("kept", "dropped"):
        world.driver.commit(f"{prefix}-{group}", {(topic, 0): 0})
    reader = world.reader(prefix, performance=Performance())
    await snapshot(reader)
    world.driver.delete_group(f"{prefix}-dropped")
    assert [f"{prefix}-kept"] == [group.name for group in (await snapshot(reader)).groups]


async def test_policies_are_asked_for_once_while_their_cache_holds(world: World) -> None:
    prefix = unique("policies")
    topic = world.driver.create_topic(f"{prefix}-topic", config={"cleanup.policy": "compact"})
    reader = world.reader(prefix, performance=Performance())
    for _ in range(2):
        assert {topic: CleanupPolicy.COMPACT} == await reader.policies.of({topic})
    assert 1 == world.admin.names().count("cleanup_policies")
    world.driver.configure_topic(topic, {"cleanup.policy": "delete"})
    uncached = world.reader(prefix)
    assert {topic: CleanupPolicy.DELETE} == await uncached.policies.of({topic})
