"""Files that a user names.

A path may lead to a pipe that nobody writes to, a device without an end or a folder: only regular files are
read, of bounded size, and links are followed, as Kubernetes mounts secrets behind links.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

LARGEST = 1024 * 1024
"""Bytes of the largest certificate, key, token or kubeconfig that is read."""


class FileError(Exception):
    """A file cannot be read; str() says why, without the path."""


def read_file(path: Path, *, largest: int = LARGEST) -> bytes:
    """All bytes of a regular file. Never waits for a writer.

    Raises:
        FileError: it is none, has more than `largest` bytes, or the system refuses.

    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with _closing(descriptor):
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise FileError("it is no regular file")
            # A folder is an OSError here, which says so.
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(largest + 1)
    except OSError as exc:
        # A socket.
        if exc.errno == errno.ENXIO:
            raise FileError("it is no regular file") from exc
        raise FileError(exc.strerror or str(exc)) from exc
    except ValueError as exc:
        # There is a NUL in the path.
        raise FileError(str(exc)) from exc
    if len(content) > largest:
        raise FileError(f"it is larger than {largest} bytes")
    return content


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
