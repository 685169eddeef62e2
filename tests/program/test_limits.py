"""What klag-trio does on a system that gives it too little, and where its report has nowhere to go."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.broker.waiting import SECONDS, wait_until
from tests.program.program import COMMAND, config_text, run, running
from tests.unit.kafka.hanging import HangingFile

if TYPE_CHECKING:
    from collections.abc import Sequence

GIB = 2**30
CLUSTERS = [{"name": name, "bootstrap_servers": "127.0.0.1:1"} for name in ("first", "second")]
QUICK = {"performance": {"kafka_timeout": "200ms"}}
THREADS = "the system starts no more threads (ulimit -u, pids.max, vm.max_map_count)"
DESCRIPTORS = "the system opens no more files (ulimit -n)"


def with_threads(count: int) -> list[str]:
    """A command whose process may have so many threads beside its first.

    Stacks of 1 GiB in an address space that has room for so many, whoever runs it; a limit of threads counts
    all that a user runs, and none of root's.
    """
    return ["prlimit", f"--stack={GIB}:", f"--as={count * GIB + GIB * 9 // 10}"]


def configuration(folder: Path) -> Path:
    path = folder / "config.toml"
    path.write_text(config_text(CLUSTERS, QUICK))
    return path


def said_at_the_end(within: Sequence[str], *arguments: str) -> str:
    """The only line of a run that ends with 1."""
    ended = run(*arguments, within=within)
    assert (1, 1) == (ended.code, ended.output.count("\n")), ended.output
    return ended.output.removesuffix("\n")


@pytest.mark.parametrize("command", [[], ["check"]])
@pytest.mark.parametrize("threads", [0, 1, 2, 3, 7, 13, 19])
def test_too_few_threads_end_it_with_a_line(tmp_path: Path, threads: int, command: list[str]) -> None:
    # librdkafka alone ends in segmentation faults, assertions or waits without end.
    said = said_at_the_end(with_threads(threads), "-c", str(configuration(tmp_path)), *command)
    assert said.startswith("klag-trio: ")
    assert THREADS in said
    # For the log, and for reading the configuration's files.
    assert threads < 2 or "cluster " in said


def test_as_many_threads_as_two_clusters_need_are_enough(tmp_path: Path) -> None:
    keys = {"poll_interval": "1s", **QUICK}
    with running(tmp_path, config_text(CLUSTERS, keys), within=with_threads(27)) as program:
        for path in ("/health", "/metrics", "/"):
            assert 200 == program.get(path)[0]
        failed = "klag_errors_total"
        program.shows(
            True,
            lambda page: all(sum(page.rows(failed, cluster_name=c["name"]).values()) > 1 for c in CLUSTERS),
        )
        assert 0 == program.stop(signal.SIGTERM)[0]


@pytest.mark.parametrize("command", [[], ["check"]])
@pytest.mark.parametrize("files", [6, 20, 26])
def test_too_few_descriptors_end_it_with_a_line(tmp_path: Path, files: int, command: list[str]) -> None:
    path = configuration(tmp_path)
    said = said_at_the_end(["prlimit", f"--nofile={files}"], "-c", str(path), *command)
    assert DESCRIPTORS in said


def test_more_clusters_than_can_be_are_told_before_any_is_made(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(config_text([{**CLUSTERS[0], "name": f"c{number}"} for number in range(200)]))
    said = said_at_the_end(["prlimit", "--nofile=1024:1024"], "-c", str(path))
    assert said == "klag-trio: 200 clusters need at least 2000 open files, and ulimit -n is 1024"


def test_a_stop_while_a_client_waits_for_a_file_is_one_as_asked(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    HangingFile(file)
    tls = {"security.protocol": "SSL", "ssl.ca.location": str(file)}
    text = config_text([{**CLUSTERS[0], "consumer_properties": tls}, CLUSTERS[1]])
    with running(tmp_path, text) as program:
        # The other cluster has its client.
        wait_until(lambda: b"rdk:main" in names_of_threads(program.process.pid), "a client is made")
        assert 0 == program.stop(signal.SIGTERM)[0]


def names_of_threads(pid: int) -> bytes:
    return b"".join(path.read_bytes() for path in Path(f"/proc/{pid}/task").glob("*/comm"))


@pytest.mark.parametrize("command", [["check"], ["--version"], ["--help"]])
def test_output_that_finds_no_room_ends_it_with_a_line(tmp_path: Path, command: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = run_into(full.fileno(), "-c", str(configuration(tmp_path)), *command)
    assert (1, "klag-trio: cannot write to stdout: No space left on device\n") == (code, said)


def test_a_report_that_nobody_reads_ends_check_with_a_line(tmp_path: Path) -> None:
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    assert reader.wait(SECONDS) == 0
    assert reader.stdin is not None
    with reader.stdin as pipe:
        code, said = run_into(pipe.fileno(), "check", "-c", str(configuration(tmp_path)))
    assert (1, "klag-trio: cannot write to stdout: Broken pipe\n") == (code, said)


def run_into(stdout: int, *arguments: str) -> tuple[int, str]:
    """Run klag-trio and return its exit code and what it wrote to stderr."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return done.returncode, done.stderr
