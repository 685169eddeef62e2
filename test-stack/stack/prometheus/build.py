"""Where a Prometheus that takes OTLP comes from: its own Go module, built once and kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

from stack.cache import cached
from stack.golang import find_go, run

VERSION = "3.16.0"
# 3.16.0 is published as the module's 0.316.0.
_MODULE = "v0.{}{:0>2}.{}".format(*VERSION.split("."))
_PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"
_OLDEST_GO = "1.25"
_ENVIRON = {"GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}
# Service discovery, most of what it is made of, is not needed to receive.
_TAGS = "remove_all_sd"


def with_otlp() -> Path:
    """Return the path of Prometheus's program, built on the first call, which takes about 3 minutes.

    Raises:
        BuildError: it cannot be built.

    """
    with cached(f"prometheus-{VERSION}") as (folder, ready):
        if ready is not None:
            with tempfile.TemporaryDirectory() as workshop:
                _build(Path(workshop), ready)
    return folder / "prometheus"


def _build(workshop: Path, ready: Path) -> None:
    go = find_go("Prometheus", _OLDEST_GO)
    run([go, "mod", "init", "klag-trio/prometheus"], workshop, **_ENVIRON)
    run([go, "get", f"{_PACKAGE}@{_MODULE}"], workshop, **_ENVIRON)
    stamp = f"-s -w -X github.com/prometheus/common/version.Version={VERSION}"
    built = str(ready / "prometheus")
    run(
        [go, "build", "-trimpath", f"-tags={_TAGS}", f"-ldflags={stamp}", "-o", built, _PACKAGE],
        workshop,
        **_ENVIRON,
    )
