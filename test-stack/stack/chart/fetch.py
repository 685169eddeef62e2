"""Helm and the schemas of custom resources: Go modules, fetched once per machine and kept."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from stack.cache import cached
from stack.golang import find_go, run

HELM = "3.22.0"
CRDS = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd",
    "sigs.k8s.io/gateway-api@v1.6.3": "config/crd/standard",
}
"""Modules, and the folder in each that holds its custom resource definitions."""
_OLDEST_GO = "1.26"


def helm() -> Path:
    """Return the path of Helm's program; the first call on a machine builds it, which takes minutes."""
    with cached(f"helm-{HELM}") as (folder, ready):
        if ready is not None:
            _go(["install", f"helm.sh/helm/v3/cmd/helm@v{HELM}"], GOBIN=str(ready))
    return folder / "helm"


def crds() -> Path:
    """Return a folder with the custom resource definitions that the chart has objects of, as YAML files."""
    name = "crds-" + "-".join(module.rpartition("@v")[2] for module in CRDS)
    with cached(name) as (folder, ready):
        if ready is not None:
            for module, inside in CRDS.items():
                source = Path(json.loads(_go(["mod", "download", "-json", module]))["Dir"], inside)
                for file in source.glob("*.yaml"):
                    shutil.copyfile(file, ready / file.name)
    return folder


def _go(arguments: list[str], **environ: str) -> str:
    go = find_go("Helm", _OLDEST_GO)
    with tempfile.TemporaryDirectory() as elsewhere:
        return run([go, *arguments], Path(elsewhere), **environ)
