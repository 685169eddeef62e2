"""Over raw sockets and, for every wait of the server's, in virtual time."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from structlog.typing import EventDict
from tests.unit.services.publication import FakePublication, body_of, large_publication, small_publication
from tests.unit.services.raw_http import Address, Client, ask, connect, descriptors, is_closed, request
from tests.unit.services.settling import settled
from trio.testing import MockClock

from klag_trio.web import pages
from klag_trio.web.app import make_app
from klag_trio.web.listening import ListenError
from klag_trio.web.server import Timeouts, serve

pytestmark = pytest.mark.usefixtures("logged")

# A server of its own, what stops it, and what says that it has.
Stopping = tuple[Address, trio.CancelScope, trio.Event]

TIMEOUTS = Timeouts()
LARGE = large_publication(5_000_000)
PATHS = ["/", "/metrics", "/health", "/ready", "/leader", "/nope"]


# pytest-trio runs a test on the clock among its own arguments: where mock_clock is one, time stands still.


@pytest.fixture
async def small(mock_clock: MockClock) -> AsyncIterator[Address]:
    async with running(small_publication(), mock_clock) as (address, _, _):
        yield address


@pytest.fixture
async def large(mock_clock: MockClock) -> AsyncIterator[Address]:
    async with running(LARGE, mock_clock) as (address, _, _):
        yield address


@pytest.fixture
async def stopping(mock_clock: MockClock) -> AsyncIterator[Stopping]:
    async with running(LARGE, mock_clock) as stopping:
        yield stopping


@contextlib.asynccontextmanager
async def running(publication: FakePublication, clock: MockClock) -> AsyncIterator[Stopping]:
    scope = trio.CancelScope()
    stopped = trio.Event()

    async def run(*, task_status: trio.TaskStatus[Address]) -> None:
        with scope:
            app = make_app(publication)
            await serve(app, host="127.0.0.1", port=0, timeouts=TIMEOUTS, task_status=task_status)
        stopped.set()

    async with trio.open_nursery() as nursery:
        address = await nursery.start(run)
        try:
            yield address, scope, stopped
        finally:
            scope.cancel()
            # A client that a failed test has left behind may hold up the stop, for which time has to pass.
            clock.autojump_threshold = 0.01


async def started(nursery: trio.Nursery, host: str = "127.0.0.1", port: int = 0) -> Address:
    app = make_app(small_publication())
    address: Address = await nursery.start(partial(serve, app, host=host, port=port))
    return address


# Where it listens


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1", "::"])
async def test_it_listens_on_the_address_it_reports(nursery: trio.Nursery, host: str) -> None:
    address = await started(nursery, host)
    assert (await ask(address, request("/health"))).body == b"ok"


async def test_every_address_of_ipv6_is_every_address_of_ipv4_too(nursery: trio.Nursery) -> None:
    _, port = await started(nursery, "::")
    assert (await ask(("127.0.0.1", port), request("/health"))).body == b"ok"


async def test_on_a_machine_without_ipv6_every_address_is_every_one_of_ipv4(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ipv4Only(socket.socket):
        def __init__(self, family: int = -1, *more: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *more)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Ipv4Only)
        _, port = await started(nursery, "::")
    assert (await ask(("127.0.0.1", port), request("/health"))).body == b"ok"


async def test_a_port_in_use_is_named(nursery: trio.Nursery) -> None:
    _, port = await started(nursery)
    with pytest.raises(ListenError) as caught:
        await started(nursery, port=port)
    reason = os.strerror(errno.EADDRINUSE)
    expected = f"exporter.http_host, exporter.http_port: cannot listen on 127.0.0.1:{port}: {reason}"
    assert expected == str(caught.value)


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1", "", "a" * 70, "x.invalid"])
async def test_a_host_that_is_not_ours_is_named(nursery: trio.Nursery, host: str) -> None:
    before = descriptors()
    with pytest.raises(ListenError, match=f"exporter.http_host.* cannot listen on {host}:0: ."):
        await started(nursery, host)
    assert not descriptors() - before


async def test_a_port_can_be_taken_again_at_once(nursery: trio.Nursery) -> None:
    async with trio.open_nursery() as first:
        _, port = await started(first)
        assert (await ask(("127.0.0.1", port), request("/health", "Connection: close"))).status == 200
        first.cancel_scope.cancel()
    assert ("127.0.0.1", port) == await started(nursery, port=port)


async def test_a_thousand_clients_may_knock_at_once(nursery: trio.Nursery) -> None:
    address = await started(nursery)
    # Blocking: the server cannot accept meanwhile, so all of them wait in its backlog.
    waiting = [socket.create_connection(address, timeout=60) for _ in range(1000)]
    for sock in waiting:
        sock.close()
    assert (await ask(address, request("/health"))).status == 200


@pytest.mark.parametrize("shortages", [1, 2])
async def test_no_descriptor_left_is_a_pause_and_one_line_each_time(
    small: Address, mock_clock: MockClock, logged: list[EventDict], shortages: int
) -> None:
    for _ in range(shortages):
        await settled()
        client = Client(trio.SocketStream(trio.socket.socket()))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            await client.stream.socket.connect(small)
            for _ in range(3):
                await settled()
                mock_clock.jump(0.1)
            await settled()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [event["event"] for event in logged] == ["cannot accept connections"]
        logged.clear()
        mock_clock.jump(0.1)
        async with client.stream:
            await client.send(request("/health"))
            assert (await client.answer()).status == 200


async def test_a_listener_that_is_broken_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: socket.socket) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(socket.socket, "accept", fail)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - it fails while all of this goes on
        async with trio.open_nursery() as nursery:
            # Blocking: it is not yet accepted, and so cannot fail.
            with socket.create_connection(await started(nursery), timeout=60):
                await trio.sleep_forever()
    assert caught.group_contains(OSError, match=os.strerror(errno.EINVAL))


# What it answers


@pytest.mark.parametrize("path", PATHS)
async def test_head_answers_with_the_headers_of_get(small: Address, mock_clock: MockClock, path: str) -> None:
    client = await connect(small)
    async with client.stream:
        await client.send(request(path) + request(path, method="HEAD"))
        get, head = await client.answer(), await client.answer(method="HEAD")
    assert get.status == head.status
    assert {**get.headers, "date": ""} == {**head.headers, "date": ""}
    assert str(len(get.body)) == head.headers["content-length"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "method", ["OPTIONS", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "BREW", "get", "head"]
)
async def test_other_methods_are_refused(
    small: Address, mock_clock: MockClock, method: str, path: str
) -> None:
    client = await connect(small)
    async with client.stream:
        for _ in range(2):
            await client.send(request(path, method=method))
            answer = await client.answer()
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/health?x=1&y=%00", 200),
        ("GET", "http://somewhere/health", 200),
        ("GET", "HTTPS://somewhere", 200),
        ("GET", "http://[", 200),
        ("GET", "http://somewhere?x=/nope", 200),
        ("GET", "//health", 200),
        ("GET", "/%2e%2e/health", 404),
        ("GET", "/%ff%00", 404),
        ("GET", "*", 404),
        ("OPTIONS", "*", 405),
        ("CONNECT", "somewhere:443", 405),
        ("GET", "health", 400),
        ("GET", "?x", 400),
        ("OPTIONS", "health", 400),
    ],
)
async def test_a_target_is_a_path_or_refused(
    small: Address, mock_clock: MockClock, method: str, target: str, status: int
) -> None:
    assert status == (await ask(small, request(target, method=method))).status


ODD_VALUES = [
    "",
    "..",
    ".a",
    "a b",
    "a" * 300,
    "[",
    "[::1]]:x",
    "a:b:c",
    ":99999",
    "\x7f",
    "ä",
    "=;,=",
    "%",
    '"',
]
HEADERS = [
    "Host",
    "Accept",
    "Accept-Encoding",
    "Cookie",
    "Content-Type",
    "Range",
    "If-Modified-Since",
    "Expect",
]


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("path", ["/health", "/metrics", "/", "/nope"])
async def test_no_header_makes_it_fail(small: Address, mock_clock: MockClock, path: str, name: str) -> None:
    host = () if name == "Host" else ("Host: a",)
    for value in ODD_VALUES:
        lines = (f"GET {path} HTTP/1.1", *host, f"{name}: {value}", "", "")
        answer = await ask(small, "\r\n".join(lines).encode("latin-1"))
        assert (404 if path == "/nope" else 200) == answer.status, value


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\r\n\r\nnonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nna me: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: odd\r\n\r\n", 501),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET /h\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (request("/health", "X: " + "x" * 40_000), 431),
        (request("/" + "x" * 40_000), 431),
        (request("/health", *(f"X-{n}: x" for n in range(5_000))), 431),
    ],
)
async def test_a_malformed_request_is_refused_and_the_connection_closed(
    small: Address, mock_clock: MockClock, sent: bytes, status: int
) -> None:
    client = await connect(small)
    async with client.stream:
        await client.send(sent)
        assert status == (await client.answer()).status
        assert await is_closed(client)


async def test_half_a_request_is_refused(small: Address, mock_clock: MockClock) -> None:
    client = await connect(small)
    async with client.stream:
        await client.send(b"GET /health HT")
        await client.stream.send_eof()
        assert (await client.answer()).status == 400
        assert await is_closed(client)


@pytest.mark.parametrize(
    "upgrade",
    [
        ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13"),
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ],
)
async def test_a_request_to_upgrade_is_answered_as_if_it_had_not_asked(
    small: Address, mock_clock: MockClock, upgrade: tuple[str, ...]
) -> None:
    client = await connect(small)
    async with client.stream:
        for _ in range(2):
            await client.send(request("/health", *upgrade))
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"ok")
            assert "upgrade" not in answer.headers


async def test_a_small_request_body_is_ignored(small: Address, mock_clock: MockClock) -> None:
    client = await connect(small)
    async with client.stream:
        await client.send(request("/health", "Content-Length: 5") + b"hello" + request("/leader"))
        assert (await client.answer()).body == b"ok"
        assert (await client.answer()).body == b'{"is_leader": true}'


async def test_who_sends_a_large_body_first_still_reads_the_refusal(
    small: Address, mock_clock: MockClock
) -> None:
    client = await connect(small)
    async with client.stream:
        await client.send(request("/metrics", "Content-Length: 20000000", method="POST"))
        await client.send(bytes(20_000_000))
        assert (await client.answer()).status == 405
        assert await is_closed(client)


async def test_a_body_without_end_is_cut_off(small: Address, mock_clock: MockClock) -> None:
    client = await connect(small)
    async with client.stream:
        await client.send(request("/metrics", "Transfer-Encoding: chunked", method="POST"))
        assert (await client.answer()).status == 405
        await client.send(b"4\r\nbody\r\n" * 1000)
        assert await is_closed(client)
        mock_clock.jump(TIMEOUTS.linger)
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - which send fails is the kernel's affair
            while True:
                await client.send(b"4\r\nbody\r\n" * 1000)


async def test_expect_continue_is_met(small: Address, mock_clock: MockClock) -> None:
    client = await connect(small)
    async with client.stream:
        await client.send(request("/metrics", "Expect: 100-continue", "Content-Length: 4", method="PUT"))
        assert (await client.answer()).status == 100
        assert (await client.answer()).status == 405


async def test_pipelined_requests_are_answered_in_their_order(large: Address, mock_clock: MockClock) -> None:
    client = await connect(large)
    async with client.stream:
        await client.send(b"".join(request(path) for path in ("/leader", "/metrics", "/nope", "/health")))
        answers = [await client.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 404, 200]
    assert b"".join(LARGE.text.chunks) == answers[1].body
    assert answers[3].body == b"ok"


async def test_a_large_answer_arrives_whole_plain_and_gzipped(large: Address, mock_clock: MockClock) -> None:
    client = await connect(large)
    async with client.stream:
        await client.send(request("/metrics") + request("/metrics", "Accept-Encoding: gzip"))
        assert b"".join(LARGE.text.chunks) == (await client.answer()).body
        assert LARGE.text.gzipped == (await client.answer()).body


async def test_a_response_of_very_many_parts_arrives_whole(nursery: trio.Nursery) -> None:
    publication = small_publication()
    publication.text = body_of(*(b"sample %d\n" % number for number in range(5_000)))
    address = await nursery.start(partial(serve, make_app(publication), host="127.0.0.1", port=0))
    assert b"".join(publication.text.chunks) == (await ask(address, request("/metrics"))).body


async def test_an_app_that_fails_costs_one_answer_and_is_logged(
    nursery: trio.Nursery, logged: list[EventDict]
) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("the reason")

    address = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
    for _ in range(2):
        assert (await ask(address, request("/"))).status == 500
        assert [event["event"] for event in logged] == ["request failed"]
        logged.clear()


async def test_a_wrong_length_cuts_the_answer_off_and_is_logged(
    nursery: trio.Nursery, logged: list[EventDict]
) -> None:
    publication = small_publication()
    publication.text = attrs.evolve(body_of(b"short"), length=100)
    address = await nursery.start(partial(serve, make_app(publication), host="127.0.0.1", port=0))
    with pytest.raises(EOFError):
        await ask(address, request("/metrics"))
    assert [event["event"] for event in logged] == ["request failed"]
    logged.clear()


@pytest.mark.parametrize("seed", range(2))
async def test_no_bytes_whatever_harm_the_server(small: Address, mock_clock: MockClock, seed: int) -> None:
    await send_malformed(small, seed)


async def send_malformed(address: Address, seed: int) -> None:
    """Send 300 requests that are broken in some way; after them the server is as well as before."""
    chance = random.Random(seed)
    whole = [
        request("/metrics", "Accept: */*;q=0.1", "Accept-Encoding: gzip"),
        request("/", "Content-Length: 3", method="POST") + b"abc",
        request("/leader", "Transfer-Encoding: chunked", method="PUT") + b"3\r\nabc\r\n0\r\n\r\n",
        request("/health", "Upgrade: websocket", "Connection: Upgrade"),
    ]
    for _ in range(300):
        sent = bytearray(chance.choice(whole) + chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(sent))
            sent[place : place + chance.randint(0, 5)] = chance.choice(
                (
                    b"",
                    b"\r\n",
                    b":",
                    b" ",
                    b"\x00",
                    b"\xff",
                    b"9" * 30,
                    b"HTTP/1.1",
                    bytes([chance.randrange(256)]),
                )
            )
        client = await connect(address)
        async with client.stream:
            # An answer under way when the request turns out to be broken is broken off.
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send(bytes(sent))
                await client.stream.send_eof()
                await client.rest()
    assert (await ask(address, request("/health"))).status == 200


async def test_no_request_needs_a_thread(small: Address, mock_clock: MockClock) -> None:
    threads = trio.to_thread.current_default_thread_limiter()
    while threads.available_tokens:
        threads.acquire_on_behalf_of_nowait(object())
    for path in PATHS:
        assert (await ask(small, request(path))).status in (200, 404)
    assert (await ask(small, request("/metrics", method="OPTIONS"))).status == 405


# How many connections are open


async def test_a_new_connection_waits_for_few_turns_of_the_event_loop(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Turns(trio.abc.Instrument):
        count = 0

        def after_io_wait(self, timeout: float) -> None:
            self.count += 1

    turns = Turns()
    accepted_at = []
    take = trio.socket.from_stdlib_socket

    def take_and_count(sock: socket.socket) -> trio.socket.SocketType:
        accepted_at.append(turns.count)
        return take(sock)

    address = await started(nursery)
    monkeypatch.setattr(trio.socket, "from_stdlib_socket", take_and_count)
    with contextlib.ExitStack() as crowd:
        # Blocking: the server cannot accept meanwhile, so all of them wait in its backlog.
        for _ in range(100):
            crowd.enter_context(socket.create_connection(address, timeout=60))
        trio.lowlevel.add_instrument(turns)
        assert (await ask(address, request("/health"))).status == 200
        trio.lowlevel.remove_instrument(turns)
    assert len(accepted_at) == 101
    assert len(set(accepted_at)) <= 3


@pytest.fixture
def said(logged: list[EventDict]) -> Iterator[None]:
    """Whoever knocks once too often is a reason to log, but once in a while only."""
    yield
    assert [event["event"] for event in logged] == ["connection limit reached"]
    logged.clear()


async def crowded(nursery: trio.Nursery, most: int) -> Address:
    serve_few = partial(serve, make_app(LARGE), host="127.0.0.1", port=0, most_connections=most)
    address: Address = await nursery.start(serve_few)
    return address


@pytest.mark.usefixtures("said")
async def test_where_all_places_are_taken_who_waited_longest_makes_room(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    address = await crowded(nursery, 3)
    clients = []
    for _ in range(3):
        clients.append(await connect(address))
        # Those who come together come in no order.
        await settled()
    silent, slow, answered = clients
    await slow.send(b"GET / HTTP/1.1\r\nHo")
    await silent.send(request("/health"))
    assert (await silent.answer()).status == 200
    await settled()
    mock_clock.jump(1)
    # The order is that of the last answers, not of the connects.
    newcomers = []
    for expected in (slow, answered, silent):
        newcomers.append(await connect(address))
        await newcomers[-1].send(request("/health"))
        assert (await newcomers[-1].answer()).status == 200
        assert await is_closed(expected)
    for client in newcomers:
        await client.send(request("/health"))
        assert (await client.answer()).status == 200
    for client in (silent, slow, answered, *newcomers):
        await client.stream.aclose()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many connections the server held after each that it accepted."""
    counts: list[int] = []
    accepted: list[trio.socket.SocketType] = []
    take = trio.socket.from_stdlib_socket

    def take_and_count(sock: socket.socket) -> trio.socket.SocketType:
        accepted.append(take(sock))
        counts.append(sum(known.fileno() != -1 for known in accepted))
        return accepted[-1]

    monkeypatch.setattr(trio.socket, "from_stdlib_socket", take_and_count)
    return counts


