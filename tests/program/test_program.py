"""klag-trio as a process: how it starts, how it ends, and what it says when something is wrong."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique, wait_until
from tests.program.program import Program, config_text, run, running, troubles_that_last
from tests.program.scenes import (
    answering_clients_that_do_not_read,
    check_beside_a_frozen_broker,
    cycling,
    named,
    up,
    waiting_for_a_frozen_broker,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Kafka

    from stack.kafka import KafkaCluster

FRAGILE = pytest.mark.xdist_group("fragile")
SIGNALS = [signal.SIGINT, signal.SIGTERM]
PASSWORD = "rosebud-1941"
UNREACHABLE = {"name": "nowhere", "bootstrap_servers": "127.0.0.1:1"}


# The end


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_it_in_order(kafka: Kafka, tmp_path: Path, number: signal.Signals) -> None:
    with cycling(kafka, tmp_path) as program:
        code, _ = program.stop(number)
    assert code == 0
    assert [number.name] == [line["signal"] for line in program.log("stopping")]
    assert len(program.log("stopped")) == 1


@FRAGILE
def test_a_signal_ends_it_while_the_broker_hangs(fragile_kafka: KafkaCluster, tmp_path: Path) -> None:
    with waiting_for_a_frozen_broker(fragile_kafka, tmp_path) as program:
        code, _ = program.stop(signal.SIGTERM)
    assert code == 0


def test_a_signal_ends_it_while_clients_do_not_read(
    kafka: Kafka, driver: KafkaDriver, tmp_path: Path
) -> None:
    with answering_clients_that_do_not_read(kafka, driver, tmp_path) as program:
        code, _ = program.stop(signal.SIGTERM)
    assert code == 0


# What is wrong before it starts


def wrong(text: str, tmp_path: Path, environ: dict[str, str] | None = None) -> str:
    """Run with this configuration and return what it says; it must say that the configuration is wrong."""
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    ended = run("-c", str(path), environ=environ)
    assert ended.code == 2
    assert "Traceback" not in ended.output
    return ended.output


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    for arguments in (("-c", str(missing)), ("check", "-c", str(missing))):
        ended = run(*arguments)
        assert ended.code == 2
        assert str(missing) in ended.output
        assert "No such file" in ended.output
        assert "Traceback" not in ended.output


def test_a_pipe_without_a_writer_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    good = tmp_path / "good.toml"
    good.write_text(config_text([UNREACHABLE]))
    for arguments in (("-c", pipe), ("check", "-c", pipe), ("-c", good, "--web.config.file", pipe)):
        ended = run(*map(str, arguments))
        assert ended.code == 2
        assert ended.output.endswith(f"{pipe}: cannot be read: it is no regular file\n")


def test_config_toml_is_read_where_none_is_named(tmp_path: Path) -> None:
    ended = run(cwd=tmp_path)
    assert ended.code == 2
    assert "config.toml" in ended.output
    (tmp_path / "config.toml").write_text("[exporter]\nhttp_port = 99999\n")
    ended = run(cwd=tmp_path)
    assert ended.code == 2
    assert "exporter.http_port" in ended.output


def test_text_that_is_no_toml_is_named_with_its_place(tmp_path: Path) -> None:
    said = wrong('[exporter]\npoll_interval = "30s\n', tmp_path)
    assert "line 2" in said


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    said = wrong(
        "\n".join(
            [
                "[exporter]",
                'poll_interval = "soon"',
                "http_port = 70000",
                'granularity = "group"',
                "poll_intervall = 1",
                "[exporter.performance]",
                "group_fetch_retries = -1",
                "[[clusters]]",
                'name = "main"',
                f'topic_whitelist = ["(", "fine"]',  # noqa: F541
                'labels = { topic = "no" }',
                'consumer_properties = { "sasl.password" = "${KLAG_TEST_UNSET}" }',
            ]
        ),
        tmp_path,
    )
    for path in (
        "exporter.poll_interval",
        "exporter.http_port",
        "exporter.granularity",
        "exporter.poll_intervall",
        "did you mean poll_interval",
        "exporter.performance.group_fetch_retries",
        "clusters[0].bootstrap_servers",
        "clusters[0].topic_whitelist[0]",
        "clusters[0].labels.topic",
        "sasl.password",
        "KLAG_TEST_UNSET",
    ):
        assert path in said
    assert "topic_whitelist[1]" not in said


def test_an_unset_variable_is_named_with_its_key(tmp_path: Path) -> None:
    text = config_text([{**UNREACHABLE, "bootstrap_servers": "${KLAG_TEST_BROKERS}"}])
    said = wrong(text, tmp_path)
    assert "clusters[0].bootstrap_servers" in said
    assert "KLAG_TEST_BROKERS" in said


def test_leadership_without_a_way_to_kubernetes_is_an_error_that_says_so(tmp_path: Path) -> None:
    text = config_text([UNREACHABLE], {"leadership": {"enabled": True}})
    # Whoever runs the tests may have a cluster.
    nowhere = {"HOME": str(tmp_path), "KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""}
    said = wrong(text, tmp_path, nowhere)
    assert "exporter.leadership.enabled" in said
    assert "KUBECONFIG" in said


@pytest.mark.parametrize(
    ("properties", "blamed"),
    [
        ({"sasl.pasword": PASSWORD}, "sasl.pasword"),
        ({"security.protocol": "SASL_PLAIN_" + PASSWORD}, "security.protocol"),
        ({"socket.timeout.ms": "-" + PASSWORD}, "socket.timeout.ms"),
        ({"ssl.ca.location": f"/nonexistent/{PASSWORD}", "security.protocol": "ssl"}, "ssl.ca.location"),
    ],
)
def test_a_wrong_librdkafka_property_names_cluster_and_property(
    tmp_path: Path, properties: dict[str, str], blamed: str
) -> None:
    text = config_text([UNREACHABLE, {**UNREACHABLE, "name": "second", "consumer_properties": properties}])
    said = wrong(text, tmp_path)
    assert "second" in said
    assert "nowhere" not in said
    assert blamed in said
    assert PASSWORD not in said


@pytest.mark.parametrize("mechanism", [{"sasl.mechanism": "GSSAPI"}, {"sasl.mechanisms": "GSSAPI"}, {}])
def test_kerberos_without_a_library_that_has_it_is_told_at_the_start_with_the_mend(
    tmp_path: Path, mechanism: dict[str, str]
) -> None:
    properties = {"security.protocol": "SASL_SSL", **mechanism}
    said = wrong(config_text([{**UNREACHABLE, "consumer_properties": properties}]), tmp_path)
    for words in ("cluster nowhere", "sasl.mechanism", "GSSAPI", "Kerberos", "scripts/build-kerberos"):
        assert words in said
    assert "traceback" not in said.lower()


def test_a_port_in_use_is_a_fault_that_names_the_keys(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "config.toml"
        path.write_text(config_text([UNREACHABLE], {"http_port": port}))
        ended = run("-c", str(path))
    assert ended.code == 1
    assert "exporter.http_port" in ended.output
    assert f"127.0.0.1:{port}" in ended.output
    assert "in use" in ended.output
    assert "Traceback" not in ended.output


def test_a_wrong_command_line_ends_with_2() -> None:
    for arguments in (("--log-level", "loud"), ("--nonsense",), ("nonsense",)):
        ended = run(*arguments)
        assert ended.code == 2
        assert "Usage:" in ended.output


def test_the_version_is_told() -> None:
    ended = run("--version")
    assert ended.code == 0
    assert ended.output.startswith("klag-trio ")


# What is wrong while it runs


def about(program: Program, cluster: str, level: str) -> list[dict[str, Any]]:
    return [line for line in program.log() if line.get("cluster") == cluster and line["level"] == level]


@FRAGILE
def test_a_cluster_that_is_down_is_no_reason_to_end(fragile_kafka: KafkaCluster, tmp_path: Path) -> None:
    fragile_kafka.nodes[0].stop()
    try:
        text = config_text([named(fragile_kafka)], {"performance": {"kafka_timeout": "1s"}})
        with running(tmp_path, text) as program:
            wait_until(lambda: about(program, "main", "warning"), "it says that the cluster is down")
            assert program.get("/health")[0] == 200
            status, reason = program.get("/ready")
            assert status == 503
            assert "main" in reason
            assert "refused" in reason
            assert up(program.metrics(), "main") == 0
            # Cycle after cycle fails, and nothing more is said about it.
            failed = "klag_errors_total"
            program.shows(True, lambda page: sum(page.rows(failed, cluster_name="main").values()) >= 3)
            (line,) = about(program, "main", "warning")
            assert "refused" in line["error"]

            fragile_kafka.nodes[0].launch()
            fragile_kafka.wait_until_ready()
            program.shows(1, lambda page: up(page, "main"))
            assert program.get("/ready")[0] == 200
            # Whatever else failed while the cluster came back, it says that this has ended.
            wait_until(lambda: troubles_that_last(program, "main") == set(), "all is well again")
            code, _ = program.stop(signal.SIGTERM)
        assert code == 0
    finally:
        fragile_kafka.nodes[0].launch()
        fragile_kafka.wait_until_ready()


def test_wrong_credentials_are_told_with_what_to_do_and_without_the_password(
    kafka: Kafka, tmp_path: Path
) -> None:
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": "klag",
        "sasl.password": PASSWORD,
    }
    text = config_text(
        [named(kafka, consumer_properties=properties)], {"performance": {"kafka_timeout": "1s"}}
    )
    with running(tmp_path, text, "--log-level", "trace") as program:

        def about_sasl() -> list[dict[str, Any]]:
            return [line for line in about(program, "main", "warning") if "sasl" in line.get("mend", "")]

        wait_until(about_sasl, "it says what is wrong")
        status, reason = program.get("/ready")
        page, home = program.metrics(), program.get("/")[1]
    assert status == 503
    assert "main" in reason
    assert up(page, "main") == 0
    for text in (program.output, reason, page.text, home):
        assert PASSWORD not in text


# klag-trio check


def test_check_says_what_it_reached(kafka: Kafka, driver: KafkaDriver, tmp_path: Path) -> None:
    topic = driver.create_topic(unique("checked"), partitions=3)
    group = unique("group")
    driver.commit(group, {(topic, 0): 0})
    path = tmp_path / "config.toml"
    only = {"topic_whitelist": [f"^{topic}$"], "group_whitelist": [f"^{group}$"]}
    path.write_text(config_text([named(kafka, **only)]))
    for arguments in (("check", "-c", str(path)), ("-c", str(path), "check")):
        ended = run(*arguments)
        assert ended.code == 0
        assert "cluster main: reached" in ended.output
        assert "1 topics with 3 partitions and 1 groups" in ended.output


def test_check_says_which_cluster_it_did_not_reach(kafka: Kafka, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(config_text([named(kafka), UNREACHABLE], {"performance": {"kafka_timeout": "5s"}}))
    ended = run("check", "-c", str(path))
    assert ended.code == 1
    assert "cluster main: reached" in ended.output
    assert "cluster nowhere: not reached" in ended.output
    assert "refused" in ended.output
    assert "Traceback" not in ended.output


@FRAGILE
def test_check_ends_where_a_broker_hangs(fragile_kafka: KafkaCluster, tmp_path: Path) -> None:
    ended = check_beside_a_frozen_broker(fragile_kafka, tmp_path)
    assert ended.code == 1
    assert "not reached" in ended.output
