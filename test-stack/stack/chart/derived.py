"""What is made from other files: the chart's schema, README, rules and dashboard, and plain manifests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from klag_trio.config.durations import NANOSECONDS
from klag_trio.config.schema import Cluster, Exporter
from stack import ROOT, TEST_STACK

from .rendering import CHART, template
from .values_schema import values_schema

MANIFESTS = ROOT / "helm" / "manifests"
_RULES = TEST_STACK / "prometheus" / "rules"
_DASHBOARD = TEST_STACK / "grafana" / "provisioning" / "dashboards" / "kafka-lag.json"
_MARK = "<!-- Made by `make chart` from here on. -->\n"
_BROKERS = "kafka:9092"


def derived() -> dict[Path, str]:
    """Every such file with what belongs into it."""
    found = _for_helm()
    for name, values in MANIFEST_VALUES.items():
        found[MANIFESTS / f"{name}.yaml"] = _manifest(values)
    return found


def _for_helm() -> dict[Path, str]:
    """Those of them that Helm renders the others with."""
    found = copies()
    found[CHART / "files" / "nanoseconds.json"] = json.dumps(NANOSECONDS, indent=1, ensure_ascii=False) + "\n"
    found[CHART / "values.schema.json"] = json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"
    return found


def copies() -> dict[Path, str]:
    """Those of them that can be made without Helm."""
    found = {CHART / "files" / "rules" / file.name: _text(file) for file in sorted(_RULES.glob("*.yml"))}
    found[CHART / "files" / "dashboards" / _DASHBOARD.name] = _text(_DASHBOARD)
    readme = CHART / "README.md"
    found[readme] = _text(readme).partition(_MARK)[0] + _MARK + _values_table() + _config_table()
    return found


def left_over() -> list[Path]:
    """Files among them that nothing is made into any more."""
    folders = (CHART / "files" / "rules", CHART / "files" / "dashboards", MANIFESTS)
    there = [file for folder in folders for file in folder.glob("*") if file.suffix != ".md"]
    made = derived()
    return [file for file in there if file not in made]


def write() -> list[Path]:
    """Make them anew; returns those that were not as they should be."""
    changed = _written(_for_helm())
    for file in left_over():
        file.unlink()
        changed.append(file)
    return changed + _written(derived())


def _written(files: Mapping[Path, str]) -> list[Path]:
    changed = []
    for file, content in files.items():
        if not file.exists() or _text(file) != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
            changed.append(file)
    return changed


# Values for people without Helm, who edit the brokers and the image.
MANIFEST_VALUES: Mapping[str, dict[str, Any]] = {
    "klag-trio": {"bootstrapServers": _BROKERS, "tests": {"enabled": False}},
    "klag-trio-high-availability": {
        "bootstrapServers": _BROKERS,
        "replicaCount": 2,
        "tests": {"enabled": False},
    },
    "monitoring": {
        "bootstrapServers": _BROKERS,
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "grafanaDashboard": {"enabled": True},
        "tests": {"enabled": False},
    },
}
_HELMS_OWN = re.compile(
    r"^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n|^# Source: .*\n", re.MULTILINE
)
_MONITORING = {"ServiceMonitor", "PrometheusRule"}


def _manifest(values: dict[str, Any]) -> str:
    """The objects without Helm's marks, in a namespace that the first of them makes."""
    text = template(values, name="klag-trio", namespace="klag-trio").text
    documents = [
        part for part in re.split(r"^---\n", _HELMS_OWN.sub("", text), flags=re.MULTILINE) if part.strip()
    ]
    if values.get("serviceMonitor"):
        documents = [part for part in documents if _is_monitoring(part)]
        head = "# For the Prometheus Operator and Grafana's sidecar, beside klag-trio.yaml or the other."
    else:
        documents.insert(0, _NAMESPACE)
        head = "# Change the brokers (bootstrap_servers) and the image, then: kubectl apply -f"
    return f"{head}\n# Made from the chart by `make manifests`.\n---\n" + "---\n".join(documents)


def _is_monitoring(document: str) -> bool:
    item = yaml.safe_load(document)
    return item["kind"] in _MONITORING or "grafana_dashboard" in item["metadata"]["labels"]


_NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: klag-trio
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def _values_table() -> str:
    rows = "".join(f"| `{path}` | {_code(default)} | {doc} |\n" for path, default, doc in documented_values())
    return f"\n## Values\n\n| value | default | meaning |\n| --- | --- | --- |\n{rows}"


def documented_values() -> Iterator[tuple[str, Any, str]]:
    """Path, default and meaning of each value that has a `# --` comment."""
    text = _text(CHART / "values.yaml")
    defaults = yaml.safe_load(text)
    above: list[tuple[int, str]] = []
    doc = ""
    for line in text.splitlines():
        if comment := re.fullmatch(r" *# -- (.*)", line):
            doc = comment[1]
        elif key := re.match(r"( *)([A-Za-z]+):", line):
            indent = len(key[1])
            above = [*(item for item in above if item[0] < indent), (indent, key[2])]
            if doc:
                path = [name for _, name in above]
                found: Any = defaults
                for name in path:
                    found = found[name]
                yield ".".join(path), found, doc
            doc = ""


def _config_table() -> str:
    rows = "".join(_config_rows(Exporter, "config.exporter")) + "".join(
        _config_rows(Cluster, "config.clusters[]")
    )
    return (
        "\n## Configuration\n\nThe keys of config.toml, below `config`; klag-trio's own defaults.\n\n"
        f"| value | default | meaning |\n| --- | --- | --- |\n{rows}"
    )


def _config_rows(kind: type[Any], above: str) -> Iterator[str]:
    for field in attrs.fields(attrs.resolve_types(kind)):
        path = f"{above}.{field.name}"
        if "read" not in field.metadata:
            yield from _config_rows(field.type, path)
        else:
            required = "default" not in field.metadata
            default = "required" if required else _code(field.metadata["default"])
            yield f"| `{path}` | {default} | {field.metadata['doc']} |\n"


def _code(value: Any) -> str:
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
