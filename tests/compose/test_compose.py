"""test-stack/compose.yaml, as `docker compose config` reads it. KLAG_TEST_COMPOSE names Compose's program."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from klag_trio.config import read_config
from stack.grafana.dashboard import VARIABLES

STACK = Path(__file__).parents[2] / "test-stack"
FILE = STACK / "compose.yaml"
WANTED = {"kafka", "load", "klag-trio", "otel-collector", "prometheus", "grafana", "kafka-ui"}
# Its image holds nothing that could ask.
UNASKED = {"otel-collector"}
Service = dict[str, Any]


def compose_config(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [os.environ["KLAG_TEST_COMPOSE"], "-f", str(file), "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    done = compose_config(FILE)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found: dict[str, Service] = json.loads(done.stdout)["services"]
    return found


def test_the_whole_stack_is_there(services: dict[str, Service]) -> None:
    assert WANTED == set(services)


def test_a_key_that_compose_does_not_know_is_refused(tmp_path: Path) -> None:
    """What passes is checked against the schema of Compose files."""
    wrong = tmp_path / "compose.yaml"
    wrong.write_text("services: {a: {image: b, healthchek: {disable: true}}}")
    done = compose_config(wrong)
    assert done.returncode != 0
    assert "healthchek" in done.stderr


def test_every_image_is_pinned_or_built_here(services: dict[str, Service]) -> None:
    for name, service in services.items():
        if "build" in service:
            assert (Path(service["build"]["context"]) / service["build"]["dockerfile"]).is_file(), name
        else:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_every_service_that_can_say_how_it_is_does(services: dict[str, Service]) -> None:
    unasked = {name for name, service in services.items() if service["healthcheck"].get("disable")}
    assert UNASKED == unasked


def test_nothing_waits_for_the_health_of_what_has_none(services: dict[str, Service]) -> None:
    for service in services.values():
        for other, wait in service.get("depends_on", {}).items():
            assert wait["condition"] != "service_healthy" or other not in UNASKED


def test_every_mounted_file_exists_and_is_read_only(services: dict[str, Service]) -> None:
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    assert mounts
    for mount in mounts:
        assert Path(mount["source"]).exists(), mount
        assert mount["read_only"], mount


def test_everything_listens_on_loopback_only_and_on_a_port_of_its_own(services: dict[str, Service]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {"127.0.0.1"} == {port["host_ip"] for port in ports}
    published = [port["published"] for port in ports]
    assert len(published) == len(set(published))


def test_klag_trio_takes_its_configuration_and_names_services_of_the_stack(
    services: dict[str, Service],
) -> None:
    config = read_config(STACK / "compose" / "klag-trio.toml", {})
    assert ["kafka:9092"] == [cluster.bootstrap_servers for cluster in config.clusters]
    assert "http://otel-collector:4317" == config.exporter.otel.endpoint
    assert "0.0.0.0:4317" == services["otel-collector"]["environment"]["OTLP_LISTEN"]
    assert config.exporter.http_port == services["klag-trio"]["ports"][0]["target"]


def test_prometheus_scrapes_services_of_the_stack(services: dict[str, Service]) -> None:
    config = yaml.safe_load((STACK / "prometheus" / "prometheus.yml").read_text())
    jobs = [scrape["static_configs"] for scrape in config["scrape_configs"]]
    targets = {target for [static] in jobs for target in static["targets"]}
    assert {"klag-trio:8000", "otel-collector:8889"} == targets
    assert "0.0.0.0:8889" == services["otel-collector"]["environment"]["PROMETHEUS_LISTEN"]


def test_prometheus_takes_its_configuration_and_the_rules_it_names() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(STACK / "prometheus" / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 rule files found" in done.stdout


def test_grafana_finds_the_dashboard_and_its_data_source(services: dict[str, Service]) -> None:
    provisioning = STACK / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert "http://prometheus:9090" == source["url"]
    assert source["type"] == VARIABLES[0]["query"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "klag-trio.yaml").read_text())["providers"]
    grafana = services["grafana"]
    mounted = grafana["volumes"][0]["target"]
    assert f"{mounted}/dashboards" == provider["options"]["path"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (provisioning / home.removeprefix(f"{mounted}/")).is_file()
