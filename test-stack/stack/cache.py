"""What is built or fetched once per machine, for every clone on it: the user's cache."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def folder_of(name: str) -> Path:
    """Where the user's cache has, or would have, the folder of this name."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "klag-trio" / name


@contextmanager
def cached(name: str) -> Iterator[tuple[Path, Path | None]]:
    """The folder of this name in the user's cache, and one to fill where there is none yet.

    Several processes may ask at once. What is cut off leaves nothing that a later call would use.
    """
    folder = folder_of(name)
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True)
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
