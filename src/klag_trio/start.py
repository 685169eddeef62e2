"""The first lines of the program: what has to hold before the large imports, which take most of a second."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from contextlib import suppress
from types import FrameType

from klag_trio.ending import FAULT, IGNORED, STOPPED, STOPS, cannot_print
from klag_trio.shortage import shortage

_STANDARD_STREAMS = (0, 1, 2)


def main() -> None:
    """Run the command line."""
    for number in STOPS:
        signal.signal(number, _stop)
    for number in IGNORED:
        signal.signal(number, _ignore)
    # A core dump would hold passwords.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _open_standard_streams()
    try:
        from klag_trio.cli import main as command_line

        command_line(prog_name="klag-trio")
    except Exception as exc:
        reason = shortage(exc)
        if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:
            reason = cannot_print(exc)
        if reason is None:
            raise
        with suppress(OSError):
            os.write(2, f"klag-trio: {reason}\n".encode())
        os._exit(FAULT)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """End at once: either nothing has begun yet, or somebody asks for the second time."""
    os._exit(STOPPED)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. SIG_IGN would be inherited by processes that are started."""


def _open_standard_streams() -> None:
    """Open those that are closed on the null device: a socket would become one, and get what is printed."""
    for descriptor in _STANDARD_STREAMS:
        try:
            os.fstat(descriptor)
        except OSError:
            # It gets the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python has none of those that were closed when it began.
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
