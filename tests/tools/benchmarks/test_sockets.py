from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest
from benchmarks.sockets import InboundBytes, open_connections

SIZE = 300_000
READER = (
    "import socket, sys\n"
    "with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as s:\n"
    "    while s.recv(65536): pass\n"
)


def _wait_for(inbound: InboundBytes, expected: int) -> None:
    deadline = time.monotonic() + 10
    while (inbound.total() or 0) < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    # The end of a connection counts as a byte of it.
    assert inbound.total() in range(expected, expected + 4)


def _serve(server: socket.socket, count: int) -> None:
    """Another process reads SIZE bytes on each of so many short connections."""
    for _ in range(count):
        with subprocess.Popen([sys.executable, "-c", READER, str(server.getsockname()[1])]):
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(b"x" * SIZE)


def test_bytes_on_connections_that_are_over_before_anybody_looks_are_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, InboundBytes([server.getsockname()[1]]) as inbound:
        _serve(server, 3)

        _wait_for(inbound, 3 * SIZE)


def test_bytes_on_an_open_connection_are_counted_and_those_from_before_are_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", READER, str(port)]):
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(b"x" * 1000)
                while 1000 not in {c.received for c in open_connections() if c.remote_port == port}:
                    time.sleep(0.01)
                with InboundBytes([port]) as inbound:
                    accepted.sendall(b"x" * SIZE)
                    _wait_for(inbound, SIZE)


@pytest.mark.parametrize("closed", [False, True])
def test_what_this_process_receives_itself_is_not_counted(closed: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, InboundBytes([server.getsockname()[1]]) as inbound:
        own = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with accepted, own:
            assert 0 == inbound.total()
            accepted.sendall(b"x" * 5000)
            own.recv(5000, socket.MSG_WAITALL)
            if closed:
                own.close()
            _serve(server, 1)

            _wait_for(inbound, SIZE)


def test_connections_to_other_ports_are_not_counted() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
        InboundBytes([server.getsockname()[1]]) as inbound,
    ):
        _serve(other, 1)
        _serve(server, 1)

        _wait_for(inbound, SIZE)
