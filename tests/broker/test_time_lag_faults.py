"""What goes wrong while records are read: it costs its own time lag, never another's and never an offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType  # type: ignore[attr-defined]
from tests.broker.acls import allow, login
from tests.broker.cycles import PENALTY, cycles_of
from tests.broker.driver import KafkaDriver
from tests.broker.reading import FETCHED, PAST_MS, WITHIN, at, received, record_reader
from tests.broker.segments import corrupt_batch
from tests.broker.shared import READERS
from tests.broker.waiting import unique, wait_until
from tests.program.program import config_text, running

from klag_trio.domain.lag import FirstRecord
from klag_trio.domain.offsets import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.broker.shared import SharedKafka

    from stack.kafka import KafkaCluster

FRAGILE = pytest.mark.xdist_group("fragile")
# No other test allows this one anything.
USER, PASSWORD = list(READERS.items())[-1]
LOGIN = login(USER, PASSWORD)
# What is there is read in much less, on a busy machine too; a broker may be frozen for longer.
FETCH_TIMEOUT = 3.0
# So many positions, too far apart to be read in one go, take one reader seconds.
FAR_APART = range(0, 60_000, 60)


@pytest.fixture
def fragile_driver(fragile_kafka: KafkaCluster) -> Iterator[KafkaDriver]:
    with KafkaDriver(fragile_kafka.bootstrap_servers) as driver:
        yield driver


@pytest.fixture
def name() -> str:
    return unique("faults")


def write(driver: KafkaDriver, topic: str, group: str, *, partitions: int = 1, committed: int = 3) -> str:
    driver.create_topic(topic, partitions)
    for partition in range(partitions):
        driver.produce(topic, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.commit(group, {(topic, partition): committed for partition in range(partitions)})
    return topic


# Denied


async def test_a_denied_topic_costs_only_its_own_time_lag(
    shared_kafka: SharedKafka, driver: KafkaDriver, name: str
) -> None:
    denied, allowed = write(driver, f"{name}-denied", name), write(driver, f"{name}-allowed", name)
    # Nothing is allowed on groups named klag-trio-: reading commits and joins nowhere.
    allow(shared_kafka, USER, ResourceType.GROUP, name, AclOperation.DESCRIBE)
    allow(shared_kafka, USER, ResourceType.TOPIC, name, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    allow(shared_kafka, USER, ResourceType.TOPIC, allowed, AclOperation.READ)
    # Whoever waits for an answer that was given already has none in time.
    never = 10 * WITHIN
    async with cycles_of(
        shared_kafka.bootstrap("LOGIN"), name, properties=LOGIN, fetch_timeout=never
    ) as cycles:
        rows = await cycles.run()
        assert (7, None) == (rows[name, denied, 0].lag, rows[name, denied, 0].time_lag)
        assert (7, cycles.last.now - (PAST_MS + 3) / 1000) == (
            rows[name, allowed, 0].lag,
            rows[name, allowed, 0].time_lag,
        )
        assert {"TOPIC_AUTHORIZATION_FAILED": 1} == cycles.errors()
        assert {("timestamps", denied)} == {(stage, subject) for stage, subject, _ in cycles.faults.lasting}

        # It is not tried again at once, and said to last.
        await cycles.run()
        assert {"TOPIC_AUTHORIZATION_FAILED": 1} == cycles.errors()
        assert {("timestamps", denied)} == {(stage, subject) for stage, subject, _ in cycles.faults.lasting}
        assert 1 == cycles.reads.unread_partitions

        allow(shared_kafka, USER, ResourceType.TOPIC, denied, AclOperation.READ)
        cycles.wait(PENALTY + 1)
        rows = await cycles.run()
        assert cycles.last.now - (PAST_MS + 3) / 1000 == rows[name, denied, 0].time_lag
        assert [] == cycles.faults.lasting
        assert 0 == cycles.reads.unread_partitions


def test_a_denied_topic_is_counted_and_its_hint_is_logged_once(
    shared_kafka: SharedKafka, driver: KafkaDriver, name: str, tmp_path: Path
) -> None:
    denied, allowed = write(driver, f"{name}-denied", name), write(driver, f"{name}-allowed", name)
    allow(shared_kafka, USER, ResourceType.GROUP, name, AclOperation.DESCRIBE)
    allow(shared_kafka, USER, ResourceType.TOPIC, name, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    allow(shared_kafka, USER, ResourceType.TOPIC, allowed, AclOperation.READ)
    mine = {"topic_whitelist": [f"^{name}"], "group_whitelist": [f"^{name}"], "consumer_properties": LOGIN}
    text = config_text([{"name": "main", "bootstrap_servers": shared_kafka.bootstrap("LOGIN"), **mine}])
    with running(tmp_path, text) as program:
        lag, seconds = "kafka_consumergroup_group_lag", "kafka_consumergroup_group_lag_seconds"
        both = {(denied, 0): 7.0, (allowed, 0): 7.0}
        program.shows(both, lambda page: page.by_partition(lag, group=name, cluster_name="main"))
        program.shows(1, lambda page: page.value("klag_time_lag_unread_partitions", cluster_name="main"))
        page = program.next_cycle("main")
        assert {(allowed, 0)} == page.by_partition(seconds, group=name, cluster_name="main").keys()
        assert 1 == page.value("klag_time_lag_unread_partitions", cluster_name="main")
        counted = page.value("klag_errors_total", stage="timestamps", code="TOPIC_AUTHORIZATION_FAILED")
        assert counted is not None
        assert 1 <= counted
        wait_until(lambda: program.log("cannot read timestamps"), "it is logged")
        program.next_cycle("main")
        (line,) = program.log("cannot read timestamps")
    assert denied == line["subject"]
    assert "READ" in line["mend"]
    assert PASSWORD not in program.output


# Corrupt


@FRAGILE
async def test_a_corrupt_batch_costs_only_the_positions_in_it(
    fragile_kafka: KafkaCluster, fragile_driver: KafkaDriver, name: str
) -> None:
    # Damage to a compressed batch is reported; to a plain one it is not, and the reader waits for a while.
    bad = {"zstd": [20, 25, 29], "uncompressed": [20]}
    good = [0, 15, 19, 30, 35, 49]
    topics = {
        codec: fragile_driver.create_topic(f"{name}-{codec}", config={"compression.type": codec})
        for codec in bad
    }
    sound = write(fragile_driver, f"{name}-sound", name, partitions=5)
    for topic in topics.values():
        for batch in range(5):
            fragile_driver.produce(topic, 0, 10, timestamp_ms=[PAST_MS + 10 * batch + i for i in range(10)])
    node = fragile_kafka.nodes[0]
    node.stop()
    for topic in topics.values():
        corrupt_batch(node.data_folder / f"{topic}-0" / f"{0:020}.log", 2)
    node.launch()
    fragile_kafka.wait_until_ready()
    places = {TopicPartition(topic, 0): sorted(good + bad[codec]) for codec, topic in topics.items()}
    async with record_reader(fragile_kafka.bootstrap_servers) as reader:
        reading = await reader.read({**places, **at(sound, [3], 5)}, within=30)
    assert {(sound, i, 3): FirstRecord(3, (PAST_MS + 3) / 1000) for i in range(5)} | {
        (topic, 0, p): FirstRecord(p, (PAST_MS + p) / 1000) for topic in topics.values() for p in good
    } == {(*tp, position): record for (tp, position), record in reading.records.items()}
    assert {(topics["zstd"], p): "_BAD_COMPRESSION" for p in bad["zstd"]} | {
        (topics["uncompressed"], p): "_TIMED_OUT" for p in bad["uncompressed"]
    } == {(tp.topic, position): fault.code for (tp, position), fault in reading.faults.items()}


# In the middle of a read


@FRAGILE
async def test_a_broker_that_freezes_in_the_middle_of_a_read_costs_no_offset_and_delays_one_cycle(
    fragile_kafka: KafkaCluster, fragile_driver: KafkaDriver, name: str
) -> None:
    topic = write(fragile_driver, name, name, partitions=30)
    node = fragile_kafka.nodes[0]
    async with cycles_of(fragile_kafka.bootstrap_servers, name, fetch_timeout=FETCH_TIMEOUT) as cycles:
        await cycles.run()
        fragile_driver.commit(name, {(topic, partition): 5 for partition in range(20)})
        try:
            rows = await cycles.run(node.freeze, node.thaw)
        finally:
            node.thaw()
        assert [5] * 20 + [7] * 10 == [row.lag for row in rows.values()]
        # What was known stays known.
        assert [None] * 20 + [cycles.last.now - (PAST_MS + 3) / 1000] * 10 == [
            row.time_lag for row in rows.values()
        ]
        failed = cycles.errors()
        # Read alone after that: the only broker does not even say who leads.
        assert {"_TRANSPORT": 20} == failed
        assert 20 == cycles.reads.unread_partitions

        await cycles.run()
        assert failed == cycles.errors()

        cycles.wait(PENALTY + 1)
        rows = await cycles.run()
        assert {cycles.last.now - (PAST_MS + 5) / 1000, cycles.last.now - (PAST_MS + 3) / 1000} == {
            row.time_lag for row in rows.values()
        }
        assert 0 == cycles.reads.unread_partitions


@FRAGILE
async def test_what_was_read_before_the_broker_froze_stays(
    fragile_kafka: KafkaCluster, fragile_driver: KafkaDriver, name: str
) -> None:
    topic = fragile_driver.create_topic(name)
    fragile_driver.produce(topic, 0, FAR_APART.stop, timestamp_ms=lambda i: PAST_MS + i)
    node = fragile_kafka.nodes[0]
    async with (
        record_reader(
            fragile_kafka.bootstrap_servers, max_concurrent_fetches=1, fetch_timeout=FETCH_TIMEOUT
        ) as reader,
        trio.open_nursery() as nursery,
    ):
        await reader.read(at(topic), within=30)

        before = received()

        async def freeze() -> None:
            # Some of the records have come, and few of all: each takes a fetch.
            while received() < before + 4 * FETCHED:  # noqa: ASYNC110
                await trio.sleep(0.001)
            node.freeze()

        nursery.start_soon(freeze)
        try:
            reading = await reader.read(at(topic, FAR_APART), within=30)
        finally:
            node.thaw()
        nursery.cancel_scope.cancel()
    assert 0 < len(reading.records) < len(FAR_APART)
    assert {p: FirstRecord(p, (PAST_MS + p) / 1000) for p in FAR_APART[: len(reading.records)]} == {
        position: record for (_, position), record in reading.records.items()
    }
    assert set(FAR_APART) == {p for _, p in reading.records} | {p for _, p in reading.faults}


# Nothing is left behind


@FRAGILE
async def test_reading_commits_nothing_and_makes_no_group(
    fragile_kafka: KafkaCluster, fragile_driver: KafkaDriver, name: str
) -> None:
    topic = write(fragile_driver, name, name, partitions=5)
    admin = AdminClient({"bootstrap.servers": fragile_kafka.bootstrap_servers})

    def left_behind() -> tuple[list[str], list[tuple[int, int]]]:
        groups = admin.list_consumer_groups().result(30).valid
        ends = [fragile_driver.watermarks("__consumer_offsets", partition) for partition in range(4)]
        return sorted(group.group_id for group in groups), ends

    before = left_behind()
    async with record_reader(fragile_kafka.bootstrap_servers) as reader:
        for _ in range(3):
            await reader.read(at(topic, [3, 7], 5), within=30)
    assert before == left_behind()
