"""What Go builds or fetches, kept in the user's cache: once per machine, for every clone on it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class BuildError(Exception):
    """It cannot be had; the message says why and what to do."""


@contextmanager
def kept(name: str) -> Iterator[tuple[Path, Path | None]]:
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
