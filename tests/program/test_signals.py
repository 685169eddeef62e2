"""What signals do to klag-trio, from its first own line on."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benchmarks.family import family
from tests.broker.waiting import SECONDS, wait_until
from tests.program.program import config_text, running
from tests.program.scenes import cycling, waiting_for_a_frozen_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Kafka

    from stack.kafka import KafkaCluster

FRAGILE = pytest.mark.xdist_group("fragile")
STOPS = [signal.SIGTERM, signal.SIGINT]
IGNORED = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]

# Waits before the first of the large imports.
_WAITING = """
import builtins, sys
from klag_trio.start import main
real = builtins.__import__
def waiting(name, *rest, **others):
    if name == "klag_trio.cli":
        print("waits", flush=True)
        sys.stdin.readline()
    return real(name, *rest, **others)
builtins.__import__ = waiting
main()
"""


@contextmanager
def starting() -> Iterator[subprocess.Popen[str]]:
    """Run `klag-trio --version` as far as the large imports; it goes on with a line on its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WAITING, "--version"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == "waits\n"
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_before_anything_large_is_imported_is_one_as_asked(number: signal.Signals) -> None:
    with starting() as process:
        process.send_signal(number)
        assert process.wait(SECONDS) == 0


def test_other_signals_change_nothing_before_anything_large_is_imported() -> None:
    with starting() as process:
        for number in IGNORED:
            process.send_signal(number)
        out, _ = process.communicate("\n", SECONDS)
        assert process.returncode == 0
    assert out.startswith("klag-trio ")


def test_other_signals_change_nothing_and_say_so(tmp_path: Path) -> None:
    text = config_text([{"name": "nowhere", "bootstrap_servers": "127.0.0.1:1"}])
    with running(tmp_path, text) as program:
        assert program.get("/health")[0] == 200
        for number in IGNORED:
            program.process.send_signal(number)
            wait_until(
                lambda name=number.name: (  # type: ignore[misc]
                    name in [line["signal"] for line in program.log("signal ignored: it changes nothing")]
                ),
                f"a line about {number.name}",
            )
        assert program.get("/health")[0] == 200
        assert program.stop(signal.SIGTERM)[0] == 0


@FRAGILE
def test_a_second_stop_ends_it_at_once(fragile_kafka: KafkaCluster, tmp_path: Path) -> None:
    with waiting_for_a_frozen_broker(fragile_kafka, tmp_path) as program:
        program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: program.log("stopping"), "it stops")
        code, _ = program.stop(signal.SIGTERM)
    assert code == 0


def test_neither_it_nor_what_it_starts_leaves_a_core_dump(kafka: Kafka, tmp_path: Path) -> None:
    with cycling(kafka, tmp_path) as program:
        processes = family(program.process.pid)
        limits = [Path(f"/proc/{pid}/limits").read_text() for pid in processes]
    assert len(processes) > 1
    for text in limits:
        (line,) = [line for line in text.splitlines() if line.startswith("Max core file size")]
        assert line.split()[4:6] == ["0", "0"]
