"""values.schema.json and README.md: every value is there, and every wrong one is refused with its path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from tests.helm.test_configuration import KEYS, values_with

from klag_trio.config import ConfigError, load_config
from klag_trio.config.durations import NANOSECONDS, parse_duration
from stack.chart.derived import derived, documented_values, left_over
from stack.chart.rendering import CHART, RefusedError, template

DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())

_HASH = "EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW"
# The path and the value of what is wrong.
WRONG: list[tuple[str, Any]] = [
    ("bootstrapServers", 9092),
    ("bootstrapServers", "kafka:99999"),
    ("bootstrapServers", "kafka:9092, ,"),
    ("bootstrap_servers", "kafka:9092"),
    ("clusterName", " "),
    ("replicaCount", "2"),
    ("replicaCount", -1),
    ("replicaCount", 1.5),
    ("image", "klag-trio:1"),
    ("image.tag", 1.0),
    ("image.tag", "a b"),
    ("image.digest", "sha256:12"),
    ("image.pullPolicy", "Sometimes"),
    ("image.repo", "klag-trio"),
    ("imagePullSecrets.0", "registry"),
    ("imagePullSecrets.0.nam", "registry"),
    ("fullnameOverride", "Upper"),
    ("commonLabels.team", "not a label"),
    ("commonLabels.count", 1),
    ("commonAnnotations.a", True),
    ("logLevel", "warning"),
    ("logFormat", "logfmt"),
    ("extraArgs", "--log-level=debug"),
    ("extraEnv.0.nome", "X"),
    ("extraEnv.0.value", 1),
    ("envFromSecrets.0", "kafka-login"),
    ("envFromSecrets.0.optional", "yes"),
    ("customSecretVolumes.0.mountPath", "etc"),
    ("customSecretVolumes.0.defaultMode", 4096),
    ("extraVolumes.0.emptydir", {}),
    ("extraVolumeMounts.0.readonly", True),
    ("extraContainers.0.ports.0.containerPort", "http"),
    ("initContainers.0.cmd", []),
    ("serviceAccount.create", "true"),
    ("serviceAccount.automount", "no"),
    ("rbac.enabled", True),
    ("service.type", "clusterIP"),
    ("service.port", 0),
    ("service.port", 70000),
    ("service.port", "http"),
    ("service.nodePort", "30000"),
    ("resources.limit", {}),
    ("resources.limits.memory", True),
    ("podSecurityContext.runAsUser", "root"),
    ("podSecurityContext.seccompProfile.Type", "RuntimeDefault"),
    ("securityContext.priviledged", True),
    ("securityContext.capabilities.drop", "ALL"),
    ("livenessProbe.httpGet.path", 1),
    ("livenessProbe.periods", 1),
    ("readinessProbe.periodSeconds", "5s"),
    ("startupProbe.failureThreshold", "many"),
    ("lifecycle.preStop.sleep.seconds", "3"),
    ("terminationGracePeriodSeconds", "30s"),
    ("strategy.rollingUpdate.surge", 1),
    ("revisionHistoryLimit", -1),
    ("podAntiAffinity", "preferred"),
    ("affinity.podAffinities", {}),
    ("topologySpreadConstraints.0.maxSkew", "1"),
    ("topologySpreadConstraints.0.topology", "zone"),
    ("nodeSelector.zone", 1),
    ("tolerations.0.efect", "NoSchedule"),
    ("hostAliases.0.host", "kafka"),
    ("dnsPolicy", "None of these"),
    ("dnsConfig.options.0.nam", "ndots"),
    ("web.config.tls", {}),
    ("web.config.rate_limit", {}),
    ("web.config.tls_server_config.cert_fil", "server.crt"),
    ("web.config.tls_server_config.cert", "server.crt"),
    ("web.config.tls_server_config.key_file", "-----BEGIN PRIVATE KEY-----"),
    ("web.config.tls_server_config.client_auth_type", "RequireAnyClientCert"),
    ("web.config.tls_server_config.client_allowed_sans", "a.example"),
    ("web.config.tls_server_config.min_version", "TLS11"),
    ("web.config.tls_server_config.max_version", 1.3),
    ("web.config.tls_server_config.cipher_suites.0", "TLS_RSA_WITH_RC4_128_SHA"),
    ("web.config.tls_server_config.prefer_server_cipher_suites", "yes"),
    ("web.config.tls_server_config.curve_preferences", ["X25519", "CurveP256"]),
    ("web.config.http_server_config.http3", True),
    ("web.config.http_server_config.headers.X-Powered-By", "klag-trio"),
    ("web.config.http_server_config.headers.X-Frame-Options", "ALLOWALL"),
    ("web.config.basic_auth_users.me", "a password in plain text"),
    ("web.config.basic_auth_users.me", f"$2y$03${_HASH}"),
    ("web.config.basic_auth_users.me", f"$2y$19${_HASH}"),
    ("web.config.basic_auth_users.me:too", f"$2y$10${_HASH}"),
    ("web.probePort", "8001"),
    ("web.existingSecretTls", "yes"),
    ("podDisruptionBudget.maxUnavailable", "half"),
    ("podDisruptionBudget.maxUnavailable", -1),
    ("podDisruptionBudget.unhealthyPodEvictionPolicy", "Never"),
    ("networkPolicy.enabled", 1),
    ("networkPolicy.ingress.from.0.podselector", {}),
    ("networkPolicy.egress.kafkaPorts.0", "9092"),
    ("networkPolicy.egress.otlpPorts.0", "4317"),
    ("networkPolicy.egress.rules.0.port", 1),
    ("serviceMonitor.interval", "30"),
    ("serviceMonitor.interval", 30),
    ("serviceMonitor.labels", ["release"]),
    ("serviceMonitor.additionalEndpointConfig.basicauth", {}),
    ("serviceMonitor.relabelings.0.action", "erase"),
    ("podMonitor.scrapeTimeout", "ten seconds"),
    ("podMonitor.metricRelabelings.0.source", "a"),
    ("prometheusRule.disabled", "KafkaConsumerDataLoss"),
    ("prometheusRule.extraGroups.0.rules.0.allert", "x"),
    ("grafanaDashboard.labels.grafana_dashboard", 1),
    ("ingress.hosts.0.paths.0.pathType", "prefix"),
    ("ingress.hosts.0.paths.0.path", "metrics"),
    ("ingress.tls.0.secret", "x"),
    ("httpRoute.parentRefs.0.gateway", "x"),
    ("httpRoute.rules.0.matches.0.path.type", "Prefix"),
    ("tests.enabled", "false"),
    ("extraObjects.0", {"kind": "ConfigMap"}),
    ("config.exporters", {}),
    ("config.exporter.pollinterval", "30s"),
    ("config.exporter.poll_interval", 30),
    ("config.exporter.poll_interval", "30"),
    ("config.exporter.poll_interval", "0s"),
    ("config.exporter.poll_interval", "30 lightyears"),
    ("config.exporter.http_port", "8000"),
    ("config.exporter.http_port", 0),
    ("config.exporter.http_host", "http://here"),
    ("config.exporter.granularity", "group"),
    ("config.exporter.timestamp_sampling.mode", "exact"),
    ("config.exporter.timestamp_sampling.enabled", "yes"),
    ("config.exporter.timestamp_sampling.rate_min_msgs_per_sec", -1),
    ("config.exporter.performance.group_fetch_retries", 101),
    ("config.exporter.performance.max_concurrent_groups", 0),
    ("config.exporter.performance.metadata_cache_ttl", "never"),
    ("config.exporter.otel.endpoint", "collector:4317"),
    ("config.exporter.otel.endpoint", "http://collector:99999"),
    ("config.exporter.otel.endpoint", "http://collector:4318/v1 metrics"),
    ("config.exporter.otel.protocol", "http"),
    ("config.exporter.otel.endpoint", "http://me:secret@collector:4317"),
    ("config.exporter.leadership.enabled", "true"),
    ("config.exporter.leadership.lease_name", "My Lease"),
    ("config.exporter.leadership.lease_namespace", "a.b"),
    ("config.exporter.leadership.lease_duration_secs", "15s"),
    ("config.exporter.leadership.provider", "etcd"),
    ("config.clusters.0.bootstrap_server", "kafka:9092"),
    ("config.clusters.0.bootstrap_servers", ["kafka:9092"]),
    ("config.clusters.0.group_whitelist", ".*"),
    ("config.clusters.0.topic_blacklist.0", 1),
    ("config.clusters.0.consumer_properties.retries", [1]),
    ("config.clusters.0.consumer_properties.group id", "x"),
    ("config.clusters.0.labels.environment", 1),
    ("config.clusters.0.labels.topic", "x"),
    ("config.clusters.0.labels.1st", "x"),
    ("config.clusters.0.labels.__x", "x"),
]
COMPLETIONS: dict[str, Any] = {
    "config.clusters.0": {"name": "a", "bootstrap_servers": "kafka:9092"},
    "customSecretVolumes.0": {"name": "a", "secretName": "a", "mountPath": "/a"},
    "extraEnv.0": {"name": "A"},
    "extraVolumes.0": {"name": "a"},
    "extraVolumeMounts.0": {"name": "a", "mountPath": "/a"},
    "extraContainers.0": {"name": "a"},
    "initContainers.0": {"name": "a"},
    "envFromSecrets.0": {"name": "a"},
    "imagePullSecrets.0": {"name": "a"},
    "topologySpreadConstraints.0": {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway"},
    "ingress.hosts.0.paths.0": {"path": "/", "pathType": "Exact"},
    "httpRoute.parentRefs.0": {"name": "gateway"},
    "prometheusRule.extraGroups.0": {"name": "a"},
    "prometheusRule.extraGroups.0.rules.0": {"expr": "1"},
    "hostAliases.0": {"ip": "10.0.0.1"},
}


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(SCHEMA)


def values_of(path: str, value: Any) -> dict[str, Any]:
    """Values in which all is right but what is at this path."""
    steps = path.split(".")
    built: Any = value
    for at in range(len(steps) - 1, -1, -1):
        above = ".".join(steps[:at])
        built = [built] if steps[at].isdigit() else {**COMPLETIONS.get(above, {}), steps[at]: built}
    result: dict[str, Any] = {"bootstrapServers": "kafka:9092", **built}
    return result


def json_pointer(path: str) -> str:
    return "/" + path.replace(".", "/")


def test_the_defaults_are_good_values() -> None:
    assert [] == [error.message for error in validator().iter_errors(DEFAULTS)]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{path}={value}" for path, value in WRONG])
def test_helm_refuses_a_wrong_value_and_names_its_path(path: str, value: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        template(values_of(path, value))
    above, _, name = path.rpartition(".")
    said = str(refused.value)
    unknown = f"additional properties '{name}' not allowed"
    where = json_pointer(path) if unknown not in said else json_pointer(above) if above else ""
    assert f"at '{where}': " in said
    # Nothing else is wrong.
    assert 1 == said.count("\n- at '"), said


@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list", "plugin.library.paths"])
def test_helm_refuses_a_property_that_klag_trio_refuses(name: str) -> None:
    cluster = {"name": "a", "bootstrap_servers": "kafka:9092", "consumer_properties": {name: "x"}}
    with pytest.raises(RefusedError) as refused:
        template({"config": {"clusters": [cluster]}})
    assert f"at '/config/clusters/0/consumer_properties/{name}': false schema" in str(refused.value)


_A = {"name": "a", "bootstrap_servers": "k:1"}
_B = {"name": "b", "bootstrap_servers": "k:1"}


@pytest.mark.parametrize(
    "config",
    [
        {"exporter": {"staleness_threshold": "29s"}},
        {"exporter": {"poll_interval": "1m", "staleness_threshold": "59.9s"}},
        {"exporter": {"poll_interval": "1M", "staleness_threshold": "4 weeks 2days"}},
        {"exporter": {"leadership": {"grace_period_secs": 15}}},
        {"exporter": {"leadership": {"lease_duration_secs": 5}}},
        {"clusters": [_A, _B, _A]},
    ],
)
def test_helm_refuses_what_contradicts_itself_as_klag_trio_does(config: dict[str, Any]) -> None:
    config = {"exporter": {}, "clusters": [_A], **config}
    with pytest.raises(ConfigError) as expected:
        load_config(_toml(config), {})
    (problem,) = expected.value.problems
    with pytest.raises(RefusedError) as refused:
        template({"config": config})
    assert f"config.{problem.path}: {problem.message}" in str(refused.value)


def test_a_cluster_cannot_have_the_name_of_that_of_bootstrap_servers() -> None:
    values = {"bootstrapServers": "k:1", "clusterName": "b", "config": {"clusters": [_A, _B]}}
    with pytest.raises(RefusedError, match=r"config\.clusters\[1\]\.name: .* than clusterName has"):
        template(values)
    assert template({**values, "bootstrapServers": ""}).config


@pytest.mark.parametrize(
    "exporter",
    [
        {"poll_interval": "20s", "staleness_threshold": "20000 ms"},
        {"poll_interval": "0.1s", "staleness_threshold": "100ms"},
        {"poll_interval": "7h"},
        {"poll_interval": "${INTERVAL:-20s}", "staleness_threshold": "10s"},
        {"poll_interval": "20s", "staleness_threshold": "${THRESHOLD}"},
    ],
)
def test_a_threshold_that_may_be_as_long_as_the_interval_is_taken(exporter: dict[str, str]) -> None:
    assert template({"config": {"exporter": exporter, "clusters": [_A]}}).config


def test_a_duration_is_as_long_to_helm_as_to_klag_trio(tmp_path: Path) -> None:
    durations = [*(f"1.5{unit}" for unit in NANOSECONDS), "0", " 1h 30m ", "2m3s", "0.25 y1ms"]
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    each = "".join(
        f'\n- {{{{ include "klag-trio.nanoseconds" (dict "root" $ "duration" {json.dumps(text)}) }}}}'
        for text in durations
    )
    (chart / "templates" / "durations.yaml").write_text(f"kind: Durations\nnanoseconds:{each}\n")
    found = template({"bootstrapServers": "k:1"}, chart=chart).the("Durations")["nanoseconds"]
    assert [parse_duration(text) for text in durations] == [
        pytest.approx(float(item) / 1e9) for item in found
    ]


# What one of the keys takes, or none does.
CANDIDATES: list[Any] = [
    *(True, False, 0, 1, -1, 15, 101, 1.5, 2_000_000, "", " ", "x", "30s", "1m 30s", "0s", "0", "5", "1h2"),
    *("rate", "message", "topic", "partition", "kubernetes", "true", "http://a:1", "https://a", "a:1,b:2"),
    *("http://[::1]:1/", "http://::1", "http://a:0", "http://a:65536", "http://a:x", "http://a b"),
    *("http://a:1/v1/metrics?b#c", "http://a/b c", "http://a@b/", "grpc", "http/protobuf", "http", "GRPC"),
    *("::1", "[::1]", "my_host", "a b", "A.b", "-a", [], ["a"], [1], {}, {"a": "b"}, {"a": 1}),
]
# klag-exporter's chart leaves names of the Lease empty, and the container's port is a fixed one.
CHARTS_OWN: dict[str, list[Any]] = {
    "exporter.http_port": [0],
    "exporter.leadership.lease_name": [""],
    "exporter.leadership.lease_namespace": [""],
    # The other key of the two has its default here; the templates compare them.
    "exporter.leadership.lease_duration_secs": [1],
    "exporter.leadership.grace_period_secs": [15, 101],
}


@pytest.mark.parametrize(("path", "field"), KEYS, ids=[path for path, _ in KEYS])
def test_the_schema_takes_a_value_where_klag_trio_does(path: str, field: Any) -> None:
    def differs(candidate: Any) -> bool:
        values = values_with(path, candidate)
        return validator().is_valid(values) != _loads(values)

    found = [candidate for candidate in CANDIDATES if differs(candidate)]
    # 1 == True, but not in JSON.
    assert json.dumps(CHARTS_OWN.get(path, [])) == json.dumps(found)


def _loads(values: dict[str, Any]) -> bool:
    try:
        load_config(_toml(values["config"]), {})
    except ConfigError:
        return False
    return True


def _toml(config: dict[str, Any]) -> str:
    """The same as the chart writes, quicker than by Helm."""
    return "\n".join(
        [
            *(f"exporter.{path} = {_spelled(value)}" for path, value in _leaves(config["exporter"])),
            *(
                line
                for cluster in config["clusters"]
                for line in (
                    "[[clusters]]",
                    *(f"{key} = {_spelled(value)}" for key, value in cluster.items()),
                )
            ),
        ]
    )


def _leaves(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and name in ("timestamp_sampling", "performance", "otel", "leadership"):
            yield from ((f"{name}.{path}", below) for path, below in _leaves(value))
        else:
            yield name, value


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_spelled(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def test_every_value_is_in_the_schema_and_in_the_readme() -> None:
    documented = {path for path, _, _ in documented_values()}
    readme = (CHART / "README.md").read_text()

    def undocumented(values: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[str]:
        for name, value in values.items():
            path = f"{above}{name}"
            if path in documented:
                assert f"| `{path}` |" in readme
            elif isinstance(value, dict) and value:
                yield from undocumented(value, schema["properties"][name], f"{path}.")
            else:
                yield path
        # Nor does the schema know of a value that values.yaml does not show.
        shown = (
            set(values) | {"global"} | {name for name in schema["properties"] if name.startswith("exporter.")}
        )
        yield from (f"{above}{name}" for name in set(schema["properties"]) - shown)

    assert [] == list(undocumented(DEFAULTS, SCHEMA))


def test_every_key_of_the_configuration_is_in_the_readme() -> None:
    readme = (CHART / "README.md").read_text()
    rows = {path.replace("clusters.", "clusters[].") for path, _ in KEYS}
    assert set() == {path for path in rows if f"| `config.{path}` |" not in readme}


def test_what_is_derived_is_as_it_would_be_derived_now() -> None:
    """`make chart` writes it anew."""
    stale = [file.name for file, content in derived().items() if file.read_text() != content]
    assert [] == stale + left_over()


def test_plain_manifests_bear_no_mark_of_helm() -> None:
    manifests = list((CHART.parent / "manifests").glob("*.yaml"))
    assert 3 == len(manifests)
    assert [] == [
        file.name for file in manifests if "helm.sh" in file.read_text() or ": Helm" in file.read_text()
    ]
