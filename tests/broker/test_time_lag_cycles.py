"""Time lag and its flags over whole cycles of a real broker: what is known, what is read, what is not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.broker.cycles import TTL, cycles_of
from tests.broker.reading import PAST_MS
from tests.broker.waiting import unique, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.broker.cycles import Cycles
    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka

GROUPS = 40


@pytest.fixture
def name() -> str:
    """The prefix of a test's topics and groups; both bear it as their name where one is enough."""
    return unique("cycles")


@pytest.fixture
async def cycles(kafka: Kafka, name: str) -> AsyncIterator[Cycles]:
    async with cycles_of(kafka.bootstrap_servers, name) as cycles:
        yield cycles


def age(cycles: Cycles, timestamp_ms: int) -> float:
    """The age of a record at the instant that the last cycle speaks of."""
    return cycles.last.now - timestamp_ms / 1000


async def test_time_lag_is_the_exact_age_of_the_first_record_not_consumed(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name, 3)
    for partition in range(3):
        driver.produce(topic, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.commit(name, {(topic, 0): 0, (topic, 1): 7, (topic, 2): 10})
    rows = await cycles.run()
    assert age(cycles, PAST_MS) == rows[name, topic, 0].time_lag
    assert age(cycles, PAST_MS + 7) == rows[name, topic, 1].time_lag
    assert 0 == rows[name, topic, 2].time_lag
    assert {} == cycles.errors()


async def test_an_idle_lagging_group_is_read_once_for_all_cycles(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name, 2)
    for partition in range(2):
        driver.produce(topic, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.commit(name, {(topic, 0): 4, (topic, 1): 5})
    await cycles.run()
    read = cycles.reads.records
    assert read > 0
    for _ in range(3):
        cycles.wait(2 * TTL)
        rows = await cycles.run()
    assert read == cycles.reads.records
    assert age(cycles, PAST_MS + 4) == rows[name, topic, 0].time_lag

    driver.commit(name, {(topic, 0): 6})
    rows = await cycles.run()
    assert read < cycles.reads.records
    assert age(cycles, PAST_MS + 6) == rows[name, topic, 0].time_lag
    assert age(cycles, PAST_MS + 5) == rows[name, topic, 1].time_lag


async def test_many_groups_on_one_partition_share_its_reads(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 100, timestamp_ms=lambda i: PAST_MS + i)
    for group in range(GROUPS):
        driver.commit(f"{name}-{group}", {(topic, 0): group % 4})
    rows = await cycles.run()
    assert {f"{name}-{g}": age(cycles, PAST_MS + g % 4) for g in range(GROUPS)} == {
        group: row.time_lag for (group, _, _), row in rows.items()
    }
    assert cycles.reads.records < GROUPS


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
async def test_a_partition_that_ends_in_a_marker_lags_0_seconds_without_a_flag(
    driver: KafkaDriver, cycles: Cycles, name: str, commit: bool
) -> None:
    topic = driver.create_topic(name)
    driver.produce_transaction(topic, 0, 1, commit=commit, timestamp_ms=[PAST_MS])
    wait_until(lambda: driver.watermarks(topic) == (0, 2), "the marker is there")
    driver.commit(name, {(topic, 0): 1})
    row = (await cycles.run())[name, topic, 0]
    assert (1, 0.0) == (row.lag, row.time_lag)
    assert not row.compaction_detected
    assert not row.data_loss_detected
    read = cycles.reads.records
    for _ in range(2):
        cycles.wait(2 * TTL)
        await cycles.run()
    assert read == cycles.reads.records

    driver.produce(topic, 0, 1, timestamp_ms=[PAST_MS + 5])
    row = (await cycles.run())[name, topic, 0]
    assert (2, age(cycles, PAST_MS + 5)) == (row.lag, row.time_lag)
    # The gap is the marker's, not compaction's.
    assert not row.compaction_detected


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
async def test_where_the_next_record_was_compacted_away_the_flag_says_so(
    driver: KafkaDriver, cycles: Cycles, name: str, policy: str
) -> None:
    topic = driver.create_topic(name, config={"cleanup.policy": policy})
    driver.commit(name, {(topic, 0): 0})
    left = driver.compact(topic)
    offset, stamp = left[0]
    assert offset > 0
    row = (await cycles.run())[name, topic, 0]
    assert row.compaction_detected
    assert not row.data_loss_detected
    assert age(cycles, stamp) == row.time_lag
    assert 1 == cycles.last.compacted_partitions
    driver.commit(name, {(topic, 0): offset})
    row = (await cycles.run())[name, topic, 0]
    assert not row.compaction_detected
    assert age(cycles, stamp) == row.time_lag

    read = cycles.reads.records
    await cycles.run()
    assert read == cycles.reads.records
    cycles.wait(TTL + 1)
    await cycles.run()
    assert read < cycles.reads.records


async def test_records_deleted_before_the_group_came_to_them_are_counted_and_flagged(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.commit(name, {(topic, 0): 2})
    assert not (await cycles.run())[name, topic, 0].data_loss_detected
    driver.delete_records(topic, 0, 6)
    row = (await cycles.run())[name, topic, 0]
    assert row.data_loss_detected
    assert not row.compaction_detected
    assert (4, -4) == (row.messages_lost, row.retention_margin)
    assert age(cycles, PAST_MS + 6) == row.time_lag
    assert 1 == cycles.last.data_loss_partitions


async def test_a_topic_that_is_only_compacted_loses_nothing(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    # Kafka deletes records on request only while the policy has delete.
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.delete_records(topic, 0, 6)
    driver.configure_topic(topic, {"cleanup.policy": "compact"})
    driver.commit(name, {(topic, 0): 2})
    row = (await cycles.run())[name, topic, 0]
    assert not row.data_loss_detected
    assert not row.compaction_detected
    assert 0 == row.messages_lost
    assert age(cycles, PAST_MS + 6) == row.time_lag


async def test_where_records_are_gone_nothing_is_read_if_so_configured(
    kafka: Kafka, driver: KafkaDriver, name: str
) -> None:
    topic = driver.create_topic(name, 2)
    for partition in range(2):
        driver.produce(topic, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.delete_records(topic, 0, 6)
    driver.commit(name, {(topic, 0): 2, (topic, 1): 9})
    async with cycles_of(kafka.bootstrap_servers, name, skip_data_loss=True) as cycles:
        rows = await cycles.run()
        assert age(cycles, PAST_MS + 9) == rows[name, topic, 1].time_lag
        assert 1 == cycles.reads.records
    row = rows[name, topic, 0]
    assert row.time_lag is None
    assert row.data_loss_detected
    assert (8, 4) == (row.lag, row.messages_lost)


async def test_retention_that_goes_on_meanwhile_costs_no_answer(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.commit(name, {(topic, 0): 2})
    row = (await cycles.run(lambda: driver.delete_records(topic, 0, 6)))[name, topic, 0]
    assert (8, age(cycles, PAST_MS + 6)) == (row.lag, row.time_lag)
    assert {} == cycles.errors()


async def test_a_producer_whose_clock_is_ahead_gives_0_and_never_a_negative_age(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 1, timestamp_ms=[int((time.time() + 3600) * 1000)])
    driver.commit(name, {(topic, 0): 0})
    row = (await cycles.run())[name, topic, 0]
    assert (1, 0.0) == (row.lag, row.time_lag)


async def test_a_record_without_a_timestamp_leaves_the_age_unknown(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 1, timestamp_ms=[-1])
    driver.commit(name, {(topic, 0): 0})
    row = (await cycles.run())[name, topic, 0]
    assert (1, None) == (row.lag, row.time_lag)
    assert {} == cycles.errors()
    assert 0 == cycles.reads.unread_partitions


async def test_a_topic_made_anew_under_its_name_is_read_anew(
    driver: KafkaDriver, cycles: Cycles, name: str
) -> None:
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.commit(name, {(topic, 0): 4})
    row = (await cycles.run())[name, topic, 0]
    assert age(cycles, PAST_MS + 4) == row.time_lag
    driver.delete_topic(topic)
    driver.create_topic(name)
    driver.produce(topic, 0, 10, timestamp_ms=lambda i: PAST_MS + 5000 + i)
    driver.commit(name, {(topic, 0): 4})
    row = (await cycles.run())[name, topic, 0]
    assert age(cycles, PAST_MS + 5004) == row.time_lag


async def test_a_topic_deleted_while_it_is_read_costs_the_others_nothing(
    kafka: Kafka, driver: KafkaDriver, name: str
) -> None:
    doomed, other = driver.create_topic(f"{name}-doomed"), driver.create_topic(f"{name}-other")
    for topic in (doomed, other):
        driver.produce(topic, 0, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.commit(name, {(doomed, 0): 3, (other, 0): 4})
    async with cycles_of(kafka.bootstrap_servers, name) as cycles:
        rows = await cycles.run(lambda: driver.delete_topic(doomed))
        assert (7, None) == (rows[name, doomed, 0].lag, rows[name, doomed, 0].time_lag)
        assert age(cycles, PAST_MS + 4) == rows[name, other, 0].time_lag
        assert 1 == cycles.errors().total()
        assert 1 == cycles.reads.unread_partitions

        rows = await cycles.run()
        assert {(name, other, 0)} == rows.keys()
        assert 0 == cycles.reads.unread_partitions
