"""How the process ends: exit codes, signals, and what it says last. Without any large import."""

from __future__ import annotations

import signal

STOPPED, FAULT, WRONG = 0, 1, 2
"""Exit codes: it was stopped as asked, or all is well; a fault while running; the command line or the
configuration is wrong."""

STOPS = (signal.SIGINT, signal.SIGTERM)
IGNORED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What ends a process that does nothing about it, and changes nothing here."""


def cannot_print(exc: OSError) -> str:
    """What to say where stdout takes nothing."""
    return f"cannot write to stdout: {exc.strerror}"