@pytest.mark.usefixtures("said")
async def test_nobody_who_is_being_answered_makes_room(nursery: trio.Nursery, held: list[int]) -> None:
    address = await crowded(nursery, 2)
    busy = [await connect(address, receive_buffer=4096) for _ in range(2)]
    for client in busy:
        await client.send(request("/metrics", "Connection: close"))
        assert (await client.stream.receive_some(15)).startswith(b"HTTP/1.1 200")
    newcomer = await connect(address)
    await newcomer.send(request("/health"))
    with trio.move_on_after(0.2) as scope:
        await newcomer.answer()
    assert scope.cancelled_caught
    assert held == [1, 2]
    assert len(await busy[0].rest()) > LARGE.text.length
    assert (await newcomer.answer()).status == 200
    assert len(await busy[1].rest()) > LARGE.text.length
    for client in (*busy, newcomer):
        await client.stream.aclose()


@pytest.mark.usefixtures("said")
async def test_nobody_makes_room_before_his_request_is_read(nursery: trio.Nursery) -> None:
    address = await crowded(nursery, 3)
    busy = [await connect(address, receive_buffer=4096) for _ in range(2)]
    for client in busy:
        await client.send(request("/metrics"))
        assert (await client.stream.receive_some(15)).startswith(b"HTTP/1.1 200")
    newcomers = []
    for _ in range(20):
        newcomers.append(Client(trio.SocketStream(trio.socket.socket())))
        sock = newcomers[-1].stream.socket
        await sock.connect(address)
        await newcomers[-1].send(request("/health"))
    for client in newcomers:
        async with client.stream:
            assert (await client.answer()).status == 200
    for client in busy:
        await trio.aclose_forcefully(client.stream)


