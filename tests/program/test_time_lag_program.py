"""Time lag as klag-trio serves it, and what a look at records may never bring to light."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from tests.broker.reading import PAST_MS
from tests.broker.waiting import unique, wait_until
from tests.program.program import LAST_UPDATE, Page, Program, config_text, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka

LAG = "kafka_consumergroup_group_lag"
SECONDS = "kafka_consumergroup_group_lag_seconds"
MAX_SECONDS = "kafka_consumergroup_group_max_lag_seconds"
FETCH = "Sent FetchRequest"
RATE = 400.0
TOLERANCE = 0.25


@pytest.fixture
def name() -> str:
    return unique("served")


def config(kafka: Kafka, name: str, *, debug: str = "", **sampling: Any) -> str:
    """A configuration for what has names that begin so; `debug` is what librdkafka logs."""
    cluster = {
        "name": "main",
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic_whitelist": [f"^{name}"],
        "group_whitelist": [f"^{name}"],
        **({"consumer_properties": {"debug": debug}} if debug else {}),
    }
    return config_text([cluster], {"timestamp_sampling": sampling})


def wait_for_cycles(program: Program) -> Page:
    """The page after two cycles at least, so that a second one has had its chance to read."""
    program.next_cycle("main")
    return program.next_cycle("main")


def served(page: Page, group: str) -> dict[str, tuple[float, str, str]]:
    """The time lag of partition 0 of each topic: the instant of the record, and the two flags."""
    now = page.value(LAST_UPDATE, cluster_name="main")
    assert now is not None
    found = {}
    for labels, value in page.rows(SECONDS, cluster_name="main", group=group, partition="0").items():
        told = dict(labels)
        instant = 0.0 if value == 0 else round(now - value, 3)
        found[told["topic"]] = (instant, told["compaction_detected"], told["data_loss_detected"])
    return found


@pytest.mark.parametrize("skip", [False, True], ids=["read", "skipped"])
def test_what_is_served_is_the_age_at_the_last_update_with_its_flags(
    kafka: Kafka, driver: KafkaDriver, name: str, tmp_path: Path, skip: bool
) -> None:
    plain, lossy = driver.create_topic(f"{name}-plain"), driver.create_topic(f"{name}-lossy")
    for topic in (plain, lossy):
        driver.produce(topic, 0, 10, timestamp_ms=lambda i: PAST_MS + i)
    driver.delete_records(lossy, 0, 6)
    timeless, ahead = driver.create_topic(f"{name}-timeless"), driver.create_topic(f"{name}-ahead")
    driver.produce(timeless, 0, 1, timestamp_ms=[-1])
    driver.produce(ahead, 0, 1, timestamp_ms=[int((time.time() + 3600) * 1000)])
    marked, squeezed = (
        driver.create_topic(f"{name}-marked"),
        driver.create_topic(f"{name}-squeezed", config={"cleanup.policy": "compact"}),
    )
    driver.produce_transaction(marked, 0, 1)
    wait_until(lambda: driver.watermarks(marked) == (0, 2), "the marker is there")
    left = driver.compact(squeezed)
    commits = {plain: 4, lossy: 2, timeless: 0, ahead: 0, marked: 1, squeezed: 0}
    driver.commit(name, {(topic, 0): offset for topic, offset in commits.items()})
    expected = {
        plain: ((PAST_MS + 4) / 1000, "false", "false"),
        ahead: (0.0, "false", "false"),
        marked: (0.0, "false", "false"),
        squeezed: (left[0][1] / 1000, "true", "false"),
    }
    if not skip:
        expected[lossy] = ((PAST_MS + 6) / 1000, "false", "true")
    with running(tmp_path, config(kafka, name, skip_data_loss_partitions=skip)) as program:
        program.shows(expected, lambda page: served(page, name) if page.rows(LAST_UPDATE) else {})
        page = wait_for_cycles(program)
    assert expected == served(page, name)
    # The lag in offsets is there, whatever becomes of the time lag.
    ends = {topic: driver.watermarks(topic)[1] for topic in commits}
    assert {(topic, 0): ends[topic] - offset for topic, offset in commits.items()} == page.by_partition(
        LAG, cluster_name="main", group=name
    )
    assert 1 == page.value("kafka_lag_exporter_compaction_detected_total", cluster_name="main")
    assert 1 == page.value("kafka_lag_exporter_data_loss_partitions_total", cluster_name="main")
    assert 4 == page.value("kafka_consumergroup_group_messages_lost", cluster_name="main", topic=lossy)
    assert 0 == page.value("klag_time_lag_unread_partitions", cluster_name="main")


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
def test_without_sampling_there_is_no_time_lag_and_no_fetch(
    kafka: Kafka, driver: KafkaDriver, name: str, tmp_path: Path, enabled: bool
) -> None:
    topic = driver.create_topic(name)
    driver.produce(topic, 0, 3)
    driver.commit(name, {(topic, 0): 1})
    text = config(kafka, name, debug="protocol", enabled=enabled)
    with running(tmp_path, text, "--log-level", "trace") as program:
        program.shows({(topic, 0): 2.0}, lambda page: page.by_partition(LAG, cluster_name="main", group=name))
        page = wait_for_cycles(program)
        # librdkafka's lines come some time after the requests.
        sent = ["Sent ListOffsetsRequest", *([FETCH] if enabled else [])]
        wait_until(lambda: all(line in program.output for line in sent), "what was sent is logged")
    assert enabled == (SECONDS in page.text)
    assert enabled == (MAX_SECONDS in page.text)
    assert enabled == (FETCH in program.output)


def test_no_key_and_no_value_comes_to_light(
    kafka: Kafka, driver: KafkaDriver, name: str, tmp_path: Path
) -> None:
    topic = driver.create_topic(name)
    planted = [f"planted-{what}-{name[::-1]}" for what in ("key", "value", "header")]
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 3})
    for _ in range(20):
        key, value, header = (text.encode() for text in planted)
        producer.produce(topic, value, key, partition=0, headers=[("planted", header)])
    assert 0 == producer.flush(30)
    driver.commit(name, {(topic, 0): 2})
    text = config(kafka, name, debug="all")
    with running(tmp_path, text, "--log-level", "trace") as program:
        program.shows(1, lambda page: len(page.rows(SECONDS, cluster_name="main", group=name)))
        page = wait_for_cycles(program)
        index = program.get("/")[1]
        wait_until(lambda: FETCH in program.output, "what was sent is logged")
    for secret in planted:
        assert secret not in page.text
        assert secret not in index
        assert secret not in program.output


@contextmanager
def producing(bootstrap: str, topic: str) -> Iterator[float]:
    """Write RATE records a second in the background; gives the instant at which that began."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 3, "linger.ms": 0})
    done = threading.Event()
    began = time.time()

    def write() -> None:
        written = 0
        while not done.wait(0.02):
            # By schedule, so that a pause of this thread does not change the rate.
            while written < RATE * (time.time() - began):
                producer.produce(topic, b"x", partition=0)
                written += 1
            producer.poll(0)
        producer.flush(30)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield began
    finally:
        done.set()
        thread.join()


