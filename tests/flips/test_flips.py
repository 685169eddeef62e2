"""klag-trio behind a proxy that changes the bytes of answers, for MINUTES (20 where that is not set)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import traceback
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.flips.campaign import Campaign, last_line
from tests.flips.changes import BINARY, GROUP, TEXT, Changes, Kind, lied, stored
from tests.flips.estate import CALM, HOSTILE, estate
from tests.flips.process import debugged, died_in_a_library, signature
from tests.program.program import config_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flips.proxy import Proxy

# Half of the time for each kind.
SECONDS = float(os.environ.get("MINUTES") or 20) * 60 / 2
LATE = 300
SEED = int(os.environ.get("SEED") or random.randrange(2**32))
FOLDER = Path(".cache/flips")
RANDOMS = [Random(seed) for seed in range(300)]


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Proxy, str]]:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with estate() as filled:
        yield filled


@pytest.mark.timeout(SECONDS + LATE)
@pytest.mark.parametrize("kind", Kind)
def test_whatever_is_answered_it_neither_ends_nor_freezes(
    kind: Kind, made: tuple[Proxy, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with capfd.disabled():
        sys.stdout.write(f"SEED={SEED} {kind}\n")
    proxy, config = made
    changes = Changes(kind, Random(f"{SEED} {kind}"))
    proxy.change = changes.change
    campaign = Campaign(changes)
    campaign.run(SECONDS, config, tmp_path, FOLDER)
    with (FOLDER / "report.md").open("a") as report:
        report.write(f"# Answers with changed bytes, SEED={SEED}\n\n{campaign.report()}\n")
    assert not campaign.findings, f"SEED={SEED}, see {FOLDER}"
    assert min(campaign.cycles[CALM], campaign.cycles[HOSTILE]) > 1
    assert changes.changed


def test_a_fatal_signal_ends_it_with_a_backtrace(tmp_path: Path) -> None:
    with debugged(tmp_path, config_text([{"name": "none", "bootstrap_servers": "127.0.0.1:1"}])) as program:
        assert program.port
        assert program.resident_mib() > 10
        program.send(signal.SIGSEGV)
        assert program.ended(30)
    assert signature(program.said_by_gdb, program.output).startswith("SIGSEGV in ")
    assert not died_in_a_library(program.said_by_gdb, program.output)


@pytest.mark.parametrize(
    ("ended", "frame", "said", "expected"),
    [
        ("received signal SIGABRT", "abort () from /lib/libc.so.6", "malloc(): corrupted top size", True),
        ("received signal SIGABRT", "abort () from /lib/libc.so.6", "what else is said", False),
        ("received signal SIGSEGV", "rd_list_elem () from /lib/librdkafka-0cb94173.so.1", "", True),
        ("received signal SIGSEGV", "cfl_PyDict_SetString () from /lib/cimpl.cpython-311.so", "", True),
        ("received signal SIGSEGV", "ffi_call () from /lib/libffi.so.8", "", False),
        ("exited with code 01]", "rd_list_elem () from /lib/librdkafka-0cb94173.so.1", "", False),
    ],
)
def test_an_end_in_a_library_is_told_from_others(ended: str, frame: str, said: str, expected: bool) -> None:
    said_by_gdb = f"Thread 1 {ended}, and so on\n#0  0x00007f in {frame}\nall threads:\n"
    assert died_in_a_library(said_by_gdb, f'{{"message": "a line"}}\n{said}\n') == expected


def test_what_a_client_stores_changes_in_runs_of_marks_only() -> None:
    text = f"before {GROUP} {TEXT} ".encode()
    answer = text + BINARY + b" after"
    for listing in (False, True):
        changed = {stored(each, answer, listing=listing) for each in RANDOMS}
        assert {(len(answer), b"before ", b" after")} == {
            (len(each), each[:7], each[-6:]) for each in changed
        }
        assert all(each[: len(text)].decode() for each in changed)
        assert listing == any(GROUP.encode() not in each for each in changed)


def test_a_lie_changes_neither_number_nor_address() -> None:
    address = b"127.0.0.1\0\0\x23\x84"
    changed = [lied(each, b"1234" + bytes(20) + address + bytes(20)) for each in RANDOMS]
    assert {b"1234"} == {each[:4] for each in changed}
    found = [each[each.index(b"127") :] for each in changed if b"127" in each]
    assert all(each.startswith(address) or address.startswith(each) for each in found)


def test_a_bug_is_told_by_the_exception_whatever_it_says() -> None:
    told = set()
    for bug in (KeyError(5), KeyError("cleanup.policy"), ValueError("a 'quoted' word and \n 17 lines")):
        group = ExceptionGroup("several", [bug])
        told |= {last_line("".join(traceback.format_exception(each))) for each in (bug, group)}
    assert {"KeyError: ...", "KeyError: 'cleanup.policy'", "... lines"} == told
