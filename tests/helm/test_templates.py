"""What Helm makes of the chart with the values in tests/helm/values.

After a change that is meant, write the golden files anew and read the diff:

    KLAG_UPDATE_GOLDEN=1 .venv/bin/pytest tests/helm/test_templates.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.program.program import config_text, running

from klag_trio.config import load_config
from klag_trio.config.schema import Exporter, Otel
from klag_trio.otlp.settings import Protocol, read_settings
from stack import ROOT
from stack.chart.rendering import CHART, RefusedError, Release, lint, template
from stack.chart.strict import mistakes

VALUES_FOLDER = Path(__file__).parent / "values"
VALUES = sorted(VALUES_FOLDER.glob("*.yaml"))
each_values = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


@cache
def rendered(values: Path) -> Release:
    return template(values)


@each_values
def test_helm_lint_has_nothing_to_say(values: Path) -> None:
    assert "0 chart(s) failed" in lint(values)


@each_values
def test_every_object_is_what_kubernetes_takes_and_has_no_field_that_it_does_not_know(values: Path) -> None:
    objects = rendered(values).objects
    assert objects
    assert [] == [mistake for item in objects for mistake in mistakes(item)]


def test_there_are_many_values_to_try() -> None:
    assert len(VALUES) >= 12


@pytest.mark.parametrize("name", ["one-line", "two-replicas", "everything"])
def test_what_is_rendered_is_what_the_golden_file_holds(name: str) -> None:
    text = rendered(VALUES_FOLDER / f"{name}.yaml").text
    golden = Path(__file__).parent / "golden" / f"{name}.yaml"
    # The dashboard and the rules are compared with their source below.
    shown = re.sub(r"(?m)^( +kafka-lag\.json: \|\n)(?: {4}.*\n|\n)+", r"\1    ...\n", text)
    shown = re.sub(r"(?m)^( +groups:\n)(?:    [- ].*\n)+", r"\1    ...\n", shown)
    if os.environ.get("KLAG_UPDATE_GOLDEN"):
        golden.write_text(shown)
    assert golden.read_text() == shown


def nulls(item: Any, path: str = "") -> Iterator[str]:
    if item is None:
        yield path
    for name, below in (
        item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    ):
        yield from nulls(below, f"{path}.{name}")


@each_values
def test_no_field_is_null(values: Path) -> None:
    assert [] == [path for item in rendered(values).objects for path in nulls(item, item["kind"])]


@each_values
def test_every_object_bears_the_labels_that_kubernetes_recommends(values: Path) -> None:
    own = [
        item
        for item in rendered(values).objects
        if not item["metadata"]["name"].endswith(("-notes", "-test"))
    ]
    expected = {"app.kubernetes.io/" + name for name in ("name", "instance", "version", "managed-by")}
    assert [] == [item["kind"] for item in own if not expected <= item["metadata"]["labels"].keys()]


def pods(release: Release) -> list[dict[str, Any]]:
    deployed = release.the("Deployment")["spec"]["template"]["spec"]
    return [deployed, *(item["spec"] for item in release.all("Pod"))]


@each_values
def test_pods_satisfy_the_standard_restricted(values: Path) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    volumes = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for pod in pods(rendered(values)):
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert "RuntimeDefault" == pod["securityContext"]["seccompProfile"]["type"]
        assert {key for item in pod.get("volumes", []) for key in item} - {"name"} <= volumes
        # Containers that values add answer for themselves.
        (own,) = (item for item in pod["containers"] if item["name"] in ("klag-trio", "ask"))
        assert {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        } == own["securityContext"]
        assert own["resources"]["requests"].keys() == {"cpu", "memory"}


@each_values
def test_the_test_pod_is_nobodys_backend(values: Path) -> None:
    release = rendered(values)
    selector = release.the("Service")["spec"]["selector"]
    assert selector == release.the("Deployment")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= release.the("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    for pod in release.all("Pod"):
        assert not selector.items() <= pod["metadata"]["labels"].items()


@each_values
def test_mounts_have_a_volume_and_probes_a_port(values: Path) -> None:
    release = rendered(values)
    volumes = {item["name"] for item in release.pod["volumes"]}
    assert {item["name"] for item in release.container["volumeMounts"]} <= volumes
    ports = {item["name"] for item in release.container["ports"]}
    for probe in ("livenessProbe", "readinessProbe"):
        assert release.container[probe]["httpGet"]["port"] in ports


def the(name: str) -> Release:
    return rendered(VALUES_FOLDER / f"{name}.yaml")


def test_one_replica_is_asked_for_ready_and_asks_nothing_of_kubernetes() -> None:
    release = the("one-line")
    assert "/ready" == release.container["readinessProbe"]["httpGet"]["path"]
    assert release.pod["automountServiceAccountToken"] is False
    assert "Recreate" == release.the("Deployment")["spec"]["strategy"]["type"]
    assert [] == release.all("Role") + release.all("PodDisruptionBudget")


def test_a_standby_is_a_good_pod() -> None:
    release = the("two-replicas")
    assert "/health" == release.container["readinessProbe"]["httpGet"]["path"]
    assert release.pod["automountServiceAccountToken"] is True
    assert {"maxSurge": 1, "maxUnavailable": 0} == release.the("Deployment")["spec"]["strategy"][
        "rollingUpdate"
    ]
    assert 1 == release.the("PodDisruptionBudget")["spec"]["maxUnavailable"]


def test_the_role_is_for_one_lease() -> None:
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert [
        {**leases, "resourceNames": ["lag-klag-trio"], "verbs": ["get", "update"]},
        {**leases, "verbs": ["create"]},
    ] == the("two-replicas").the("Role")["rules"]


def test_the_role_is_where_the_lease_is() -> None:
    release = the("lease-elsewhere")
    for kind in ("Role", "RoleBinding"):
        assert "locks" == release.the(kind)["metadata"]["namespace"]
    assert "monitoring" == release.the("RoleBinding")["subjects"][0]["namespace"]
    assert ["shared"] == release.the("Role")["rules"][0]["resourceNames"]


def test_a_changed_configuration_restarts_the_pods_and_nothing_else_does() -> None:
    def checksum(*sets: str) -> str:
        release = template(VALUES_FOLDER / "one-line.yaml", sets=sets)
        found: str = release.the("Deployment")["spec"]["template"]["metadata"]["annotations"][
            "checksum/config"
        ]
        return found

    assert checksum() == checksum("service.port=80")
    assert checksum() != checksum("config.exporter.poll_interval=10s")


def test_values_of_klag_exporters_chart_keep_its_selector() -> None:
    selector = the("klag-exporter").the("Deployment")["spec"]["selector"]["matchLabels"]
    expected = {"app.kubernetes.io/name": "klag-exporter", "app.kubernetes.io/instance": "lag"}
    assert expected == selector


def test_what_klag_exporters_chart_leaves_empty_may_stay_so() -> None:
    empty: dict[str, Any] = {
        name: {} for name in ("customSecretVolumes", "envFromSecrets", "envFromConfigMaps")
    }
    plain = {"bootstrapServers": "k:1"}
    assert template(plain).text == template({**plain, **empty}).text


def test_the_rules_and_the_dashboard_are_those_of_the_test_stack() -> None:
    stack = ROOT / "test-stack"
    groups = [
        group
        for file in sorted((stack / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
    ]
    release = template(
        {
            "bootstrapServers": "k:1",
            "prometheusRule": {"enabled": True},
            "grafanaDashboard": {"enabled": True},
        }
    )
    assert groups == release.the("PrometheusRule")["spec"]["groups"]
    (dashboard,) = (
        item for item in release.all("ConfigMap") if item["metadata"]["name"].endswith("-dashboard")
    )
    source = stack / "grafana" / "provisioning" / "dashboards" / "kafka-lag.json"
    assert source.read_text().strip() == dashboard["data"]["kafka-lag.json"].strip()


def test_an_alert_can_be_left_out_and_all_can_be_labelled() -> None:
    def alerts(name: str) -> dict[str, Any]:
        groups = the(name).the("PrometheusRule")["spec"]["groups"]
        return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}

    assert {"KafkaConsumerDataLoss", "OrdersBehind"} == alerts("everything").keys() - alerts(
        "rules-chosen"
    ).keys()
    labelled = {
        name for name, rule in alerts("everything").items() if rule["labels"].get("team") == "streams"
    }
    assert {"OrdersBehind"} == alerts("everything").keys() - labelled


def test_an_alert_that_is_not_there_cannot_be_left_out() -> None:
    with pytest.raises(RefusedError, match=r"prometheusRule\.disabled: there is no alert KafkaTypo"):
        template({"bootstrapServers": "k:1", "prometheusRule": {"enabled": True, "disabled": ["KafkaTypo"]}})


def with_leadership(**leadership: int) -> dict[str, Any]:
    return {
        "bootstrapServers": "k:1",
        "config": {"exporter": {"leadership": {"enabled": True, **leadership}}},
    }


@pytest.mark.parametrize(
    "leadership",
    [
        {"lease_duration_secs": 5},
        {"grace_period_secs": 15},
        {"grace_period_secs": 7, "lease_duration_secs": 7},
    ],
)
def test_a_lease_that_would_run_out_before_it_is_renewed_is_refused(leadership: dict[str, int]) -> None:
    with pytest.raises(RefusedError, match="grace_period_secs: expected less than lease_duration_secs"):
        template(with_leadership(**leadership))


@pytest.mark.parametrize("duration", [1, 5])
def test_a_lease_may_be_held_to_its_very_end(duration: int) -> None:
    config = template(with_leadership(grace_period_secs=0, lease_duration_secs=duration)).config
    leadership = load_config(config, {}).exporter.leadership
    assert (0, duration) == (leadership.grace_period_secs, leadership.lease_duration_secs)


def test_both_monitors_at_once_are_refused() -> None:
    with pytest.raises(RefusedError, match="scraped twice"):
        template(
            {"bootstrapServers": "k:1", "serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
        )


def test_a_network_policy_lets_through_what_the_configuration_needs() -> None:
    egress = the("everything").the("NetworkPolicy")["spec"]["egress"]
    assert [
        [53, 53],
        [9096, 9092, 9094, 9095],
        [443, 6443],
        [4317],
        [8443],
    ] == [[item["port"] for item in rule["ports"]] for rule in egress]


def test_brokers_that_only_the_container_knows_need_a_port_in_a_network_policy() -> None:
    with pytest.raises(RefusedError, match=r"networkPolicy\.egress\.kafkaPorts"):
        template({"bootstrapServers": "${BROKERS}", "networkPolicy": {"enabled": True}})


def otlp_ports(endpoint: str | None, *given: int, protocol: Protocol = "grpc") -> list[int]:
    """What a network policy lets out, for OTLP alone."""
    otel = {"enabled": True, "endpoint": endpoint, "protocol": protocol}
    values = {
        "bootstrapServers": "k:1",
        "config": {"exporter": {"otel": {key: value for key, value in otel.items() if value is not None}}},
        "networkPolicy": {"enabled": True, "egress": {"otlpPorts": list(given)}},
    }
    _dns, _kafka, otlp = template(values).the("NetworkPolicy")["spec"]["egress"]
    return [item["port"] for item in otlp["ports"]]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    "endpoint",
    [
        None,
        "http://collector",
        "https://collector",
        "https://collector/",
        "http://collector:4317",
        "https://collector:8443/",
        "http://[2001:db8::3]",
        "https://[2001:db8::3]:4317",
    ],
)
def test_a_network_policy_lets_out_to_the_port_that_otlp_is_pushed_to(
    endpoint: str | None, protocol: Protocol
) -> None:
    exporter = Exporter(otel=Otel(enabled=True, endpoint=endpoint, protocol=protocol))
    url = urlsplit(read_settings(exporter, {}).endpoint)
    connected = url.port or {"http": 80, "https": 443}[url.scheme]
    assert [connected] == otlp_ports(endpoint, protocol=protocol)


@pytest.mark.parametrize("endpoint", ["http://${COLLECTOR}:4317", "${SCHEME}://${HOST:-a/b}:4317"])
def test_a_port_of_otlp_that_is_written_is_known_wherever_the_collector_is(endpoint: str) -> None:
    assert [4317] == otlp_ports(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    ["${ENDPOINT}", "https://${COLLECTOR}", "http://collector:${PORT}", "${ENDPOINT:-http://here:4317/}"],
)
def test_a_port_of_otlp_that_only_the_container_knows_is_needed_in_a_network_policy(endpoint: str) -> None:
    with pytest.raises(RefusedError, match=r"networkPolicy\.egress\.otlpPorts: is needed"):
        otlp_ports(endpoint)
    assert [4317, 4318] == otlp_ports(endpoint, 4317, 4318)


def test_probes_have_their_own_listener_where_there_is_a_web_config_file() -> None:
    release = the("secured")
    assert [
        "--web.config.file=/etc/klag-trio-web/web.yml",
        "--web.probe-listen-address=0.0.0.0:8001",
    ] == release.container["args"][3:]
    assert {"probes"} == {
        release.container[name]["httpGet"]["port"] for name in ("livenessProbe", "readinessProbe")
    }
    assert "https" == release.the("ServiceMonitor")["spec"]["endpoints"][0]["scheme"]
    assert "tls_server_config" in yaml.safe_load(release.the("Secret")["stringData"]["web.yml"])


@pytest.mark.parametrize(
    ("expected", "host"),
    [("[::]:8001", "::"), ("[::1]:8001", "[::1]"), ("10.0.0.1:8001", "10.0.0.1"), (":8001", "${HOST}")],
)
def test_the_probes_listen_where_the_others_do(expected: str, host: str) -> None:
    exporter = {"config": {"exporter": {"http_host": host}}}
    release = template({"bootstrapServers": "k:1", "web": {"existingSecret": "web"}, **exporter})
    assert f"--web.probe-listen-address={expected}" in release.container["args"]


def test_a_secret_that_exists_is_not_made_anew() -> None:
    release = the("secured-by-an-existing-secret")
    assert [] == release.all("Secret")
    secret = {"secretName": "klag-trio-web", "items": [{"key": "config.yaml", "path": "web.yml"}]}
    assert {"name": "web", "secret": secret} in release.pod["volumes"]


def test_the_notes_name_the_service_and_the_lease(tmp_path: Path) -> None:
    # Helm shows notes only of what it installs; here they are put into an object.
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    notes = chart / "templates" / "NOTES.txt"
    object_of_notes = 'kind: Notes\ntext: {{ include "notes" . | quote }}\n'
    notes.with_name("notes.yaml").write_text(
        f'{{{{- define "notes" -}}}}\n{notes.read_text()}\n{{{{- end }}}}\n{object_of_notes}'
    )

    def notes_with(*sets: str) -> str:
        release = template(VALUES_FOLDER / "two-replicas.yaml", chart=chart, sets=sets)
        return str(release.the("Notes")["text"])

    assert "port-forward service/lag-klag-trio 8000:8000" in notes_with()
    assert "kubectl --namespace monitoring get lease lag-klag-trio" in notes_with()
    assert "WARNING" not in notes_with()
    ready = [f"readinessProbe.httpGet.{item}" for item in ("path=/ready", "port=http")]
    assert "WARNING: readinessProbe asks /ready" in notes_with(*ready)


def test_helm_test_finds_a_running_klag_trio_good_and_nothing_else(tmp_path: Path) -> None:
    (container,) = the("one-line").the("Pod")["spec"]["containers"]
    assert ["python", "-c"] == container["command"]
    script, host, port = container["args"]
    assert ("lag-klag-trio", "8000") == (host, port)

    def ask(at: int, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, "127.0.0.1", str(at), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    with running(tmp_path, config_text([{"name": "a", "bootstrap_servers": "127.0.0.1:1"}])) as program:
        good = ask(program.port)
        assert 0 == good.returncode, good.stderr
        assert "/metrics answers 200" in good.stdout
        assert 0 == ask(program.port, "secured").returncode
        port = program.port
    assert 0 != ask(port).returncode
    assert 0 != ask(port, "secured").returncode
