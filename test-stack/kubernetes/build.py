"""Where the Kubernetes programs come from: Kubernetes' own Go module, built once per machine and kept."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "1.37.2"
PROGRAMS = ("kube-apiserver", "kube-controller-manager")
_OLDEST_GO = (1, 25)


class BuildError(Exception):
    """The programs cannot be built; the message says why and what to do."""


def programs() -> Path:
    """Return the folder that holds PROGRAMS, built on the first call, which takes about 15 minutes.

    They are kept in the user's cache directory, so that a fresh clone finds them. Several processes may ask
    at once. A build that is cut off leaves nothing that a later call would use.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "klag-trio"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"kubernetes-{VERSION}"
    with (cache / f"kubernetes-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="kubernetes-build-") as temporary:
                ready = Path(temporary, "ready")
                ready.mkdir()
                _build(Path(temporary), ready)
                ready.rename(folder)
    return folder


def _build(workshop: Path, ready: Path) -> None:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise BuildError(
            "kube-apiserver is built with Go and there is no go. Install Go "
            f"{'.'.join(map(str, _OLDEST_GO))} or newer: https://go.dev/doc/install"
        )
    # An older Go fetches the one that Kubernetes asks for.
    environ = {**os.environ, "GOTOOLCHAIN": "auto", "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}
    module = f"k8s.io/kubernetes@v{VERSION}"
    downloaded = json.loads(_run([go, "mod", "download", "-json", module], environ, workshop))
    published = json.loads(_run([go, "mod", "edit", "-json", downloaded["GoMod"]], environ, workshop))
    _run([go, "mod", "init", "klag-trio/kubernetes"], environ, workshop)
    edits = [f"-go={published['Go']}", f"-require={module}"]
    # Kubernetes builds its libraries from folders beside it, which only its own tree has. They are published
    # as modules of their own, 1.x as 0.x.
    edits += [
        f"-replace={library}={library}@v0.{VERSION.partition('.')[2]}"
        for replaced in published["Replace"]
        if (library := replaced["Old"]["Path"]).startswith("k8s.io/")
    ]
    _run([go, "mod", "edit", *edits], environ, workshop)
    stamp = f"-s -w -X k8s.io/component-base/version.gitVersion=v{VERSION}"
    for program in PROGRAMS:
        _run(
            [
                *[go, "build", "-trimpath", f"-ldflags={stamp}", "-o", str(ready / program)],
                f"k8s.io/kubernetes/cmd/{program}",
            ],
            environ,
            workshop,
        )


def _run(command: list[str], environ: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        ["nice", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environ,
        cwd=folder,
    )
    if done.returncode != 0:
        raise BuildError(
            f"{Path(command[0]).name} {command[1]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout
