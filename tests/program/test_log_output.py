"""klag-trio where its log cannot be written, or nobody reads it: it loses lines, and nothing else."""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import termios
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs
import pytest
from benchmarks.family import own_socket_inodes
from tests.broker.waiting import SECONDS, wait_until
from tests.program.program import COMMAND, Page, config_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LISTENING = "0A"
_NO_BROKER = {"name": "nowhere", "bootstrap_servers": "127.0.0.1:1"}
# librdkafka tells each of its attempts to connect in many lines, and makes them of its own accord, so soon
# after each other. Without a pause there are fewer: it takes the longer over a line the more of them wait.
TALKATIVE = {
    **_NO_BROKER,
    "consumer_properties": {
        "debug": "all",
        "reconnect.backoff.ms": 5,
        "reconnect.backoff.max.ms": 5,
        "enable.sparse.connections": False,
    },
}
_SLOWLY_TALKATIVE = {**_NO_BROKER, "consumer_properties": {"debug": "all"}}
_SMALL_PIPE_BYTES = 4096
# So many lines take a while where the machine is busy.
_FULL_SECONDS = 90
WHOLE_LINE = re.compile(rb"20\d\d-[^ ]+Z \[\w+ *\] [^\n]+\n")


@attrs.frozen
class Started:
    """A klag-trio whose log is not for us to read."""

    process: subprocess.Popen[bytes]

    def port(self) -> int | None:
        """What it listens on; None where it does not yet."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}"
        inodes = own_socket_inodes(self.process.pid)
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, *fields = line.split()
            if state == _LISTENING and int(fields[5]) in inodes:
                return int(local.partition(":")[2], 16)
        return None

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one page."""
        port = wait_until(self.port, "klag-trio serves")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def lost_lines(self) -> float:
        """How many, as it counts them itself."""
        value = Page(self.get("/metrics")[1]).value("klag_log_lines_dropped_total")
        assert value is not None
        return value


@contextmanager
def started(
    folder: Path,
    redirections: str,
    *clusters: Mapping[str, object],
    level: str = "info",
    stderr: IO[bytes] | int = subprocess.PIPE,
) -> Iterator[Started]:
    """Run klag-trio with its streams as a shell's redirections say; it is gone after the block."""
    config = folder / "config.toml"
    config.write_text(config_text(clusters or [_NO_BROKER], {"performance": {"kafka_timeout": "100ms"}}))
    arguments = shlex.join([*COMMAND, "-c", str(config), "-l", level])
    process = subprocess.Popen(["sh", "-c", f"exec {arguments} {redirections}"], stderr=stderr)
    try:
        yield Started(process)
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.parametrize("redirections", ["2>/dev/full", "2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_it_serves_and_stops_in_order_whatever_its_streams_are(tmp_path: Path, redirections: str) -> None:
    with started(tmp_path, redirections) as program:
        assert program.get("/health")[0] == 200
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(SECONDS) == 0


def test_lines_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    with started(tmp_path, "2>/dev/full") as program:
        wait_until(lambda: program.lost_lines() >= 2, "lines are lost")
        assert program.get("/health")[0] == 200


def test_a_stream_that_is_closed_becomes_no_socket(tmp_path: Path) -> None:
    with started(tmp_path, "<&- >&- 2>&-") as program:
        assert program.get("/health")[0] == 200
        opened = {Path(f"/proc/{program.process.pid}/fd/{number}").readlink() for number in range(3)}
    assert {Path(os.devnull)} == opened


def test_a_reader_that_goes_away_costs_lines_only(tmp_path: Path) -> None:
    with started(tmp_path, "", TALKATIVE, level="debug") as program:
        assert program.get("/health")[0] == 200
        assert program.process.stderr is not None
        program.process.stderr.close()
        wait_until(lambda: program.lost_lines() >= 2, "lines are lost")
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(SECONDS) == 0


def test_a_pipe_that_nobody_reads_freezes_nothing(tmp_path: Path) -> None:
    with started(tmp_path, "", TALKATIVE, level="debug") as program:
        wait_until(lambda: program.lost_lines() >= 2, "its queue is full", _FULL_SECONDS)
        assert program.get("/health")[0] == 200
        # It goes on with its lines as soon as somebody reads them.
        assert program.process.stderr is not None
        for _ in range(1000):
            assert program.process.stderr.readline()
        assert program.get("/health")[0] == 200


def test_a_pipe_that_nobody_reads_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    with started(tmp_path, "", TALKATIVE, level="debug") as program:
        wait_until(lambda: program.lost_lines() >= 2, "its queue is full", _FULL_SECONDS)
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(SECONDS) == 0


def test_a_pipe_that_does_not_wait_loses_no_line(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _SMALL_PIPE_BYTES)
    # Both ends of a dup share it: another process that writes there can do that to ours.
    os.set_blocking(writing, False)
    with (
        os.fdopen(reading, "rb") as lines,
        os.fdopen(writing, "wb") as given,
        started(tmp_path, "", _SLOWLY_TALKATIVE, level="debug", stderr=given) as program,
    ):
        wait_until(lambda: _waiting_bytes(reading) > _SMALL_PIPE_BYTES * 0.8, "the pipe is full")
        read = [lines.readline() for _ in range(200)]
        assert all(WHOLE_LINE.fullmatch(line) for line in read), read
        assert program.lost_lines() == 0


def _waiting_bytes(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("redirections", ["2>/dev/full", "2>&-"])
def test_a_mistake_ends_it_with_its_code_where_it_cannot_be_told(tmp_path: Path, redirections: str) -> None:
    with started(tmp_path, redirections, {"name": "prod"}) as program:
        assert program.process.wait(SECONDS) == 2


def test_a_mistake_ends_it_with_its_code_where_nobody_reads_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, bytes(1024))
        os.set_blocking(writing, True)
        process = subprocess.Popen([*COMMAND, "-c", str(tmp_path / "missing.toml")], stderr=writing)
        assert process.wait(SECONDS) == 2
    finally:
        os.close(reading)
        os.close(writing)
