"""Helm and the schemas of custom resources: Go modules, fetched once per machine and kept."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELM = "3.22.0"
CRDS = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd",
    "sigs.k8s.io/gateway-api@v1.6.3": "config/crd/standard",
}
"""Modules, and the folder in each that holds its custom resource definitions."""
_OLDEST_GO = "1.26"


class FetchError(Exception):
    """Helm or a schema cannot be had; the message says why and what to do."""


def helm() -> Path:
    """Return the path of Helm's program; the first call on a machine builds it, which takes minutes."""
    with _kept(f"helm-{HELM}") as (folder, ready):
        if ready is not None:
            _go(["install", f"helm.sh/helm/v3/cmd/helm@v{HELM}"], GOBIN=str(ready))
    return folder / "helm"


def crds() -> Path:
    """Return a folder with the custom resource definitions that the chart has objects of, as YAML files."""
    name = "crds-" + "-".join(module.rpartition("@v")[2] for module in CRDS)
    with _kept(name) as (folder, ready):
        if ready is not None:
            for module, inside in CRDS.items():
                source = Path(json.loads(_go(["mod", "download", "-json", module]))["Dir"], inside)
                for file in source.glob("*.yaml"):
                    shutil.copyfile(file, ready / file.name)
    return folder


@contextmanager
def _kept(name: str) -> Iterator[tuple[Path, Path | None]]:
    """The folder of this name in the user's cache, and one to fill where there is none yet.

    Several processes may ask at once. What is cut off leaves nothing that a later call would use.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "klag-trio"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield folder, None
            return
        with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}-") as temporary:
            ready = Path(temporary, "ready")
            ready.mkdir()
            yield folder, ready
            ready.rename(folder)


def _go(arguments: list[str], **environ: str) -> str:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise FetchError(
            f"Helm is built with Go and there is no go. Install Go {_OLDEST_GO} or newer: https://go.dev/doc/install"
        )
    # An older Go fetches the one that a module asks for; no go.mod of a folder above has a say.
    surroundings = {**os.environ, "GOTOOLCHAIN": "auto", "GOFLAGS": "-buildvcs=false", "GO111MODULE": "on"}
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            ["nice", go, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=elsewhere,
            env={**surroundings, **environ},
        )
    if done.returncode != 0:
        raise FetchError(f"go {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