@pytest.mark.usefixtures("said")
async def test_a_stop_does_not_wait_for_room() -> None:
    async with trio.open_nursery() as nursery:
        address = await crowded(nursery, 1)
        busy, waiting = await connect(address, receive_buffer=4096), await connect(address)
        await busy.send(request("/metrics"))
        await settled()
        nursery.cancel_scope.cancel()
    assert await is_closed(waiting)
    for client in (busy, waiting):
        await trio.aclose_forcefully(client.stream)


@pytest.mark.usefixtures("said")
async def test_a_crowd_is_let_in_as_far_as_there_are_places(nursery: trio.Nursery, held: list[int]) -> None:
    address = await crowded(nursery, 8)
    with contextlib.ExitStack() as crowd:
        # Blocking: the server cannot accept meanwhile, so all of them wait in its backlog.
        for _ in range(200):
            crowd.enter_context(socket.create_connection(address, timeout=60))
        assert (await ask(address, request("/health"))).body == b"ok"
    assert len(held) == 201
    assert max(held) == 8


# When it closes


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "last",
    [
        partial(request, version="1.0"),
        lambda path: request(path, "Connection: close"),
        lambda path: request(path, "Connection: Close", method="HEAD"),
        lambda path: request(path, "Connection: close", method="OPTIONS"),
    ],
)
async def test_it_closes_at_once_where_it_is_asked_to(
    small: Address, mock_clock: MockClock, last: partial[bytes], path: str
) -> None:
    before = trio.current_time()
    client = await connect(small)
    async with client.stream:
        await client.send(last(path))
        await client.answer(method="HEAD" if b"HEAD" in last(path) else "GET")
        assert await is_closed(client)
    assert before == trio.current_time()


