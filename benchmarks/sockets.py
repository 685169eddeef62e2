"""Bytes that came in over TCP from the broker, counted by the kernel, not by the exporter.

Linux's sock_diag(7) gives tcp_info of every open connection, and of every closed one as it is destroyed, so
connections that live for a moment between two looks are counted too. Where the kernel refuses (no
CAP_NET_ADMIN), nothing is counted and nothing is made up.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Collection
from types import TracebackType
from typing import Self

import attrs

from benchmarks.family import own_socket_inodes

_NETLINK_SOCK_DIAG = 4
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_DESTROYED_TCP = (1, 3)  # SKNLGRP_INET_TCP_DESTROY and its IPv6 sister
_BY_FAMILY = 20
_DONE = 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_TCP_INFO = 2
_BYTES_RECEIVED = 128  # offset of tcpi_bytes_received in struct tcp_info
_HEADER = 16
_DIAG_MESSAGE = 72
_ALL_STATES = 0xFFF


@attrs.frozen
class TcpConnection:
    local_port: int
    remote_port: int
    inode: int
    received: int


class InboundBytes:
    """Counts what every process but this one receives from the broker's ports, while entered.

    On the machine of a benchmark the exporter is the only other client of its broker.
    """

    def __init__(self, broker_ports: Collection[int]) -> None:
        self._ports = frozenset(broker_ports)
        self._closed = 0
        self._mine: set[int] = set()
        self._events: socket.socket | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._base = 0

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
            events.bind((0, 0))
            events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            for group in _DESTROYED_TCP:
                events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
            events.settimeout(0.2)
            self._events = events
            self._base = self._open_bytes()
            self._thread = threading.Thread(target=self._watch, args=(events,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        if self._events is not None:
            self._events.close()

    def total(self) -> int | None:
        """Bytes received since entered; None where the kernel does not tell."""
        if self._thread is None:
            return None
        with self._lock:
            return self._closed + self._open_bytes() - self._base

    def _open_bytes(self) -> int:
        own = own_socket_inodes(os.getpid())
        found = [c for c in open_connections() if c.remote_port in self._ports]
        self._mine |= {c.local_port for c in found if c.inode in own}
        return sum(c.received for c in found if c.local_port not in self._mine)

    def _watch(self, events: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                data = events.recv(1 << 16)
            except TimeoutError:
                with self._lock:
                    self._open_bytes()  # learns our own ports while their sockets are open
                continue
            except OSError:
                continue  # the queue overran: the count is too low by what was lost
            with self._lock:
                for connection in _parse(data):
                    if connection.remote_port in self._ports and connection.local_port not in self._mine:
                        self._closed += connection.received


def open_connections() -> list[TcpConnection]:
    """Every TCP connection of this network namespace."""
    found: list[TcpConnection] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(2)
        netlink.bind((0, 0))
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 1 << (_TCP_INFO - 1), 0, _ALL_STATES)
            head = struct.pack("=IHHII", _HEADER + len(body), _BY_FAMILY, _DUMP, 1, 0)
            netlink.send(head + body)
            done = False
            while not done:
                data = netlink.recv(1 << 18)
                found.extend(_parse(data))
                done = _is_done(data)
    return found


def _parse(data: bytes) -> list[TcpConnection]:
    found = []
    for start, length, kind in _messages(data):
        if kind != _BY_FAMILY:
            continue
        local, remote = struct.unpack_from("!HH", data, start + _HEADER + 4)
        (inode,) = struct.unpack_from("=I", data, start + _HEADER + _DIAG_MESSAGE - 4)
        at = start + _HEADER + _DIAG_MESSAGE
        while at + 4 <= start + length:
            size, attribute = struct.unpack_from("=HH", data, at)
            if attribute == _TCP_INFO and size - 4 >= _BYTES_RECEIVED + 8:
                (received,) = struct.unpack_from("=Q", data, at + 4 + _BYTES_RECEIVED)
                found.append(TcpConnection(local, remote, inode, received))
            at += max(4, (size + 3) & ~3)
    return found


def _is_done(data: bytes) -> bool:
    return any(kind == _DONE for _, _, kind in _messages(data))


def _messages(data: bytes) -> list[tuple[int, int, int]]:
    found, start = [], 0
    while start + _HEADER <= len(data):
        length, kind = struct.unpack_from("=IH", data, start)
        if length < _HEADER:
            break
        found.append((start, length, kind))
        start += (length + 3) & ~3
    return found