def test_by_the_rate_a_live_topic_has_an_estimate_and_an_idle_one_none(
    kafka: Kafka, driver: KafkaDriver, name: str, tmp_path: Path
) -> None:
    live, idle = driver.create_topic(f"{name}-live"), driver.create_topic(f"{name}-idle")
    driver.produce(idle, 0, 10)
    driver.commit(name, {(live, 0): 0, (idle, 0): 0})
    text = config(kafka, name, debug="protocol", mode="rate", rate_history_samples=20)
    with (
        running(tmp_path, text, "--log-level", "trace") as program,
        producing(kafka.bootstrap_servers, live) as began,
    ):

        def right(page: Page) -> bool:
            # The longer the history, the less it matters when within its interval a record was written.
            now = page.value(LAST_UPDATE, cluster_name="main")
            estimate = page.value(SECONDS, cluster_name="main", group=name, topic=live)
            return now is not None and pytest.approx(now - began, rel=TOLERANCE) == estimate

        program.shows(True, right)
        page = program.metrics()
    assert {(live, 0), (idle, 0)} == page.by_partition(LAG, cluster_name="main", group=name).keys()
    assert page.value(SECONDS, cluster_name="main", group=name, topic=idle) is None
    assert FETCH not in program.output
    assert "Sent ListOffsetsRequest" in program.output