async def test_an_idle_connection_is_kept_until_the_keep_alive_timeout(
    small: Address, mock_clock: MockClock
) -> None:
    client = await connect(small)
    async with client.stream:
        for _ in range(3):
            await client.send(request("/health"))
            assert (await client.answer()).status == 200
            await settled()
            mock_clock.jump(TIMEOUTS.keep_alive - 1)
            await settled()
        mock_clock.jump(1)
        assert await is_closed(client)


async def test_who_connects_and_says_nothing_is_sent_away(small: Address, mock_clock: MockClock) -> None:
    client = await connect(small)
    async with client.stream:
        await settled()
        mock_clock.jump(TIMEOUTS.request)
        assert await is_closed(client)


@pytest.mark.parametrize("requests_before", [0, 2])
async def test_headers_that_come_byte_by_byte_are_not_waited_for(
    small: Address, mock_clock: MockClock, requests_before: int
) -> None:
    client = await connect(small)
    async with client.stream:
        for _ in range(requests_before):
            await client.send(request("/health"))
            await client.answer()
        started_at = trio.current_time()
        for byte in request("/health")[: int(TIMEOUTS.request)]:
            await client.send(bytes([byte]))
            await settled()
            mock_clock.jump(1)
        assert await is_closed(client)
        assert TIMEOUTS.request == trio.current_time() - started_at


