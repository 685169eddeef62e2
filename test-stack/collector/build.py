"""Where the collector's program comes from: its own builder, run once and kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "0.155.0"
HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache"
_OLDEST_GO = (1, 25)


class BuildError(Exception):
    """The collector cannot be built; the message says why and what to do."""


def binary() -> Path:
    """Return the path of the collector's program, built on the first call, which takes about 3 minutes.

    Several processes may ask at once. A build that is cut off leaves nothing that a later call would use.
    """
    manifest = HERE / "manifest.yaml"
    folder = CACHE / f"otelcol-{VERSION}"
    kept = folder / manifest.name
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"otelcol-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept.is_file() and kept.read_bytes() == manifest.read_bytes()):
            shutil.rmtree(folder, ignore_errors=True)
            _build(manifest, folder)
    return folder / "otelcol"


def _build(manifest: Path, folder: Path) -> None:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise BuildError(
            "The OpenTelemetry Collector is built with Go and there is no go. Install Go "
            f"{'.'.join(map(str, _OLDEST_GO))} or newer: https://go.dev/doc/install"
        )
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="otelcol-build-") as temporary:
        tools, sources, ready = (Path(temporary, name) for name in ("bin", "sources", "ready"))
        # An older Go fetches the one that these modules ask for.
        environ = {**os.environ, "GOBIN": str(tools), "GOTOOLCHAIN": "auto", "GOFLAGS": "-buildvcs=false"}
        environ["PATH"] = f"{Path(go).parent}:{environ.get('PATH', '')}"
        _run([go, "install", f"go.opentelemetry.io/collector/cmd/builder@v{VERSION}"], environ)
        _run([str(tools / "builder"), f"--config={manifest}", f"--output-path={sources}"], environ)
        ready.mkdir()
        (sources / "otelcol").rename(ready / "otelcol")
        shutil.copy(manifest, ready)
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
