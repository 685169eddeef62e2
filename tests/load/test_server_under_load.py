"""Large answers to several clients at once, of a server in a process of its own."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.unit.services.raw_http import Address, ask, connect, request

pytestmark = pytest.mark.usefixtures("logged")

ROOT = Path(__file__).parents[2]
FAST = 0.25


@asynccontextmanager
async def served(size: int, stderr: Path) -> AsyncIterator[tuple[trio.Process, Address]]:
    """Publish metrics of this size from a process of its own."""
    command = [sys.executable, "-m", "tests.unit.services.serve_publication", str(size)]
    with stderr.open("wb") as errors:
        process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    async with process.stdout:
        try:
            port = int(await process.stdout.receive_some())
            yield process, ("127.0.0.1", port)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    assert await trio.Path(stderr).read_text() == ""


async def test_a_hundred_clients_that_do_not_read_keep_neither_probes_nor_sigterm_waiting(
    tmp_path: Path,
) -> None:
    async with served(6_000_000, tmp_path / "stderr") as (process, address):
        clients = [await connect(address, receive_buffer=4096) for _ in range(100)]
        for client in clients:
            await client.send(request("/metrics"))
        for client in clients:
            assert (await client.stream.receive_some(15)).startswith(b"HTTP/1.1 200")
        assert p99([await health(address) for _ in range(100)]) < FAST
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(5):
            assert await process.wait() == 0
        for client in clients:
            await trio.aclose_forcefully(client.stream)


async def test_health_answers_while_eight_clients_scrape_a_large_cluster(tmp_path: Path) -> None:
    async with served(26_000_000, tmp_path / "stderr") as (_, address), trio.open_nursery() as nursery:
        scrapes: list[float] = []

        async def scrape() -> None:
            client = await connect(address)
            async with client.stream:
                while True:
                    before = trio.current_time()
                    await client.send(request("/metrics"))
                    await client.answer()
                    scrapes.append(trio.current_time() - before)

        for _ in range(8):
            nursery.start_soon(scrape)
        took: list[float] = []
        while len(took) < 50 or len(scrapes) < 16:
            before = trio.current_time()
            assert (await ask(address, request("/health"))).body == b"ok"
            took.append(trio.current_time() - before)
        # Held against each other: both are as slow as the machine is busy with something else.
        assert statistics.median(took) < statistics.median(scrapes) / 5
        nursery.cancel_scope.cancel()


async def test_eight_scrapes_at_once_share_the_bytes(tmp_path: Path) -> None:
    size = 26_000_000
    async with served(size, tmp_path / "stderr") as (process, address):
        assert (await ask(address, request("/health"))).status == 200
        before = resident(process.pid)
        clients = [await connect(address, receive_buffer=4096) for _ in range(8)]
        for client in clients:
            await client.send(request("/metrics", "Connection: close"))
        for client in clients:
            assert (await client.stream.receive_some(15)).startswith(b"HTTP/1.1 200")
        assert resident(process.pid) - before < size / 2
        for client in clients:
            await trio.aclose_forcefully(client.stream)


async def health(address: Address) -> float:
    """How many seconds a probe waits for its answer."""
    before = trio.current_time()
    assert (await ask(address, request("/health"))).body == b"ok"
    return trio.current_time() - before


def p99(took: list[float]) -> float:
    return sorted(took)[int(0.99 * (len(took) - 1))]


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")
