"""A coordinator that hangs and comes back, again and again: librdkafka must neither crash nor wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import SECONDS, unique
from tests.faults.brokers import frozen

from klag_trio.domain.offsets import Fault
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client
from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.estate import Estate

# What a busy machine may take between the moment something is due and the moment a test sees it.
SLACK = 2.0


@pytest.fixture(scope="module")
def fragile() -> Iterator[KafkaCluster]:
    with KafkaCluster() as cluster:
        yield cluster


async def test_a_coordinator_that_hangs_costs_its_timeout_and_answers_again(fragile: KafkaCluster) -> None:
    group, timeout = unique("group"), 0.3
    with KafkaDriver(fragile.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("topic"))
        driver.commit(group, {(topic, 0): 0})
    client = Client("hanging", {"bootstrap.servers": fragile.bootstrap_servers}, threads=8, timeout=30)
    admin = KafkaAdmin(client, max_concurrent_groups=2, offset_fetch_timeout=timeout)
    others = [unique("other") for _ in range(99)]
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
        # Two at a time, and soon all: whoever hangs takes no other's turn.
        assert timeout <= took < timeout + SLACK
    assert await client.aclose()


async def test_groups_of_other_coordinators_do_not_wait_for_one_that_hangs(clusters: Estate) -> None:
    groups = [unique("group") for _ in range(100)]
    hanging = clusters.target.nodes[-1:]
    client = Client("hanging", {"bootstrap.servers": clusters.target.bootstrap_servers}, threads=8, timeout=4)
    admin = KafkaAdmin(client, max_concurrent_groups=2, offset_fetch_timeout=1)
    described = clusters.admin.describe_consumer_groups(groups)
    coordinators = {group: future.result(SECONDS).coordinator.port for group, future in described.items()}
    theirs = {group for group, port in coordinators.items() if port == hanging[0].port}
    assert 2 < len(theirs) < len(groups)
    with trio.fail_after(SECONDS):
        while any(isinstance(answer, Fault) for answer in (await admin.commits(groups)).values()):
            pass
    with frozen(hanging):
        # librdkafka asks any broker for a coordinator, at first the hanging one too.
        await admin.commits(groups)
        answers = await admin.commits(groups)
    assert theirs == {group for group, answer in answers.items() if isinstance(answer, Fault)}
    assert await client.aclose()
