"""The driver that the other tests stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique

if TYPE_CHECKING:
    from tests.conftest import Kafka


def test_what_is_produced_is_read_back(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("plain"), partitions=2)
    written = driver.produce(topic, 1, 3, timestamp_ms=[1_000, 2_000, 3_000])
    assert [(0, 1_000), (1, 2_000), (2, 3_000)] == written
    assert written == driver.read(topic, 1)
    assert (0, 3) == driver.watermarks(topic, 1)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_member_is_assigned_and_may_commit(driver: KafkaDriver, protocol: str) -> None:
    topic = driver.create_topic(unique("joined"), partitions=2)
    with driver.consuming(unique("group"), [topic], protocol=protocol) as member:  # type: ignore[arg-type]
        assert {(topic, 0), (topic, 1)} == member.assignment
        assert member.member_id
        member.commit({(topic, 0): 0})


def test_records_are_deleted_topics_grow_and_go(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("changing"))
    driver.produce(topic, 0, 5)
    driver.delete_records(topic, 0, 3)
    assert (3, 5) == driver.watermarks(topic)
    driver.create_partitions(topic, 2)
    assert (0, 0) == driver.watermarks(topic, 1)
    group = unique("group")
    driver.commit(group, {(topic, 0): 4})
    driver.delete_group(group)
    driver.delete_topic(topic)


def test_a_transaction_leaves_a_marker_at_the_end(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("transactional"))
    assert [0, 1] == [offset for offset, _ in driver.produce_transaction(topic, n=2)]
    assert [3] == [offset for offset, _ in driver.produce_transaction(topic, n=1, commit=False)]
    assert [5] == [offset for offset, _ in driver.produce_transaction(topic, n=1, commit="open")]
    assert [0, 1, 3, 5] == [offset for offset, _ in driver.read(topic)]
    assert (0, 6) == driver.watermarks(topic)


def test_the_cleaner_removes_records_of_a_compacted_topic(driver: KafkaDriver) -> None:
    topic = driver.create_topic(unique("compacted"), config={"cleanup.policy": "compact"})
    left = driver.compact(topic, keys=3, rounds=4)
    assert left[0][0] > 0
    assert left == driver.read(topic)


@pytest.mark.other_version
def test_the_oldest_supported_kafka_starts(oldest_kafka: Kafka) -> None:
    with KafkaDriver(oldest_kafka.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("old"), config={"cleanup.policy": "compact"})
        assert driver.compact(topic)[0][0] > 0
