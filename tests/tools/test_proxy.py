"""The network that the faults are made with does what it is told."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.faults.proxy import Proxies

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def connected(proxies: Proxies) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection through the first proxy."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxies.targets[0] = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", proxies.ports[0]), timeout=10) as near:
            server.settimeout(10)
            far, _ = server.accept()
            with far:
                far.settimeout(10)
                yield near, far


def test_bytes_pass_both_ways_after_the_delay() -> None:
    with Proxies(1) as proxies, connected(proxies) as (near, far):
        proxies.network.delay = 0.2
        began = time.monotonic()
        near.sendall(b"question")
        assert b"question" == far.recv(100)
        far.sendall(b"answer")
        assert b"answer" == near.recv(100)
        assert 0.4 <= time.monotonic() - began < 5


def test_no_more_bytes_pass_than_the_bandwidth_lets_through() -> None:
    with Proxies(1) as proxies, connected(proxies) as (near, far):
        proxies.network.bytes_per_second = 10_000
        began = time.monotonic()
        for _ in range(5):
            near.sendall(bytes(1000))
            left = 1000
            while left:
                left -= len(far.recv(left))
        assert 0.4 <= time.monotonic() - began < 5


def test_a_cut_breaks_what_is_there_and_refusing_what_is_new() -> None:
    with Proxies(1) as proxies, connected(proxies) as (near, _):
        proxies.network.refusing = True
        proxies.cut()
        assert b"" == near.recv(1)
        with socket.create_connection(("127.0.0.1", proxies.ports[0]), timeout=10) as refused:
            assert b"" == refused.recv(1)
