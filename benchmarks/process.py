"""An exporter as a process of its own: started, watched through /proc, stopped whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from benchmarks.family import cpu_ticks, status_bytes

STOP_WITHIN = 10.0
_TICK = os.sysconf("SC_CLK_TCK")
_MB = 1e6


class ExporterEndedError(RuntimeError):
    """The exporter ended by itself; the message holds the last lines of its log."""


@attrs.define
class ExporterProcess:
    """What /proc says about one running exporter and the processes that it has started."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    started: float  # monotonic
    resident_mb: list[tuple[float, float]]  # (monotonic, MB), once a second
    stop_seconds: float | None = None

    def check(self) -> None:
        """Raise ExporterEndedError where it no longer runs."""
        if self.popen.poll() is not None:
            last = self.log.read_text(errors="replace").splitlines()[-5:]
            raise ExporterEndedError(f"{self.name} ended with {self.popen.returncode}: " + " / ".join(last))

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        self.check()
        return cpu_ticks(self.popen.pid) / _TICK

    def peak_mb(self) -> float:
        self.check()
        return self._status("VmHWM")

    def resident_between(self, start: float, end: float) -> list[float]:
        return [mb for at, mb in self.resident_mb if start <= at <= end]

    def sample(self) -> None:
        self.resident_mb.append((time.monotonic(), self._status("VmRSS")))

    def _status(self, key: str) -> float:
        return status_bytes(self.popen.pid, key) / _MB


@contextlib.contextmanager
def running(name: str, command: Sequence[str], log: Path) -> Iterator[ExporterProcess]:
    """Start the exporter, sample its memory once a second, and stop it at the end: SIGTERM, then SIGKILL."""
    with log.open("wb") as output:
        started = time.monotonic()
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    process = ExporterProcess(name, popen, log, started, [])
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process, ended), daemon=True)
    sampler.start()
    try:
        yield process
    finally:
        ended.set()
        asked = time.monotonic()
        _stop(popen)
        process.stop_seconds = time.monotonic() - asked
        sampler.join(timeout=2)


def _sample(process: ExporterProcess, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        process.sample()


def _stop(popen: subprocess.Popen[bytes]) -> None:
    # The whole session: a command may have started the exporter as its child.
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.wait(STOP_WITHIN)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)  # a child that outlived its parent
