"""Where the Kubernetes programs come from: Kubernetes' own Go module, built once per machine and kept."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from stack.cache import cached
from stack.golang import find_go, run

VERSION = "1.37.2"
PROGRAMS = ("kube-apiserver", "kube-controller-manager")
_OLDEST_GO = "1.25"
_ENVIRON = {"GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}


def programs() -> Path:
    """Return the folder that holds PROGRAMS, built on the first call, which takes about 15 minutes.

    Raises:
        BuildError: they cannot be built.

    """
    with cached(f"kubernetes-{VERSION}") as (folder, ready):
        if ready is not None:
            with tempfile.TemporaryDirectory() as workshop:
                _build(Path(workshop), ready)
    return folder


def _build(workshop: Path, ready: Path) -> None:
    go = find_go("kube-apiserver", _OLDEST_GO)
    module = f"k8s.io/kubernetes@v{VERSION}"
    downloaded = json.loads(run([go, "mod", "download", "-json", module], workshop, **_ENVIRON))
    published = json.loads(run([go, "mod", "edit", "-json", downloaded["GoMod"]], workshop, **_ENVIRON))
    run([go, "mod", "init", "klag-trio/kubernetes"], workshop, **_ENVIRON)
    edits = [f"-go={published['Go']}", f"-require={module}"]
    # Kubernetes builds its libraries from folders beside it, which only its own tree has. They are published
    # as modules of their own, 1.x as 0.x.
    edits += [
        f"-replace={library}={library}@v0.{VERSION.partition('.')[2]}"
        for replaced in published["Replace"]
        if (library := replaced["Old"]["Path"]).startswith("k8s.io/")
    ]
    run([go, "mod", "edit", *edits], workshop, **_ENVIRON)
    stamp = f"-s -w -X k8s.io/component-base/version.gitVersion=v{VERSION}"
    for program in PROGRAMS:
        run(
            [
                *[go, "build", "-trimpath", f"-ldflags={stamp}", "-o", str(ready / program)],
                f"k8s.io/kubernetes/cmd/{program}",
            ],
            workshop,
            **_ENVIRON,
        )
