from __future__ import annotations

import errno

import pytest

from klag_trio.shortage import DESCRIPTORS, MEMORY, THREADS, ShortageError, shortage


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (RuntimeError("can't start new thread"), THREADS),
        (OSError(errno.EMFILE, "Too many open files"), DESCRIPTORS),
        (MemoryError(), MEMORY),
        (ShortageError(THREADS), THREADS),
        (ExceptionGroup("", [ValueError(), ExceptionGroup("", [MemoryError()])]), MEMORY),
        (RuntimeError("a bug"), None),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (OSError("without a number"), None),
        (ExceptionGroup("", [ValueError()]), None),
    ],
)
def test_an_error_says_what_there_is_no_more_of(exc: Exception, said: str | None) -> None:
    assert said == shortage(exc)