async def test_who_has_said_all_still_gets_every_answer(large: Address, mock_clock: MockClock) -> None:
    client = await connect(large)
    async with client.stream:
        await client.send(request("/metrics") + request("/metrics"))
        await client.stream.send_eof()
        assert LARGE.text.length == len((await client.answer()).body)
        assert LARGE.text.length == len((await client.answer()).body)
        assert await is_closed(client)


async def test_a_client_that_never_reads_is_cut_off(large: Address, mock_clock: MockClock) -> None:
    before = descriptors()
    client = await connect(large, receive_buffer=4096)
    async with client.stream:
        await client.send(request("/metrics"))
        await settled()
        assert 2 == len(descriptors() - before)
        mock_clock.jump(TIMEOUTS.send)
        await settled()
        assert 1 == len(descriptors() - before)


async def test_a_slow_reader_gets_everything(large: Address, mock_clock: MockClock) -> None:
    client = await connect(large, receive_buffer=64 * 1024)
    async with client.stream:
        await client.send(request("/metrics"))
        received = bytearray()
        while len(received) < LARGE.text.length:
            data = await client.stream.receive_some(2**16)
            assert data != b""
            received += data
            if len(received) // 2**18 > (len(received) - len(data)) // 2**18:
                await settled()
                mock_clock.jump(TIMEOUTS.response / 25)
        assert received.endswith(LARGE.text.chunks[-1])
        assert trio.current_time() > 0.6 * TIMEOUTS.response


