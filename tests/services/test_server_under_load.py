"""Many connections, large answers, and a server in a process of its own where its pace matters."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from tests.services.publication import large_publication
from tests.services.raw_http import Address, Client, ask, connect, descriptors, request
from trio.testing import MockClock, wait_all_tasks_blocked

from klag_trio.services.connection import Patience
from klag_trio.services.front import make_app
from klag_trio.services.server import serve

pytestmark = pytest.mark.usefixtures("logged")

ROOT = Path(__file__).parents[2]
LONGEST_WAIT = max(attrs.astuple(Patience()))

CONNECTIONS = 1000
AT_ONCE = 100


@attrs.frozen(kw_only=True)
class Kind:
    """What a client does: send, read one answer, outwait the server, read until the server closes, close."""

    sent: bytes = b""
    reads_one: bool = False
    outwaits: bool = False
    reads_all: bool = False

    async def begin(self, client: Client[trio.SocketStream]) -> None:
        if self.sent:
            await client.send(self.sent)
        if self.reads_one:
            await client.answer()

    async def end(self, client: Client[trio.SocketStream]) -> None:
        if self.reads_all:
            await client.rest()
        await trio.aclose_forcefully(client.stream)


KINDS = {
    "ask to close": Kind(sent=request("/health", "Connection: close"), reads_all=True),
    "speak HTTP/1.0": Kind(sent=request("/leader", version="1.0"), reads_all=True),
    "close after the answer": Kind(sent=request("/health"), reads_one=True),
    "ask twice and leave": Kind(sent=request("/ready") * 2, reads_one=True),
    "idle until sent away": Kind(sent=request("/health"), reads_one=True, outwaits=True, reads_all=True),
    "say nothing and leave": Kind(),
    "say nothing until sent away": Kind(outwaits=True, reads_all=True),
    "leave amid the headers": Kind(sent=b"GET /metrics HTTP/1.1\r\nHost: a\r\nAcce"),
    "pause amid the headers until sent away": Kind(
        sent=b"GET / HTTP/1.1\r\nHo", outwaits=True, reads_all=True
    ),
    "leave amid a large answer": Kind(sent=request("/metrics")),
    "never read a large answer": Kind(sent=request("/metrics"), outwaits=True),
    "send nonsense": Kind(sent=b"nonsense\r\n\r\n", reads_all=True),
    "send headers without end": Kind(sent=request("/health", "X: " + "x" * 100_000), reads_all=True),
    "upload": Kind(sent=request("/", "Content-Length: 99999", method="POST") + bytes(999), reads_all=True),
    "ask for options": Kind(sent=request("/metrics", "Connection: close", method="OPTIONS"), reads_all=True),
    "ask for a websocket": Kind(
        sent=request("/health", "Upgrade: websocket", "Connection: Upgrade, close"), reads_all=True
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
async def test_a_thousand_clients_leave_no_descriptor_behind(
    nursery: trio.Nursery, mock_clock: MockClock, kind: Kind
) -> None:
    app = make_app(large_publication(5_000_000))
    address = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
    assert (await ask(address, request("/health"))).status == 200
    await wait_all_tasks_blocked(0.02)
    before = descriptors()
    for _ in range(CONNECTIONS // AT_ONCE):
        clients = [await connect(address, receive_buffer=4096) for _ in range(AT_ONCE)]
        async with trio.open_nursery() as begun:
            for client in clients:
                begun.start_soon(kind.begin, client)
        if kind.outwaits:
            await wait_all_tasks_blocked(0.02)
            mock_clock.jump(LONGEST_WAIT)
        async with trio.open_nursery() as ended:
            for client in clients:
                ended.start_soon(kind.end, client)
    for _ in range(100):
        await wait_all_tasks_blocked(0.02)
        if before == descriptors():
            break
    assert before == descriptors()
    assert (await ask(address, request("/health"))).status == 200


@asynccontextmanager
async def served(size: int, stderr: Path) -> AsyncIterator[tuple[trio.Process, Address]]:
    """Publish metrics of this size from a process of its own."""
    command = [sys.executable, "-m", "tests.services.serve_publication", str(size)]
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


async def test_sigterm_waits_for_no_client(tmp_path: Path) -> None:
    async with served(5_000_000, tmp_path / "stderr") as (process, address):
        clients = [await connect(address, receive_buffer=4096) for _ in range(100)]
        for client in clients:
            await client.send(request("/metrics"))
        for client in clients:
            assert (await client.stream.receive_some(15)).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(5):
            assert await process.wait() == 0
        for client in clients:
            await trio.aclose_forcefully(client.stream)


async def test_health_answers_while_eight_clients_scrape_a_large_cluster(tmp_path: Path) -> None:
    async with served(26_000_000, tmp_path / "stderr") as (_, address), trio.open_nursery() as nursery:
        scrapes = 0

        async def scrape() -> None:
            nonlocal scrapes
            client = await connect(address)
            async with client.stream:
                while True:
                    await client.send(request("/metrics"))
                    await client.answer()
                    scrapes += 1

        for _ in range(8):
            nursery.start_soon(scrape)
        took: list[float] = []
        while len(took) < 50 or scrapes < 8:
            before = trio.current_time()
            assert (await ask(address, request("/health"))).body == b"ok"
            took.append(trio.current_time() - before)
        # The median: single answers may wait for whatever else the machine does.
        assert statistics.median(took) < 0.1
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


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")
