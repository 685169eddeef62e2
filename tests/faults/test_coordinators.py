"""A coordinator that hangs and comes back, again and again: librdkafka must neither crash nor wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import trio
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import SECONDS, unique
from tests.faults.brokers import frozen
from tests.faults.proxy import Proxies

from klag_trio.config import Cluster, Performance
from klag_trio.domain.offsets import Fault
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client
from klag_trio.services.faults import FaultLog
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.stopwatch import Stopwatch
from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.estate import Estate

# What a busy machine may take between the moment something is due and the moment a test sees it.
SLACK = 2.0


@pytest.fixture(scope="module")
def between() -> Iterator[Proxies]:
    with Proxies(1) as proxies:
        yield proxies


@pytest.fixture(scope="module")
def fragile(between: Proxies) -> Iterator[KafkaCluster]:
    """A cluster that is reached directly, or through what is between."""
    advertised = {"BETWEEN": [f"127.0.0.1:{port}" for port in between.ports]}
    with KafkaCluster(listeners={"BETWEEN": "PLAINTEXT"}, advertised=advertised) as cluster:
        between.targets = cluster.ports("BETWEEN")
        yield cluster


async def test_a_coordinator_that_hangs_costs_its_timeout_and_answers_again(fragile: KafkaCluster) -> None:
    group, timeout = unique("group"), 0.3
    with KafkaDriver(fragile.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("topic"))
        driver.commit(group, {(topic, 0): 0})
    client = await Client.open(
        "hanging", {"bootstrap.servers": fragile.bootstrap_servers}, threads=8, timeout=30
    )
    admin = KafkaAdmin(client, max_concurrent_groups=2, offset_fetch_timeout=timeout)
    others = [unique("other") for _ in range(99)]
    await admin.topics()
    for _ in range(5):
        with trio.fail_after(SLACK + 30):
            while isinstance((await admin.commits([group]))[group], Fault):
                pass
        with frozen(fragile.nodes):
            started = trio.current_time()
            answers = await admin.commits([group, *others])
            took = trio.current_time() - started
        codes = {answer.code if isinstance(answer, Fault) else None for answer in answers.values()}
        assert {"_TIMED_OUT"} == codes
        # Two at a time; the others are given up with them.
        assert timeout <= took < timeout + SLACK
    assert await client.aclose()


async def test_groups_of_other_coordinators_do_not_wait_for_one_that_hangs(clusters: Estate) -> None:
    groups = [unique("group") for _ in range(100)]
    hanging = clusters.target.nodes[-1:]
    client = await Client.open(
        "hanging", {"bootstrap.servers": clusters.target.bootstrap_servers}, threads=8, timeout=4
    )
    admin = KafkaAdmin(client, max_concurrent_groups=2, offset_fetch_timeout=1)
    described = clusters.admin.describe_consumer_groups(groups)
    coordinators = {group: future.result(SECONDS).coordinator for group, future in described.items()}
    theirs = {group for group, node in coordinators.items() if node.port == hanging[0].port}
    assert 2 < len(theirs) < len(groups)
    await admin.topics()
    known = admin._coordination
    assert known.is_known
    assert {group: node.id for group, node in coordinators.items()} == {
        group: known.coordinator(group) for group in groups
    }
    with trio.fail_after(SECONDS):
        while any(isinstance(answer, Fault) for answer in (await admin.commits(groups)).values()):
            pass
    with frozen(hanging):
        answers = await admin.commits(groups)
    assert theirs == {group for group, answer in answers.items() if isinstance(answer, Fault)}
    assert await client.aclose()


async def test_answers_that_take_more_than_half_of_their_time_count(
    fragile: KafkaCluster, between: Proxies
) -> None:
    # By turns, since librdkafka remembers ten groups' coordinators and asks for all others first.
    by_turns = [[unique("group") for _ in range(20)] for _ in range(2)]
    bootstrap = f"127.0.0.1:{between.ports[0]}"
    client = await Client.open("slow", {"bootstrap.servers": bootstrap}, threads=8, timeout=30)
    admin = KafkaAdmin(client, max_concurrent_groups=50, offset_fetch_timeout=1)
    await admin.topics()
    with trio.fail_after(SECONDS):
        while any(isinstance(answer, Fault) for answer in (await admin.commits(by_turns[0])).values()):
            pass
    # A question and its answer take 0.3 s, and what is asked over a new connection has four before it.
    between.network.delay = 0.15
    for groups in (*reversed(by_turns), *reversed(by_turns)):
        started = trio.current_time()
        answers = await admin.commits(groups)
        assert trio.current_time() - started > 1 / 2
        assert not [answer for answer in answers.values() if isinstance(answer, Fault)]
    between.network.delay = 0.0
    assert await client.aclose()


async def test_a_leader_that_hangs_costs_a_cycle_half_of_its_time_at_most(clusters: Estate) -> None:
    bootstrap = clusters.target.bootstrap_servers
    topic, group = clusters.driver.create_topic(unique("topic"), partitions=3), unique("group")
    clusters.driver.commit(group, {(topic, partition): 0 for partition in range(3)})
    # As with a poll interval of 4 s and the default kafka_timeout.
    threshold, performance = 12, Performance()
    client = await Client.open(
        "hanging", {"bootstrap.servers": bootstrap}, threads=8, timeout=performance.kafka_timeout
    )
    admin = KafkaAdmin(
        client,
        max_concurrent_groups=performance.max_concurrent_groups,
        offset_fetch_timeout=performance.offset_fetch_timeout,
    )
    reader = SnapshotReader(
        admin,
        Cluster(name="hanging", bootstrap_servers=bootstrap),
        performance,
        FaultLog("hanging"),
        keep_seconds=threshold,
        identify_topics=True,
        wall_clock=time.time,
    )

    async def read() -> set[int]:
        with trio.fail_after(threshold):
            snapshot = await reader.snapshot(Stopwatch())
        return {tp.partition for tp in snapshot.latest if tp.topic == topic}

    while await read() != {0, 1, 2}:
        pass
    with frozen(clusters.target.nodes[-1:]):
        assert 2 == len(await read())
    assert await client.aclose()
