"""klag-trio under gdb, which says where it died."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import attrs
from tests.program.program import COMMAND, STOP_SECONDS, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

# It follows klag-trio only: a child process of klag-trio may die without it.
_COMMANDS = """set logging redirect on
set logging enabled on
set startup-with-shell off
set disable-randomization off
set follow-fork-mode parent
set detach-on-fork on
set print thread-events off
handle all nostop noprint pass
handle SIGABRT SIGSEGV SIGBUS SIGFPE SIGILL stop print
run
bt 60
echo all threads:\\n
thread apply all bt 8
"""
_ENDED = re.compile(r"received signal (SIG\w+)|(exited normally|exited with code \w+|terminated with .*\w)")
# Its function without what the compiler adds, and its file.
_FRAME = re.compile(r"^#\d+ +(?:0x\w+ in )?([\w?]+).*?(?: (?:from|at) (\S+))?$", re.MULTILINE)
_LIBRARIES = re.compile(r"librdkafka|/cimpl\.")
_HEAP = re.compile(r"^(?:corrupted |double free|(?:malloc|free|realloc|munmap_chunk)\(\): )", re.MULTILINE)
_LIBC = re.compile(r"/libc\.so|sysdeps/|\./(nptl|stdlib|malloc|assert|string|signal|misc)/")
_ASSERTION = re.compile(r"(\w+: )(?:Assertion `(.*)' failed\.|assert: (.*) \*\*\*)$", re.MULTILINE)
_INNERMOST = 3


@attrs.define
class Debugged(Program):
    """A running klag-trio; `process` is its gdb."""

    _log_file: Path = attrs.field(kw_only=True)
    stopped: bool = False
    """Whether it was ended for what it does."""

    @property
    def said_by_gdb(self) -> str:
        return self._log_file.read_text(errors="replace")

    def resident_mib(self) -> float:
        """What it holds without its child processes; OSError where it ends meanwhile."""
        status = "".join(Path(f"/proc/{pid}/status").read_text() for pid in self._pids())
        return sum(map(int, re.findall(r"VmRSS:\s+(\d+)", status))) / 1024

    def ended(self, seconds: float) -> bool:
        """Whether it ends within so many seconds, and gdb too, which writes backtraces first."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            for pid in self._pids():
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []


@contextmanager
def debugged(folder: Path, text: str) -> Iterator[Debugged]:
    """Run klag-trio with this configuration; it is gone after the block, however it ended."""
    config, commands, log = folder / "config.toml", folder / "commands.gdb", folder / "gdb.txt"
    config.write_text(text)
    commands.write_text(f"set logging file {log}\n{_COMMANDS}")
    log.write_text("")
    process = subprocess.Popen(
        ["gdb", "-batch", "-nx", "-x", commands, "--args", *COMMAND, "-c", config, "--log-format", "json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    program = Debugged(process, log_file=log)
    reader = Thread(target=program.read)
    reader.start()
    try:
        yield program
    finally:
        program.send(signal.SIGTERM)
        if not program.ended(STOP_SECONDS):
            process.kill()  # and klag-trio with it
            process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def signature(said_by_gdb: str, output: str) -> str:
    """What tells one death from another: signal, failed assertion, and the innermost functions."""
    ended = _ENDED.search(said_by_gdb)
    said = output.rpartition("\n{")[2]  # the last line of the log, and what came after it
    if ended is None or ended[2]:
        return f"{ended[2] if ended else 'ended'}: {said[-200:].strip()}"
    assertion = "".join(f" ({name}{a or b})" for name, a, b in _ASSERTION.findall(said)[-1:])
    found = [(name, file) for name, file in frames(said_by_gdb) if name != "??"]
    names = [name for name, file in found if _LIBRARIES.search(file)]
    # Where librdkafka and confluent_kafka have no part in it, any function but libc's.
    names = names or [name for name, file in found if not _LIBC.search(file)]
    return f"{ended[1]}{re.sub('0x[0-9a-f]+', '0x...', assertion)} in {' < '.join(names[:_INNERMOST])}"


def died_in_a_library(said_by_gdb: str, output: str) -> bool:
    """Whether a signal ended it in librdkafka or confluent_kafka, or libc met a heap that they broke."""
    ended = _ENDED.search(said_by_gdb)
    if ended is None or ended[2]:
        return False
    in_them = any(_LIBRARIES.search(file) for _, file in frames(said_by_gdb))
    return in_them or _HEAP.search(output.rpartition("\n{")[2]) is not None


def frames(said_by_gdb: str) -> list[tuple[str, str]]:
    """The functions and files of the thread that died, innermost first, each once."""
    found = _FRAME.findall(said_by_gdb.partition("all threads:")[0])
    return list(dict.fromkeys((name, file.partition(":")[0]) for name, file in found))
