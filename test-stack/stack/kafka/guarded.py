"""A child process that never outlives us, however we end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

GUARD = Path(__file__).resolve().parent / "guard.py"


class GuardedProcess:
    """A command run by guard.py; `folder` is removed should we die without stopping it.

    The command's output goes to `output`, else to our standard error.
    """

    def __init__(self, command: Sequence[str], *, folder: Path, output: IO[str] | None = None) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            # Ctrl-C in a terminal reaches us alone, and we stop our processes in order.
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())

    @property
    def running(self) -> bool:
        return self._guard.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As a shell tells it: 128 and the signal's number for a command that a signal ended."""
        return self._guard.poll()

    def send(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> None:
        """Wait for the end of the process; one that is not in time is killed."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        try:
            self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._guard.wait()
        self._guard.stdin.close()
        self._guard.stdout.close()
