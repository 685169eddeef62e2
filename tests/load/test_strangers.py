"""What takes a stranger long to write, or the process that reads long to read: it ends and blinds nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from benchmarks.family import status_bytes
from confluent_kafka import Producer
from tests.broker.driver import KafkaDriver
from tests.broker.stranger import commit_as_many_groups, subscribing
from tests.broker.waiting import SECONDS, unique, wait_until
from tests.program.hostile import LAG, TIME_LAG, watching
from tests.program.scenes import up

from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Kafka

# What librdkafka takes of any array in an answer about groups.
MOST = 100_000
UNPACKED = 900_000_000
CYCLES = 9


@pytest.mark.timeout(600)
def test_a_record_that_unpacks_to_900_mb_costs_no_other_group_its_time_lag(
    kafka: Kafka, tmp_path: Path
) -> None:
    name = unique("strangers")
    bomb = f"{name}-hostile-bomb"
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        driver.create_topic(bomb)
        write(kafka.bootstrap_servers, bomb)
        with watching(
            kafka, tmp_path, name=name, timestamp_sampling={"fetch_timeout": "1s"}, poll_interval="2s"
        ) as clusters:
            driver.commit(f"{name}-hostile-victim", {(bomb, 0): 0})
            program, innocent = clusters.program, f"{name}-hostile"
            program.shows(1, lambda page: page.value(TIME_LAG, group=innocent) is not None)
            driver.produce(innocent, n=CYCLES)
            for cycle in range(CYCLES):
                # Each time at another record, which has to be read.
                driver.commit(innocent, {(innocent, 0): 4 + cycle})
                page = program.next_cycle("hostile")
                assert page.value(TIME_LAG, cluster_name="hostile", group=innocent) is not None
                assert 200 == program.get("/health")[0]
            clusters.program.next_cycle("calm")
            print(f"peak: {status_bytes(program.process.pid, 'VmHWM') >> 20} MiB")  # noqa: T201


@pytest.fixture
def own_kafka() -> Iterator[KafkaCluster]:
    # What is written into it would reach every other klag-trio, too.
    with KafkaCluster() as cluster:
        yield cluster


@pytest.mark.timeout(300)
def test_a_member_that_subscribes_to_more_topics_than_librdkafka_reads_costs_the_members_of_its_group(
    own_kafka: KafkaCluster, tmp_path: Path
) -> None:
    name, bootstrap = unique("strangers"), own_kafka.bootstrap_servers
    many = [b"%05x" % number for number in range(MOST + 1)]
    with watching(own_kafka, tmp_path, name=name) as clusters, ExitStack() as members:
        # It has to come after another member, and they come in any order.
        for group in ("first", "second", "third", "fourth"):
            for topics in ([b"real"], many, [b"real"]):
                members.enter_context(subscribing(bootstrap, clusters.group(group), topics))
        wait_until(lambda: "crash" in clusters.errors("members"), "a group is left out", 60)
        clusters.survive()


@pytest.mark.timeout(600)
def test_more_groups_than_librdkafka_lists_are_listed(own_kafka: KafkaCluster, tmp_path: Path) -> None:
    name, bootstrap = unique("strangers"), own_kafka.bootstrap_servers
    late = f"{name}-hostile-late"
    with watching(own_kafka, tmp_path, name=name) as clusters, KafkaDriver(bootstrap) as driver:
        commit_as_many_groups(bootstrap, f"{name}-calm", MOST + 1, prefix=b"other-")
        wait_until(lambda: "crash" in clusters.errors("groups"), "it ends the process that lists", 60)
        driver.commit(late, {(f"{name}-hostile", 0): 4})
        clusters.program.shows(6, lambda page: page.value(LAG, group=late), 60)
        for cluster in ("hostile", "calm"):
            page = clusters.program.next_cycle(cluster)
            assert 1 == up(page, cluster)
            assert 7 == page.value(LAG, cluster_name=cluster, group=f"{name}-{cluster}")


def write(bootstrap: str, topic: str) -> None:
    """Write one record of zeros, which takes less than a megabyte in the topic."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "gzip",
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            "log_level": 3,
        }
    )
    failed: list[object] = []
    producer.produce(topic, bytes(UNPACKED), on_delivery=lambda error, _: failed.append(error))
    producer.flush(10 * SECONDS)
    assert [None] == failed
