"""Large bodies in one system call of a worker thread, where the client takes them as fast as they come.

Sent from the event loop, a body of 5 MB to 30 MB is some dozens of calls, and each needs the interpreter's
lock again: beside a cycle, or seven other scrapes, that is most of its latency.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence

import attrs
import trio

# Linux takes no more buffers in one call.
_IOV_MAX = 1024
# Bytes that wait for their turn to be sent, after which the writer waits. Without a bound Linux lets them
# grow to megabytes, and one answer of 7 MB in ten took 45 ms instead of 4: the client's kernel delayed an
# acknowledgement that ours was waiting for.
_UNSENT = 128 * 1024
_TCP_NOTSENT_LOWAT = 25


@attrs.frozen
class Bursts:
    """Sends bodies in bursts, so many of them at once as there are tokens."""

    seconds: float
    """Of waiting for a client, after which its thread is wanted elsewhere; more than 0."""
    limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(8))

    def prepare(self, sock: trio.socket.SocketType) -> None:
        """To be called once for each socket that bodies are sent to.

        Whoever reads from it has to say MSG_DONTWAIT: during a burst the socket blocks.
        """
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT)
        whole, part = divmod(round(self.seconds * 1_000_000), 1_000_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", whole, part))

    async def send(self, sock: trio.socket.SocketType, chunks: list[memoryview]) -> list[memoryview]:
        """Send what the client takes without a long wait, and return what is left of the chunks.

        A cancellation waits for the thread, which is `seconds` at most. All is left where no thread is
        free. Raises OSError where the connection is broken.
        """
        if not self.limiter.available_tokens:
            return chunks
        sent = await trio.to_thread.run_sync(_write, sock.fileno(), chunks[:_IOV_MAX], limiter=self.limiter)
        return _after(sent, chunks)


def _write(descriptor: int, chunks: Sequence[memoryview]) -> int:
    """Write and return how many bytes; the interpreter's lock is free meanwhile."""
    os.set_blocking(descriptor, True)
    try:
        return os.writev(descriptor, chunks)
    except BlockingIOError:
        return 0
    finally:
        os.set_blocking(descriptor, False)


def _after(sent: int, chunks: Sequence[memoryview]) -> list[memoryview]:
    left = []
    for chunk in chunks:
        if sent < len(chunk):
            left.append(chunk[sent:])
        sent = max(0, sent - len(chunk))
    return left
