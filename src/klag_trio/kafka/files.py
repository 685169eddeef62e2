"""The files that librdkafka reads while it makes a client, read before.

A file server that hangs makes librdkafka wait in `rd_kafka_new`, and confluent_kafka holds the interpreter's
lock meanwhile, so that all threads of the process wait too. Here the lock is free, and librdkafka gets copies
in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from klag_trio.shortage import ShortageError, shortage

_NAMES = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
)
# What is larger is none of these; a device may have no end.
_MOST_BYTES = 16 * 2**20


def files_of(properties: Mapping[str, str]) -> list[str]:
    """The names of the properties that name a file which librdkafka is going to read."""
    if properties.get("security.protocol", "").lower() not in ("ssl", "sasl_ssl"):
        return []
    return [name for name in _NAMES if name in properties]


def names_of_files(properties: Mapping[str, str]) -> str:
    """The same names for a sentence."""
    return " and ".join(files_of(properties))


@contextmanager
def in_memory(properties: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The same properties, with copies for files, which are there within this block.

    What cannot be read stays as it is: librdkafka says best what is wrong with it.

    Raises:
        ShortageError: the system opens no more files.

    """
    with ExitStack() as copies:
        replaced = dict(properties)
        for name in files_of(properties):
            if (content := _read(properties[name])) is not None:
                copy = _opened(name)
                copies.callback(os.close, copy)
                with os.fdopen(copy, "wb", closefd=False) as file:
                    file.write(content)
                replaced[name] = f"/proc/self/fd/{copy}"
        yield replaced


def _read(path: str) -> bytes | None:
    try:
        if Path(path).is_dir():
            # There is no copy of a folder; this is where one on a server that hangs does so.
            next(Path(path).iterdir(), None)
            return None
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except ValueError:
        return None
    except OSError as exc:
        if missing := shortage(exc):
            raise ShortageError(missing) from None
        return None
    return content if len(content) <= _MOST_BYTES else None


def _opened(name: str) -> int:
    try:
        return os.memfd_create(name)
    except OSError as exc:
        raise ShortageError(shortage(exc) or str(exc)) from None