async def test_who_reads_too_slowly_is_cut_off_in_the_end(large: Address, mock_clock: MockClock) -> None:
    client = await connect(large, receive_buffer=64 * 1024)
    async with client.stream:
        await client.send(request("/metrics"))
        await client.stream.receive_some(2**16)
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - which read fails is the kernel's affair
            while True:
                for _ in range(4):
                    await client.stream.receive_some(2**16)
                await settled()
                mock_clock.jump(TIMEOUTS.send / 3)
                await settled()
        assert TIMEOUTS.response == trio.current_time() - began


async def test_the_time_for_an_answer_begins_with_its_first_bytes_each_time(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    async def app(scope: object, receive: object, send: Any) -> None:
        await trio.sleep(2 * TIMEOUTS.response)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    address = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
    client = await connect(address)
    async with client.stream:
        await client.send(request("/") * 2)
        for _ in range(2):
            await settled()
            mock_clock.jump(2 * TIMEOUTS.response)
            assert (await client.answer()).body == b"ok"


# How it stops


async def test_a_stop_closes_idle_connections_at_once(stopping: Stopping, mock_clock: MockClock) -> None:
    address, scope, stopped = stopping
    before = trio.current_time()
    answered, silent, half = [await connect(address) for _ in range(3)]
    await answered.send(request("/health"))
    await answered.answer()
    await half.send(b"GET /metr")
    await settled()
    scope.cancel()
    await stopped.wait()
    assert before == trio.current_time()
    for client in (answered, silent, half):
        async with client.stream:
            assert await is_closed(client)
    with pytest.raises(ConnectionRefusedError):
        await connect(address)


async def test_a_stop_lets_an_answer_under_way_finish(stopping: Stopping, mock_clock: MockClock) -> None:
    address, scope, stopped = stopping
    client = await connect(address, receive_buffer=4096)
    async with client.stream:
        await client.send(request("/metrics"))
        await settled()
        scope.cancel()
        await settled()
        assert not stopped.is_set()
        assert LARGE.text.length == len((await client.answer()).body)
        assert await is_closed(client)
        await stopped.wait()


async def test_a_stop_waits_for_no_client(stopping: Stopping, mock_clock: MockClock) -> None:
    address, scope, stopped = stopping
    before = descriptors()
    clients = [await connect(address, receive_buffer=4096) for _ in range(100)]
    for client in clients:
        await client.send(request("/metrics"))
    refused = await connect(address)
    await refused.send(request("/metrics", "Content-Length: 9", method="POST"))
    await settled()
    scope.cancel()
    await settled()
    assert not stopped.is_set()
    mock_clock.jump(TIMEOUTS.shutdown)
    await stopped.wait()
    for client in (*clients, refused):
        await trio.aclose_forcefully(client.stream)
    after = descriptors()
    assert not after - before
    assert 1 == len(before - after)


async def test_a_stop_waits_for_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def make_slowly(*_: object) -> None:
        begun.set()
        may_end.wait()

    monkeypatch.setattr(pages, "groups_page", make_slowly)
    try:
        async with trio.open_nursery() as nursery:
            client = await connect(await started(nursery))
            await client.send(request("/"))
            await trio.to_thread.run_sync(begun.wait)
            nursery.cancel_scope.cancel()
        assert not may_end.is_set()
        await trio.aclose_forcefully(client.stream)
    finally:
        may_end.set()


async def test_an_app_that_fails_while_it_is_stopped_is_logged(logged: list[EventDict]) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise RuntimeError("the reason")

    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
        client = await connect(address)
        await client.send(request("/"))
        await settled()
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(client.stream)
    assert [event["event"] for event in logged] == ["request failed"]
    logged.clear()
