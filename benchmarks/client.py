"""The clock beside the exporter: a process of its own that scrapes /metrics or asks /health.

`python -m benchmarks.client health URL INTERVAL` asks until its standard input closes.
`python -m benchmarks.client scrape URL COUNT SPREAD AT_ONCE ENCODING LIMIT` scrapes and ends.
Either prints one JSON object at its end. Connections are kept, as Prometheus keeps them, and made again
where the server closed them. One thread and non-blocking sockets, so that eight clients wait for the
exporter and never for each other.
"""

from __future__ import annotations

import contextlib
import json
import select
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 30.0


class Connection:
    """One kept HTTP/1.1 connection that reads answers and forgets their bytes."""

    def __init__(self, url: str, encoding: str = "identity") -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._request = (
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: benchmarks\r\n"
            f"Accept: text/plain;version=0.0.4\r\nAccept-Encoding: {encoding}\r\n\r\n"
        ).encode()
        self._buffer = bytearray(1 << 18)
        self.socket: socket.socket | None = None
        self._head = b""
        self._tail = b""
        self._left: int | None = None
        self._chunked = False
        self.status = 0
        self.encoding = "identity"
        self.size = 0

    def open(self) -> socket.socket:
        if self.socket is None:
            self.socket = socket.create_connection(self._address, timeout=TIMEOUT)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.socket

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def send(self) -> socket.socket:
        """Ask; a connection that the server closed meanwhile is made again."""
        self._head, self._tail, self._left, self.status, self.size = b"", b"", None, 0, 0
        if self.socket is not None and select.select([self.socket], [], [], 0)[0]:
            self.close()
        opened = self.open()
        opened.setblocking(True)
        opened.sendall(self._request)
        opened.setblocking(False)
        return opened

    def receive(self) -> bool:
        """Take what has arrived; True once the answer is complete."""
        assert self.socket is not None
        try:
            got = self.socket.recv_into(self._buffer)
        except BlockingIOError:
            return False
        if got == 0:
            complete = bool(self.status) and self._left is None and not self._chunked
            self.close()
            if not complete:
                raise ConnectionError("the exporter closed the connection in the middle of an answer")
            return True
        if self.status == 0:
            return self._start(bytes(self._buffer[:got]))
        return self._more(got, bytes(self._buffer[max(0, got - 5) : got]))

    def _start(self, data: bytes) -> bool:
        self._head += data
        head, mark, rest = self._head.partition(b"\r\n\r\n")
        if not mark:
            return False
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        self.status = int(lines[0].split()[1])
        self.encoding = headers.get("content-encoding", "identity")
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        if "content-length" in headers:
            self._left = int(headers["content-length"])
        return self._more(len(rest), rest[-5:])

    def _more(self, got: int, tail: bytes) -> bool:
        self.size += got
        if self._left is not None:
            return self.size >= self._left
        self._tail = (self._tail + tail)[-5:]
        return self._chunked and self._tail.endswith(b"0\r\n\r\n")


def burst(connections: list[Connection]) -> Iterator[tuple[float, int]]:
    """Ask on all at once; seconds from the common start to the end of each answer, and its bytes."""
    for connection in connections:
        connection.open()
    with selectors.DefaultSelector() as selector:
        started = time.monotonic()
        for connection in connections:
            selector.register(connection.send(), selectors.EVENT_READ, connection)
        waiting = len(connections)
        while waiting:
            ready = selector.select(max(0.0, started + TIMEOUT - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no answer within {TIMEOUT:.0f} s")
            for key, _ in ready:
                if key.data.receive():
                    waiting -= 1
                    selector.unregister(key.fileobj)
                    yield time.monotonic() - started, key.data.size


def scrape(url: str, count: int, spread: float, at_once: int, encoding: str, limit: float) -> dict[str, Any]:
    """So many bursts, evenly over `spread` seconds, or one after the other where that is too short."""
    connections = [Connection(url, encoding) for _ in range(at_once)]
    answers: list[tuple[float, int]] = []
    failures = 0
    started = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, started + number * spread / count - time.monotonic()))
        if time.monotonic() - started > limit:
            break
        try:
            answers.extend(burst(connections))
        except OSError:
            failures += 1
            for connection in connections:
                connection.close()
    for connection in connections:
        connection.close()
    return {"answers": answers, "failures": failures, "encoding": connections[0].encoding}


def health(url: str, interval: float) -> dict[str, Any]:
    """Ask until standard input closes; `first` is the monotonic time at which the first 200 had arrived."""
    connection = Connection(url)
    first: float | None = None
    latencies: list[float] = []
    failures = 0
    while not select.select([sys.stdin], [], [], interval if first is not None else 0.005)[0]:
        try:
            took, _ = next(burst([connection]))
        except OSError:
            connection.close()
            # Before it is up a refused connection is no answer at all, and no failure.
            failures += first is not None
            continue
        if connection.status != 200:
            failures += first is not None
        elif first is None:
            first = time.monotonic()
        else:
            latencies.append(took)
    connection.close()
    return {"first": first, "latencies": latencies, "failures": failures}


def main(arguments: list[str]) -> None:
    print("ready", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        if arguments[0] == "health":
            result = health(arguments[1], float(arguments[2]))
        else:
            url, count, spread, at_once, encoding, limit = arguments[1:]
            result = scrape(url, int(count), float(spread), int(at_once), encoding, float(limit))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
