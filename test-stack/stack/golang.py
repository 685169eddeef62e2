"""Go, for what is built with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class BuildError(Exception):
    """It cannot be had; the message says why and what to do."""


def find_go(wanted_for: str, oldest: str) -> str:
    """The path of Go, which fetches a newer one where a module asks for it.

    Raises:
        BuildError: there is none.

    """
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise BuildError(
            f"{wanted_for} is built with Go and there is no go. Install Go {oldest} or newer: https://go.dev/doc/install"
        )
    return go


def run(command: list[str], folder: Path, **environ: str) -> str:
    """Run Go, or what it has built, and give its output; no go.mod of another folder has a say.

    Raises:
        BuildError: it failed.

    """
    surroundings = {**os.environ, "GOTOOLCHAIN": "auto", "GOFLAGS": "-buildvcs=false", "GO111MODULE": "on"}
    done = subprocess.run(
        ["nice", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**surroundings, **environ},
        cwd=folder,
    )
    if done.returncode != 0:
        raise BuildError(
            f"{Path(command[0]).name} {command[1]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout
