"""However a client behaves, the server keeps nothing of its connection."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio
from tests.unit.services.publication import large_publication
from tests.unit.services.raw_http import Client, ask, connect, descriptors, request
from trio.testing import MockClock, wait_all_tasks_blocked

from klag_trio.web.app import make_app
from klag_trio.web.server import Timeouts, serve

pytestmark = pytest.mark.usefixtures("logged")

LONGEST_WAIT = max(attrs.astuple(Timeouts()))
CLIENTS = 60


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


async def let_time_pass(clock: MockClock) -> None:
    while True:
        await wait_all_tasks_blocked(0.02)
        clock.jump(LONGEST_WAIT)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
async def test_clients_of_each_kind_leave_no_descriptor_behind(
    nursery: trio.Nursery, mock_clock: MockClock, kind: Kind
) -> None:
    app = make_app(large_publication(5_000_000))
    address = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
    assert (await ask(address, request("/health"))).status == 200
    await wait_all_tasks_blocked(0.02)
    before = descriptors()
    for _ in range(2):
        clients = [await connect(address, receive_buffer=4096) for _ in range(CLIENTS // 2)]
        async with trio.open_nursery() as begun:
            for client in clients:
                begun.start_soon(kind.begin, client)
        if kind.outwaits:
            await wait_all_tasks_blocked(0.02)
            mock_clock.jump(LONGEST_WAIT)
        async with trio.open_nursery() as meanwhile:
            if kind.outwaits:
                # The server may not have heard of all of them yet when time passed first.
                meanwhile.start_soon(let_time_pass, mock_clock)
            async with trio.open_nursery() as ended:
                for client in clients:
                    ended.start_soon(kind.end, client)
            meanwhile.cancel_scope.cancel()
    for _ in range(1000):
        await wait_all_tasks_blocked(0.02)
        if not descriptors() - before:
            break
    assert not descriptors() - before
    assert (await ask(address, request("/health"))).status == 200
