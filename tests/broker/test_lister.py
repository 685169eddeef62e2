"""What the older call lists where the newer one ends the process that makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique

from klag_trio.domain.offsets import Fault, GroupState, GroupType, ListedGroup
from klag_trio.kafka import worker_process
from klag_trio.kafka.client import Client
from klag_trio.kafka.lister import GroupLister
from klag_trio.kafka.worker_process import WorkerDied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Kafka

CRASH = Fault("crash", "the process that reads ended with SIGSEGV")


@pytest.fixture
async def client(kafka: Kafka) -> AsyncIterator[Client]:
    made = await Client.open("listing", {"bootstrap.servers": kafka.bootstrap_servers}, threads=4, timeout=30)
    yield made
    assert await made.aclose()


async def test_where_listing_ends_the_worker_the_older_call_lists_for_a_while(
    kafka: Kafka, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    async def die(*_: object, within: float) -> None:
        # Once of what it may have been asked before, then of this.
        asked.append(len(asked) % 2 == 1)
        raise WorkerDied(CRASH, fresh=asked[-1])

    topic, empty, classic, newer = (unique(name) for name in ("topic", "empty", "classic", "newer"))
    listing = GroupLister(client)
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        driver.create_topic(topic)
        driver.commit(empty, {(topic, 0): 0})
        with (
            driver.consuming(classic, [topic]),
            driver.consuming(newer, [topic], protocol="consumer"),
        ):
            usual = await listing.groups()
            with monkeypatch.context() as patch:
                patch.setattr(client.worker, "ask", die)
                first = await listing.groups()
                second = await listing.groups()
    ours = (empty, classic, newer)
    assert [GroupType.CLASSIC, GroupType.CLASSIC, GroupType.CONSUMER] == [usual.groups[g].type for g in ours]
    assert ([CRASH], []) == (list(first.faults), list(second.faults))
    assert [False, True] == asked
    for older in (first, second):
        assert [
            ListedGroup(GroupState.EMPTY),
            ListedGroup(GroupState.STABLE),
            ListedGroup(GroupState.UNKNOWN),
        ] == [older.groups[group] for group in ours]


async def test_where_no_worker_can_be_started_the_older_call_lists(
    kafka: Kafka, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_COMMAND", ("/no/such/python",))
    topic, group = unique("topic"), unique("group")
    listing = GroupLister(client)
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        driver.create_topic(topic)
        driver.commit(group, {(topic, 0): 0})
        for _ in range(2):
            found = await listing.groups()
            assert ListedGroup(GroupState.EMPTY) == found.groups[group]
            assert ["_CRIT_SYS_RESOURCE"] == [fault.code for fault in found.faults]
