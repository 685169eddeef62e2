"""Where the collector's program comes from: its own builder, run once and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from stack.cache import cached
from stack.golang import find_go, run

VERSION = "0.155.0"
HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "manifest.yaml"
_OLDEST_GO = "1.25"


def binary() -> Path:
    """Return the path of the collector's program, built on the first call, which takes about 3 minutes.

    Raises:
        BuildError: it cannot be built.

    """
    # What is in it depends on the manifest, which two clones may have differently.
    name = f"otelcol-{VERSION}-{hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]}"
    with cached(name) as (folder, ready):
        if ready is not None:
            _build(ready)
    return folder / "otelcol"


def _build(ready: Path) -> None:
    go = find_go("The OpenTelemetry Collector", _OLDEST_GO)
    with tempfile.TemporaryDirectory() as temporary:
        tools, sources = Path(temporary, "bin"), Path(temporary, "sources")
        # The builder calls Go itself.
        path = f"{Path(go).parent}:{os.environ.get('PATH', '')}"
        builder = f"go.opentelemetry.io/collector/cmd/builder@v{VERSION}"
        run([go, "install", builder], Path(temporary), GOBIN=str(tools))
        built = [str(tools / "builder"), f"--config={MANIFEST}", f"--output-path={sources}"]
        run(built, Path(temporary), PATH=path)
        shutil.move(sources / "otelcol", ready / "otelcol")
