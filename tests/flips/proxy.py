"""A proxy between klag-trio and a broker, which may change the broker's answers."""

from __future__ import annotations

import select
import socket
import socketserver
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def receive(source: socket.socket) -> bytes:
    """The next request or answer, without its length; nothing at the end."""
    length = int.from_bytes(source.recv(4, socket.MSG_WAITALL))
    return source.recv(length, socket.MSG_WAITALL) if length else b""


class Proxy(socketserver.ThreadingTCPServer):
    """A port of loopback that leads to the port `target` of loopback.

    `change` gets the API key of each request and its answer, and gives what is passed on instead.
    """

    daemon_threads = True
    target: int
    change: Callable[[int, bytes], bytes]


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        near, waiting = self.request, dict[bytes, int]()
        # Either side may be gone at any time.
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.target)) as far:
            while True:
                for source in select.select([near, far], [], [])[0]:
                    if not (content := receive(source)):
                        return
                    if source is near:
                        # The API key, its version, and the number that the answer begins with.
                        waiting[content[4:8]] = int.from_bytes(content[:2])
                    else:
                        content = self.server.change(waiting.pop(content[:4]), content)
                    (far if source is near else near).sendall(len(content).to_bytes(4) + content)


@contextmanager
def proxying() -> Iterator[Proxy]:
    """A proxy that runs in threads of its own as long as the block."""
    with Proxy(("127.0.0.1", 0), _Connection) as proxy:
        thread = Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
