"""values.schema.json: what the chart's values may be, strictly.

What goes into objects as it is has Kubernetes' schemas.
"""

from __future__ import annotations

from typing import Any

from .config_schema import (
    BOOLEAN,
    BOOTSTRAP,
    CONFIG,
    FILLED,
    FROM_ENVIRONMENT,
    PORT,
    Schema,
    array,
    choice,
    table,
    text,
)
from .strict import custom_resource, definitions
from .web_schema import WEB_CONFIG

_DURATION = "^(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?$"
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def kubernetes(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def core(name: str) -> Schema:
    return kubernetes(f"io.k8s.api.core.v1.{name}")


NAME = text(_DNS_LABEL) | {"maxLength": 253}
# Such as exporters.internal: the name of an object may have dots.
OBJECT_NAME = text(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$") | {"maxLength": 253}
OR_EMPTY = text(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$") | {"maxLength": 253}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
LABELS: Schema = {
    "type": "object",
    "additionalProperties": text("^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"),
}
ANNOTATIONS = STRINGS


_SOURCE = table({"name": OBJECT_NAME, "optional": BOOLEAN, "prefix": text()}, required=("name",))
_PERCENT_OR_COUNT: Schema = {"type": ["integer", "string", "null"], "minimum": 0, "pattern": "^[0-9]+%$"}


def _monitor(kind: str, endpoints: str) -> Schema:
    endpoint = custom_resource("monitoring.coreos.com", "v1", kind)["properties"]["spec"]["properties"]
    fields = endpoint[endpoints]["items"]["properties"]
    labels = "targetLabels" if kind == "ServiceMonitor" else "podTargetLabels"
    return table(
        {
            "enabled": BOOLEAN,
            "namespace": OR_EMPTY,
            "labels": LABELS,
            "annotations": ANNOTATIONS,
            "interval": text(_DURATION),
            "scrapeTimeout": text(_DURATION),
            "honorLabels": BOOLEAN,
            labels: array(text()),
            "relabelings": fields["relabelings"],
            "metricRelabelings": fields["metricRelabelings"],
            "additionalEndpointConfig": table(fields),
        }
    )


def _sources(items: Schema) -> Schema:
    """A list; or {}, as klag-exporter's chart spells an empty one."""
    return {"type": ["array", "object"], "items": items, "maxProperties": 0}


def values_schema() -> Schema:
    """The schema of the values, with the parts of Kubernetes' schemas that it needs."""
    route = custom_resource("gateway.networking.k8s.io", "v1", "HTTPRoute")["properties"]["spec"][
        "properties"
    ]
    groups = custom_resource("monitoring.coreos.com", "v1", "PrometheusRule")["properties"]["spec"][
        "properties"
    ]
    schema = table(
        {
            "bootstrapServers": text(f"^({BOOTSTRAP})?$|{FROM_ENVIRONMENT}"),
            "clusterName": FILLED,
            "config": CONFIG,
            "replicaCount": {"type": "integer", "minimum": 0, "maximum": 100},
            "image": table(
                {
                    "repository": text(r"^[a-z0-9][a-zA-Z0-9._/:-]*$"),
                    "tag": text(r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"),
                    "digest": text(r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})?$"),
                    "pullPolicy": choice("Always", "IfNotPresent", "Never"),
                }
            ),
            "imagePullSecrets": array(table({"name": OBJECT_NAME}, required=("name",))),
            "nameOverride": OR_EMPTY,
            "fullnameOverride": OR_EMPTY,
            "commonLabels": LABELS,
            "commonAnnotations": ANNOTATIONS,
            "logLevel": choice("trace", "debug", "info", "warn", "error"),
            "logFormat": choice("text", "json"),
            "extraArgs": array(text()),
            "envFromSecrets": _sources(_SOURCE),
            "envFromConfigMaps": _sources(_SOURCE),
            "extraEnv": array(core("EnvVar")),
            "customSecretVolumes": _sources(
                table(
                    {
                        "name": NAME | {"maxLength": 63},
                        "secretName": OBJECT_NAME,
                        "mountPath": text("^/"),
                        "readOnly": BOOLEAN,
                        "useSubPaths": BOOLEAN,
                        "items": array(core("KeyToPath")),
                        "defaultMode": {"type": "integer", "minimum": 0, "maximum": 0o777},
                        "optional": BOOLEAN,
                    },
                    required=("name", "secretName", "mountPath"),
                )
            ),
            "extraVolumes": array(core("Volume")),
            "extraVolumeMounts": array(core("VolumeMount")),
            "extraContainers": array(core("Container")),
            "initContainers": array(core("Container")),
            "serviceAccount": table(
                {
                    "create": BOOLEAN,
                    "automount": {"type": ["boolean", "null"]},
                    "annotations": ANNOTATIONS,
                    "name": OR_EMPTY,
                }
            ),
            "rbac": table({"create": BOOLEAN}),
            "service": table(
                {
                    "type": choice("ClusterIP", "NodePort", "LoadBalancer"),
                    "port": PORT,
                    "nodePort": PORT | {"type": ["integer", "null"]},
                    "clusterIP": text("^(None|[0-9A-Fa-f:.]+)?$"),
                    "ipFamilyPolicy": choice("", "SingleStack", "PreferDualStack", "RequireDualStack"),
                    "labels": LABELS,
                    "annotations": ANNOTATIONS,
                }
            ),
            "resources": core("ResourceRequirements"),
            "podSecurityContext": core("PodSecurityContext"),
            "securityContext": core("SecurityContext"),
            "livenessProbe": core("Probe"),
            "readinessProbe": core("Probe"),
            "startupProbe": core("Probe"),
            "lifecycle": core("Lifecycle"),
            "terminationGracePeriodSeconds": {"type": "integer", "minimum": 0},
            "strategy": kubernetes("io.k8s.api.apps.v1.DeploymentStrategy"),
            "revisionHistoryLimit": {"type": "integer", "minimum": 0},
            "deploymentLabels": LABELS,
            "deploymentAnnotations": ANNOTATIONS,
            "podLabels": LABELS,
            "podAnnotations": ANNOTATIONS,
            "podAntiAffinity": choice("soft", "hard", "none"),
            "affinity": core("Affinity"),
            "topologySpreadConstraints": array(core("TopologySpreadConstraint")),
            "nodeSelector": LABELS,
            "tolerations": array(core("Toleration")),
            "priorityClassName": OR_EMPTY,
            "runtimeClassName": OR_EMPTY,
            "hostAliases": array(core("HostAlias")),
            "dnsPolicy": choice("", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
            "dnsConfig": core("PodDNSConfig"),
            "web": table(
                {
                    "config": WEB_CONFIG,
                    "existingSecret": OR_EMPTY,
                    "existingSecretKey": text("^[-._a-zA-Z0-9]+$"),
                    "existingSecretTls": BOOLEAN,
                    "probePort": PORT,
                }
            ),
            "podDisruptionBudget": table(
                {
                    "enabled": BOOLEAN,
                    "maxUnavailable": _PERCENT_OR_COUNT,
                    "minAvailable": _PERCENT_OR_COUNT,
                    "unhealthyPodEvictionPolicy": choice("AlwaysAllow", "IfHealthyBudget"),
                }
            ),
            "networkPolicy": table(
                {
                    "enabled": BOOLEAN,
                    "ingress": table(
                        {"from": array(kubernetes("io.k8s.api.networking.v1.NetworkPolicyPeer"))}
                    ),
                    "egress": table(
                        {
                            "enabled": BOOLEAN,
                            "kafkaPorts": array(PORT),
                            "otlpPorts": array(PORT),
                            "kubernetesPorts": array(PORT),
                            "rules": array(kubernetes("io.k8s.api.networking.v1.NetworkPolicyEgressRule")),
                        }
                    ),
                }
            ),
            "serviceMonitor": _monitor("ServiceMonitor", "endpoints"),
            "podMonitor": _monitor("PodMonitor", "podMetricsEndpoints"),
            "prometheusRule": table(
                {
                    "enabled": BOOLEAN,
                    "namespace": OR_EMPTY,
                    "labels": LABELS,
                    "annotations": ANNOTATIONS,
                    "ruleLabels": STRINGS,
                    "disabled": array(text()),
                    "extraGroups": groups["groups"],
                }
            ),
            "grafanaDashboard": table(
                {"enabled": BOOLEAN, "namespace": OR_EMPTY, "labels": LABELS, "annotations": ANNOTATIONS}
            ),
            "ingress": table(
                {
                    "enabled": BOOLEAN,
                    "className": OR_EMPTY,
                    "labels": LABELS,
                    "annotations": ANNOTATIONS,
                    "hosts": array(
                        table(
                            {
                                "host": text(),
                                "paths": array(
                                    table(
                                        {
                                            "path": text("^/"),
                                            "pathType": choice("Exact", "Prefix", "ImplementationSpecific"),
                                        },
                                        required=("path", "pathType"),
                                    )
                                ),
                            },
                            required=("paths",),
                        )
                    ),
                    "tls": array(kubernetes("io.k8s.api.networking.v1.IngressTLS")),
                }
            ),
            "httpRoute": table(
                {
                    "enabled": BOOLEAN,
                    "labels": LABELS,
                    "annotations": ANNOTATIONS,
                    "parentRefs": route["parentRefs"],
                    "hostnames": route["hostnames"],
                    "rules": route["rules"],
                }
            ),
            "tests": table({"enabled": BOOLEAN}),
            "extraObjects": array({"type": "object", "required": ["apiVersion", "kind"]}),
            # Helm hands these to every chart.
            "global": {"type": "object"},
        }
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the klag-trio chart",
        **_lean(schema, nulls=True),
        "$defs": _definitions(schema),
    }


def _definitions(schema: Schema) -> Schema:
    """All of Kubernetes' definitions that a schema refers to, and those that these refer to."""
    known, needed = definitions(), list(_references(schema))
    found: Schema = {}
    while needed:
        name = needed.pop()
        if name not in found:
            found[name] = _lean(known[name])
            needed += _references(found[name])
    return dict(sorted(found.items()))


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item)]
    if not isinstance(schema, dict):
        return []
    if isinstance(reference := schema.get("$ref"), str):
        return [reference.rpartition("/")[2]]
    return [name for item in schema.values() for name in _references(item)]


_LEFT_OUT = ("description", "format", "default")


def _lean(schema: Any, *, nulls: bool = False) -> Any:
    """A schema without what only explains, and with references into this file.

    Kubernetes' definitions take null for whatever may be left out; in values nobody means that.
    """
    if isinstance(schema, list):
        return [_lean(item, nulls=nulls) for item in schema]
    if not isinstance(schema, dict):
        return schema
    lean: Schema = {}
    for name, item in schema.items():
        if name == "properties":
            lean[name] = {field: _lean(below, nulls=nulls) for field, below in item.items()}
        elif name == "$ref":
            lean[name] = f"#/$defs/{item.rpartition('/')[2]}"
        elif name == "type" and isinstance(item, list) and not nulls:
            types = [kind for kind in item if kind != "null"]
            lean[name] = types[0] if len(types) == 1 else types
        elif name not in _LEFT_OUT and not name.startswith("x-"):
            lean[name] = _lean(item, nulls=nulls)
    return lean
