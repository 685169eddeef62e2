"""Files that a user names, and keys that libraries take from files only.

A path may lead to a pipe that nobody writes to, a device without an end or a folder: only regular files are
read, of bounded size, and links are followed, as Kubernetes mounts secrets behind links.
"""

from __future__ import annotations

import contextlib
import errno
import os
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

LARGEST = 1024 * 1024
"""Bytes of the largest certificate, key, token or kubeconfig that is read."""


class FileError(Exception):
    """A file cannot be read, or nothing can be held in memory; str() says why, without the path."""


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


def load_cert_chain(
    context: ssl.SSLContext, certificate: bytes, key: bytes, password: Callable[[], str]
) -> None:
    """Load what is in memory, as `SSLContext.load_cert_chain` does from files; a key never reaches a disk.

    Raises:
        FileError: the system has no descriptor or no memory for it.
        ssl.SSLError: it is no certificate with its key in PEM.

    """
    try:
        with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
            context.load_cert_chain(certificate_path, key_path, password)
    except ssl.SSLError:
        # It is an OSError, too.
        raise
    except OSError as exc:
        raise FileError(f"it cannot be held in memory: {exc.strerror or exc}") from exc


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("klag-trio", os.MFD_CLOEXEC)
    with _closing(descriptor):
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
