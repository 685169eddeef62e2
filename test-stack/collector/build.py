"""Where the collector's program comes from: its own builder, run once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "0.155.0"
HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "manifest.yaml"
_OLDEST_GO = (1, 25)


class BuildError(Exception):
    """The collector cannot be built; the message says why and what to do."""


def binary() -> Path:
    """Return the path of the collector's program, built on the first call, which takes about 3 minutes.

    It is kept in the user's cache directory, for every clone on the machine. Several processes may ask at
    once. A build that is cut off leaves nothing that a later call would use.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "klag-trio"
    # What is in it depends on the manifest, which two clones may have differently.
    name = f"otelcol-{VERSION}-{hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]}"
    program = cache / name / "otelcol"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            _build(cache, program.parent)
    return program


def _build(cache: Path, folder: Path) -> None:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise BuildError(
            "The OpenTelemetry Collector is built with Go and there is no go. Install Go "
            f"{'.'.join(map(str, _OLDEST_GO))} or newer: https://go.dev/doc/install"
        )
    with tempfile.TemporaryDirectory(dir=cache, prefix="otelcol-build-") as temporary:
        tools, sources, ready = (Path(temporary, name) for name in ("bin", "sources", "ready"))
        # An older Go fetches the one that these modules ask for.
        environ = {**os.environ, "GOBIN": str(tools), "GOTOOLCHAIN": "auto", "GOFLAGS": "-buildvcs=false"}
        environ["PATH"] = f"{Path(go).parent}:{environ.get('PATH', '')}"
        _run([go, "install", f"go.opentelemetry.io/collector/cmd/builder@v{VERSION}"], environ)
        _run([str(tools / "builder"), f"--config={MANIFEST}", f"--output-path={sources}"], environ)
        ready.mkdir()
        (sources / "otelcol").rename(ready / "otelcol")
        ready.rename(folder)


def _run(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(
        ["nice", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    if done.returncode != 0:
        raise BuildError(
            f"{Path(command[0]).name} {command[1]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
