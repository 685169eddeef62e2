"""Which signals end the program, and which do nothing."""

from __future__ import annotations

import signal

STOPS = (signal.SIGINT, signal.SIGTERM)
IGNORED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What ends a process that does nothing about it, and changes nothing here."""
