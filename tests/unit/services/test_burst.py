"""On real sockets and in real time: what is tested is the kernel's part."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from klag_trio.services.burst import Bursts

Pair = tuple[trio.SocketStream, trio.SocketStream]

CHUNKS = [bytes([number % 251]) * (number * 997) for number in range(100)]
WHOLE = b"".join(CHUNKS)


def views(chunks: list[bytes]) -> list[memoryview]:
    return [memoryview(chunk) for chunk in chunks]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A server's and a client's end of one TCP connection."""
    async with contextlib.AsyncExitStack() as stack:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        client = await trio.open_tcp_stream(*listener.socket.getsockname())
        server = await listener.accept()
        for resource in (listener, client, server):
            stack.push_async_callback(resource.aclose)
        yield server, client


async def received(client: trio.SocketStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += await client.receive_some()
    return bytes(data)


@pytest.mark.parametrize(
    "chunks", [CHUNKS, [b"x"] * 5000 + [b"end"]], ids=["few", "more than one call takes"]
)
async def test_what_the_client_takes_and_what_is_left_are_the_whole(pair: Pair, chunks: list[bytes]) -> None:
    server, client = pair
    bursts = Bursts(10)
    bursts.prepare(server.socket)
    left = views(chunks)
    whole = b"".join(chunks)
    rounds = 0

    async def send() -> None:
        nonlocal left, rounds
        while left:
            left = await bursts.send(server.socket, left)
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert whole == await received(client, len(whole))
    assert -(-len(chunks) // 1024) == rounds


async def test_a_client_that_does_not_read_keeps_its_thread_for_a_while_and_no_longer(pair: Pair) -> None:
    server, client = pair
    bursts = Bursts(0.1)
    bursts.prepare(server.socket)
    started = time.monotonic()
    left = await bursts.send(server.socket, views(CHUNKS))
    assert 0.1 <= time.monotonic() - started
    assert bursts.limiter.total_tokens == bursts.limiter.available_tokens
    rest = b"".join(left)
    assert 0 < len(rest) < len(WHOLE)
    assert WHOLE == await received(client, len(WHOLE) - len(rest)) + rest


async def test_a_client_that_takes_nothing_leaves_everything(pair: Pair) -> None:
    server, _ = pair
    bursts = Bursts(0.01)
    bursts.prepare(server.socket)
    left, before = await bursts.send(server.socket, views(CHUNKS)), None
    # The kernels' buffers fill up over some rounds.
    while left != before:
        left, before = await bursts.send(server.socket, left), left


async def test_the_socket_is_as_it_was_after_a_burst(pair: Pair) -> None:
    server, _ = pair
    bursts = Bursts(0.01)
    bursts.prepare(server.socket)
    await bursts.send(server.socket, views(CHUNKS))
    with trio.move_on_after(0.05) as scope:
        await server.send_all(WHOLE)
    assert scope.cancelled_caught


async def test_nothing_is_sent_where_no_thread_is_free(pair: Pair) -> None:
    server, _ = pair
    bursts = Bursts(10, trio.CapacityLimiter(1))
    bursts.prepare(server.socket)
    async with bursts.limiter:
        assert views(CHUNKS) == await bursts.send(server.socket, views(CHUNKS))


async def test_the_loop_may_read_while_a_burst_waits(pair: Pair) -> None:
    server, client = pair
    bursts = Bursts(10)
    bursts.prepare(server.socket)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bursts.send, server.socket, views(CHUNKS))
        await client.send_all(b"a request")
        assert b"a request" == await server.socket.recv(100, socket.MSG_DONTWAIT)
        with trio.move_on_after(0.05) as scope:
            await server.socket.recv(100, socket.MSG_DONTWAIT)
        assert scope.cancelled_caught
        await received(client, len(WHOLE))


async def test_a_client_that_has_gone_is_told(pair: Pair) -> None:
    server, client = pair
    bursts = Bursts(10)
    bursts.prepare(server.socket)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    await client.aclose()
    with pytest.raises(ConnectionResetError):
        await bursts.send(server.socket, views(CHUNKS))


async def test_a_cancellation_waits_for_the_thread_and_no_longer(pair: Pair) -> None:
    server, _ = pair
    bursts = Bursts(0.2)
    bursts.prepare(server.socket)
    started = time.monotonic()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bursts.send, server.socket, views(CHUNKS))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert 0.2 <= time.monotonic() - started
    assert bursts.limiter.total_tokens == bursts.limiter.available_tokens
