"""What klag-trio pushes about a real broker, as a real collector shows it."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from tests.broker.waiting import unique, wait_until
from tests.otlp.series import lag, lag_of, ours
from tests.otlp.watching import watching
from tests.program.program import config_text, run, running

from klag_trio.stopping import LAST_PUSH_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka
    from tests.otlp.conftest import Receiver
    from tests.program.program import Program

    from stack.collector import OtelCollector


PROTOCOLS = ["grpc", "http/protobuf"]


def config(
    kafka: Kafka,
    topic: str,
    endpoint: str,
    interval: str = "500ms",
    protocol: str = "grpc",
    **exporter: str,
) -> str:
    cluster = {
        "name": "prod",
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic_whitelist": [f"^{topic}$"],
        "group_whitelist": [f"^{topic}-"],
        "labels": {"env": 'a "b" ä'},
    }
    otel = {
        "enabled": True,
        "protocol": protocol,
        "endpoint": endpoint,
        "export_interval": interval,
    }
    return config_text([cluster], {"otel": otel, **exporter})


def exports(program: Program, outcome: str) -> float:
    return program.metrics().value("klag_otlp_exports_total", outcome=outcome) or 0.0


BEGINS, ENDS = "OTLP export fails", "OTLP export works again"


@pytest.fixture
def topic(driver: KafkaDriver) -> str:
    name = unique("otlp")
    driver.create_topic(name, 2)
    for partition in (0, 1):
        driver.produce(name, partition, 10)
    driver.commit(f"{name}-billing", {(name, 0): 3, (name, 1): 10})
    return name


def test_every_sample_arrives_with_its_name_attributes_and_value(
    kafka: Kafka, topic: str, receiver: Receiver, tmp_path: Path
) -> None:
    # One cycle, and the publication at its end, is all there is for a while.
    slow = {"poll_interval": "1h", "staleness_threshold": "2h"}
    text = config(kafka, topic, receiver.endpoint, protocol=receiver.protocol, **slow)
    with running(tmp_path, text) as program:
        served = ours(
            wait_until(
                lambda: (
                    page.text
                    if "kafka_consumergroup_group_lag_seconds" in (page := program.metrics()).text
                    else ""
                ),
                "a cycle",
            )
        )
        wait_until(lambda: served.keys() <= receiver.series().keys(), "all names and attributes")
        assert served == receiver.series()


def test_later_pushes_bring_what_changed_and_what_did_not(
    kafka: Kafka, driver: KafkaDriver, topic: str, receiver: Receiver, tmp_path: Path
) -> None:
    text = config(kafka, topic, receiver.endpoint, protocol=receiver.protocol)
    with running(tmp_path, text) as program:
        for committed in (4, 5):
            driver.commit(f"{topic}-billing", {(topic, 0): committed})
            program.next_cycle("prod")
            expected = lag(program.next_cycle("prod").text)
            wait_until(lambda e=expected: lag_of(receiver.series()) == e, "the last commit")  # type: ignore[misc]
        wait_until(lambda: exports(program, "success") > 3, "several pushes")
        assert 0 == exports(program, "failure")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_is_killed_frozen_and_restarted_costs_missed_intervals_only(
    kafka: Kafka,
    driver: KafkaDriver,
    topic: str,
    otel_collector: OtelCollector,
    tmp_path: Path,
    protocol: str,
) -> None:
    # A loop that waited for the collector would stand still for an interval.
    text = config(kafka, topic, otel_collector.endpoint(protocol), interval="3s", protocol=protocol)
    with running(tmp_path, text) as program:
        wait_until(lambda: exports(program, "success"), "a first export")
        with watching(program) as watch:
            otel_collector.kill()
            wait_until(lambda: exports(program, "failure") > 1, "failures while it is down")
            otel_collector.start()
            # The log tells at once how pushes end; the counters are on /metrics with the next cycle.
            wait_until(lambda: program.log(ENDS), "the first end is logged")
            assert 1 == len(program.log(BEGINS))
            assert ours(otel_collector.metrics())
            otel_collector.freeze()
            wait_until(lambda: len(program.log(BEGINS)) == 2, "the second beginning is logged")
            driver.commit(f"{topic}-billing", {(topic, 0): 7})
            driver.produce(topic, 1, 5)
            program.next_cycle("prod")
            otel_collector.thaw()
            wait_until(lambda: len(program.log(ENDS)) == 2, "the second end is logged")
        expected = lag(program.next_cycle("prod").text)
        wait_until(lambda: lag(otel_collector.metrics()) == expected, "what happened meanwhile")
        # Where the machine is busy a push may come late besides; each beginning has its one end all the same.
        told = [entry["event"] for entry in program.log() if entry["event"] in (BEGINS, ENDS)]
        assert ([BEGINS, ENDS] * len(told))[: len(told)] == told
        assert {200} == watch.statuses
        assert (True, True) == (watch.slowest < 2, watch.longest_gap < 2), watch
        assert 0 == program.stop(signal.SIGTERM)[0]


def test_a_stop_sends_what_is_known_once_more(
    kafka: Kafka, topic: str, otel_collector: OtelCollector, tmp_path: Path
) -> None:
    text = config(kafka, topic, otel_collector.endpoint("grpc"), interval="1h")
    with running(tmp_path, text) as program:
        served = ours(program.next_cycle("prod").text)
        assert {} == ours(otel_collector.metrics())
        assert 0 == program.stop(signal.SIGTERM)[0]
        assert served.keys() <= ours(otel_collector.metrics()).keys()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stop_waits_for_a_collector_that_is_frozen_as_long_as_the_last_push_may_take(
    kafka: Kafka, topic: str, otel_collector: OtelCollector, tmp_path: Path, protocol: str
) -> None:
    endpoint = otel_collector.endpoint(protocol)
    with running(tmp_path, config(kafka, topic, endpoint, interval="2s", protocol=protocol)) as program:
        wait_until(lambda: exports(program, "success"), "a first export")
        otel_collector.freeze()
        assert 0 == program.stop(signal.SIGTERM)[0]
        stopping, stopped = (
            datetime.fromisoformat(program.log(event)[0]["timestamp"]) for event in ("stopping", "stopped")
        )
        assert LAST_PUSH_SECONDS <= (stopped - stopping).total_seconds() < LAST_PUSH_SECONDS + 1.5


@pytest.mark.parametrize(
    ("endpoint", "interval", "environ", "message"),
    [
        ("localhost:4317", "60s", {}, "exporter.otel.endpoint"),
        ("http://localhost:4317", "0s", {}, "exporter.otel.export_interval"),
        (
            "https://localhost:4317",
            "60s",
            {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"},
            "OTEL_EXPORTER_OTLP_CERTIFICATE: cannot read /nowhere/ca.pem: No such file",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(
    tmp_path: Path, endpoint: str, interval: str, environ: dict[str, str], message: str
) -> None:
    otel = {"enabled": True, "endpoint": endpoint, "export_interval": interval}
    path = tmp_path / "config.toml"
    path.write_text(config_text([{"name": "prod", "bootstrap_servers": "127.0.0.1:1"}], {"otel": otel}))
    ended = run("-c", str(path), environ=environ)
    assert 2 == ended.code
    assert message in ended.output
