"""The process that reads: how it is asked, how it ends, and what is said of that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from benchmarks.family import family

from klag_trio.kafka import worker_process
from klag_trio.kafka.limits import MEMORY_BYTES
from klag_trio.kafka.worker_process import WorkerDied, WorkerError, WorkerProcess

NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}
SECONDS = 60.0
QUESTION = 0.2


@pytest.fixture
async def worker() -> AsyncIterator[WorkerProcess]:
    made = WorkerProcess("main", NOWHERE, NOWHERE, lambda _: None)
    with trio.fail_after(SECONDS):
        yield made
    await made.end()


def children() -> list[int]:
    return family(os.getpid())[1:]


async def codes(worker: WorkerProcess) -> list[str]:
    """Ask for a listing that no broker answers; returns the codes of what was said of it."""
    said: list[str] = []

    def take(_groups: list[Any], errors: list[Any]) -> None:
        said.extend(code for code, *_ in errors)

    await worker.ask(take, "list", QUESTION, within=SECONDS)
    return said


async def test_it_starts_with_the_first_question_and_stays(worker: WorkerProcess) -> None:
    before = set(children())
    await worker.rest()
    assert before == set(children())
    assert ["_TIMED_OUT"] == await codes(worker)
    (pid,) = set(children()) - before
    await worker.rest()
    assert ["_TIMED_OUT"] == await codes(worker)
    assert {pid} == set(children()) - before
    await worker.end()
    assert before == set(children())


async def test_one_that_is_ended_is_replaced(worker: WorkerProcess) -> None:
    before = set(children())
    await codes(worker)
    (pid,) = set(children()) - before
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="the process that reads ended with SIGKILL") as died:
        await codes(worker)
    assert ("crash", False) == (died.value.fault.code, died.value.fresh)
    assert before == set(children())
    assert ["_TIMED_OUT"] == await codes(worker)


async def test_one_that_does_not_answer_is_replaced(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(children())
    await codes(worker)
    (pid,) = set(children()) - before
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(worker_process, "_OVERTIME_SECONDS", 0.1)
    with pytest.raises(WorkerError) as late:
        await worker.ask(lambda *_: None, "list", QUESTION, within=QUESTION)
    assert "_TIMED_OUT" == late.value.fault.code
    assert before == set(children())


async def test_a_question_that_is_given_up_leaves_no_process(worker: WorkerProcess) -> None:
    before = set(children())
    await codes(worker)
    with trio.move_on_after(0.01) as scope:
        await worker.ask(lambda *_: None, "list", SECONDS, within=SECONDS)
    assert scope.cancelled_caught
    assert before == set(children())


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("print('noise', file=sys.stderr); print('it broke', file=sys.stderr)", "code 3: it broke"),
        (
            "print('x.c:1: f: Assertion failed', file=sys.stderr); print('a\\nb', file=sys.stderr)",
            "code 3: x.c",
        ),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
async def test_what_it_says_at_its_end_is_told(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, last: str, told: str
) -> None:
    ready = "import os, signal, sys; sys.stdin.readline(); print('[\"ready\", []]', flush=True)"
    code = f"{ready}; sys.stdin.readline(); {last}; sys.exit(3)"
    monkeypatch.setattr(worker_process, "_COMMAND", (sys.executable, "-c", code))
    with pytest.raises(WorkerDied) as died:
        await codes(worker)
    assert died.value.fault.message.startswith(f"the process that reads ended with {told}")
    assert died.value.fresh


async def test_one_that_does_not_get_ready_is_nobodys_fault(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(children())
    fails = "import sys; print('No module named klag_trio', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(worker_process, "_COMMAND", (sys.executable, "-c", fails))
    with pytest.raises(WorkerError, match="no process that reads: No module named klag_trio") as failed:
        await codes(worker)
    assert (WorkerError, "_CRIT_SYS_RESOURCE") == (type(failed.value), failed.value.fault.code)
    assert before == set(children())


async def test_where_none_can_be_started_it_says_why(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_COMMAND", ("/no/such/python",))
    with pytest.raises(WorkerError, match="no process that reads: No such file") as failed:
        await codes(worker)
    assert "_CRIT_SYS_RESOURCE" == failed.value.fault.code


async def test_what_librdkafka_refuses_is_told_and_ends_nothing() -> None:
    worker = WorkerProcess("main", {"no.such.property": ""}, NOWHERE, lambda _: None)
    before = set(children())
    with pytest.raises(WorkerError) as refused:
        await codes(worker)
    assert ("_INVALID_ARG", WorkerError) == (refused.value.fault.code, type(refused.value))
    assert 1 == len(set(children()) - before)
    await worker.end()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        worker_process._COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        yield started
        started.kill()


def test_it_ends_when_whoever_asks_is_gone_and_not_with_the_terminal(
    process: subprocess.Popen[bytes],
) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'[{}, {}]\n["rest"]\n')
    process.stdin.flush()
    assert b'["ready", []]\n' == process.stdout.readline()
    assert b'["end", []]\n' == process.stdout.readline()
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    process.stdin.write(b'["rest"]\n')
    process.stdin.flush()
    assert b'["end", []]\n' == process.stdout.readline()
    process.stdin.close()
    assert 0 == process.wait(SECONDS)


def test_it_ends_in_the_middle_of_a_question_when_whoever_asks_is_gone(
    process: subprocess.Popen[bytes],
) -> None:
    assert process.stdin is not None
    nowhere = json.dumps([NOWHERE, NOWHERE]).encode()
    process.stdin.write(nowhere + b'\n["list", 3600]\n')
    process.stdin.close()
    assert 0 == process.wait(SECONDS)


async def test_a_bug_in_it_is_told_with_its_traceback(
    worker: WorkerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkerDied) as died:
        await worker.ask(lambda *_: None, "no such thing")
    assert "the process that reads ended with code 1: KeyError: 'no such thing'" == died.value.fault.message
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_its_memory_has_an_end() -> None:
    code = [
        "from klag_trio.kafka.limits import limit_memory",
        "limit_memory()",
        f"bytearray({MEMORY_BYTES // 2})",
        f"bytearray({MEMORY_BYTES})",
    ]
    ended = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, timeout=SECONDS)
    assert 1 == ended.returncode
    assert b"line 4" in ended.stderr
    assert ended.stderr.endswith(b"MemoryError\n")


def test_the_stacks_of_many_threads_leave_it_room() -> None:
    code = [
        "import ctypes, time",
        "from klag_trio.kafka.limits import limit_memory",
        "limit_memory()",
        # As librdkafka starts them, which is not through Python.
        "libc, thread = ctypes.CDLL(None), ctypes.c_void_p()",
        "start = lambda: libc.pthread_create(ctypes.byref(thread), None, libc.sleep, ctypes.c_void_p(60))",
        "print({start() for _ in range(500)})",
        f"bytearray({MEMORY_BYTES // 4})",
        "import os; os._exit(0)",
    ]
    ended = subprocess.run([sys.executable, "-uc", "\n".join(code)], capture_output=True, timeout=SECONDS)
    assert (0, b"{0}\n", b"") == (ended.returncode, ended.stdout, ended.stderr)
