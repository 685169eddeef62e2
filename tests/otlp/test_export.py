"""What klag-trio pushes about a real broker, as a real collector shows it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.kafka.program import config_text, run, running
from tests.kafka.waiting import unique, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.conftest import Kafka
    from tests.kafka.driver import KafkaDriver
    from tests.kafka.program import Program

    from collector import OtelCollector

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
# What the collector adds of itself.
COLLECTORS_OWN = {"job", "instance", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}


def ours(text: str) -> Series:
    lines = [
        line
        for line in text.splitlines()
        if line.startswith(("kafka_", "klag_", "# TYPE kafka_", "# TYPE klag_"))
    ]
    return {
        (
            sample.name,
            frozenset((k, v) for k, v in sample.labels.items() if k not in COLLECTORS_OWN),
        ): sample.value
        for family in text_string_to_metric_families("\n".join(lines) + "\n")
        for sample in family.samples
    }


def config(kafka: Kafka, topic: str, port: int, **exporter: object) -> str:
    cluster = {
        "name": "prod",
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic_whitelist": [f"^{topic}$"],
        "group_whitelist": [f"^{topic}-"],
        "labels": {"env": 'a "b" ä'},
    }
    otel = {"enabled": True, "endpoint": f"http://127.0.0.1:{port}", "export_interval": "500ms"}
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


def test_every_sample_reaches_the_collector_with_its_name_attributes_and_value(
    kafka: Kafka, topic: str, otel_collector: OtelCollector, tmp_path: Path
) -> None:
    # One cycle, and the publication at its end, is all there is for a while.
    text = config(kafka, topic, otel_collector.port, poll_interval="1h", staleness_threshold="2h")
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
        wait_until(lambda: served.keys() <= ours(otel_collector.metrics()).keys(), "all names and attributes")
        assert served == ours(otel_collector.metrics())


def test_a_collector_that_is_killed_frozen_and_restarted_costs_missed_intervals_only(
    kafka: Kafka, topic: str, otel_collector: OtelCollector, tmp_path: Path
) -> None:
    text = config(kafka, topic, otel_collector.port)
    with running(tmp_path, text) as program:
        wait_until(lambda: exports(program, "success"), "a first export")
        otel_collector.kill()
        wait_until(lambda: exports(program, "failure") > 1, "failures while it is down")
        assert program.get("/health")[0] == 200
        otel_collector.start()
        wait_until(lambda: ours(otel_collector.metrics()), "samples after the restart")
        # The log tells at once how pushes end; the counters are on /metrics with the next cycle.
        wait_until(lambda: program.log(ENDS), "the first end is logged")
        begun = len(program.log(BEGINS))
        otel_collector.freeze()
        wait_until(lambda: len(program.log(BEGINS)) > begun, "the second beginning is logged")
        program.next_cycle("prod")
        otel_collector.thaw()
        wait_until(lambda: len(program.log(ENDS)) == len(program.log(BEGINS)), "the second end is logged")
        succeeded = exports(program, "success")
        wait_until(lambda: exports(program, "success") > succeeded, "exports after the thaw")
        # Where the machine is busy a push may come late besides; each beginning has its one end all the same.
        told = [entry["event"] for entry in program.log() if entry["event"] in (BEGINS, ENDS)]
        assert ([BEGINS, ENDS] * len(told))[: len(told)] == told
        code, seconds = program.stop(signal.SIGTERM)
        assert (0, True) == (code, seconds < 5)


def test_a_stop_sends_what_is_known_once_more(
    kafka: Kafka, topic: str, otel_collector: OtelCollector, tmp_path: Path
) -> None:
    text = config(kafka, topic, otel_collector.port).replace("500ms", "1h")
    with running(tmp_path, text) as program:
        served = ours(program.next_cycle("prod").text)
        assert {} == ours(otel_collector.metrics())
        assert 0 == program.stop(signal.SIGTERM)[0]
        assert served.keys() <= ours(otel_collector.metrics()).keys()


def test_a_stop_waits_two_seconds_for_a_collector_that_is_frozen(
    kafka: Kafka, topic: str, otel_collector: OtelCollector, tmp_path: Path
) -> None:
    with running(tmp_path, config(kafka, topic, otel_collector.port)) as program:
        wait_until(lambda: exports(program, "success"), "a first export")
        otel_collector.freeze()
        code, seconds = program.stop(signal.SIGTERM)
        assert (0, True) == (code, seconds < 5)


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
