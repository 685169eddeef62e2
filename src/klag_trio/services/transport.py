"""The bytes of one connection: plain, or in TLS.

TLS is Python's `ssl.SSLObject` between two buffers, without `trio.SSLStream` around it, which computes
handshakes in the event loop: of a thousand scrapers that connect at once each takes about a millisecond,
and a probe would wait for all of them. Here they are computed in worker threads, without the interpreter's
lock, and few at a time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from typing import Protocol

import trio

from klag_trio.services.burst import Bursts
from klag_trio.services.tls import names_of
from klag_trio.services.web_security import Security

_RECEIVE = 16 * 1024
"""h11 lets an event grow to 16 KiB while it is incomplete: more in one read could pass it whole."""
_ENCRYPTED_AT_ONCE = 16 * 1024
"""Bytes of an answer that a client who does not read keeps encrypted."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_SPEAK_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n"
    b"Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\r\n"
)


class RefusedError(Exception):
    """The client and we do not agree on TLS; the message is no word of the client's."""


class Transport(Protocol):
    """One connection. Where it breaks, each call raises trio.BrokenResourceError."""

    async def start(self, patience: float) -> None:
        """Do what comes before the first byte, and wait for the client so many seconds in all.

        Raises RefusedError.
        """

    async def receive(self) -> bytes:
        """Wait for bytes; none at the end."""

    async def send(self, data: memoryview) -> None:
        """Send all of it."""

    async def burst(self, chunks: list[memoryview]) -> list[memoryview]:
        """Send what the client takes at once of a whole body, and return what is left."""

    async def finish(self) -> None:
        """Say that no more will be sent, and drop what still comes until the client is done too."""

    async def close(self, *, reset: bool) -> None:
        """Close at once; a reset drops what the client has not taken yet."""


class Plain:
    """TCP."""

    def __init__(self, stream: trio.SocketStream, bursts: Bursts) -> None:
        self._stream = stream
        self._bursts = bursts
        bursts.prepare(stream.socket)

    async def start(self, patience: float) -> None:
        """Nothing comes before the first byte."""

    async def receive(self) -> bytes:
        """Wait for bytes; none at the end."""
        try:
            # Not the stream's receive_some: the socket blocks while a burst is under way.
            return await self._stream.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except OSError as exc:
            raise trio.BrokenResourceError from exc

    async def send(self, data: memoryview) -> None:
        """Send all of it."""
        await self._stream.send_all(data)

    async def burst(self, chunks: list[memoryview]) -> list[memoryview]:
        """Send what the client takes at once of a whole body, and return what is left."""
        try:
            return await self._bursts.send(self._stream.socket, chunks)
        except OSError as exc:
            raise trio.BrokenResourceError from exc

    async def finish(self) -> None:
        """Say that no more will be sent, and drop what still comes until the client is done too."""
        await _drain(self._stream)

    async def close(self, *, reset: bool) -> None:
        """Close at once; a reset drops what the client has not taken yet."""
        await _close(self._stream, reset=reset)


class Tls:
    """TLS over TCP, the server's side."""

    def __init__(
        self,
        stream: trio.SocketStream,
        context: ssl.SSLContext,
        allowed_sans: frozenset[str],
        handshakes: trio.CapacityLimiter,
    ) -> None:
        self._stream = stream
        self._allowed_sans = allowed_sans
        self._handshakes = handshakes
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # What the reading task has to say (a key update) must not mix with an answer on its way.
        self._sending = trio.Lock()

    async def start(self, patience: float) -> None:
        """Shake hands. Raises RefusedError where the client shows no certificate that will do.

        What others' handshakes keep it waiting is not counted: where a thousand come at once, those that
        were late for that reason would come again, and again be late.
        """
        while True:
            asked = trio.current_time()
            pulled = False
            with trio.move_on_after(patience):
                pulled = await self._pull()
            if not pulled:
                raise trio.BrokenResourceError
            # Its bytes may come while a busy machine has let the time run out; what follows has no more.
            patience = max(0.0, patience - (trio.current_time() - asked))
            try:
                await trio.to_thread.run_sync(self._object.do_handshake, limiter=self._handshakes)
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError as exc:
                await self._refuse(exc)
            else:
                break
        await self._flush()
        if self._allowed_sans and not self._allowed_sans & names_of(self._object.getpeercert()):
            raise RefusedError("the client's certificate has none of the names in client_allowed_sans")

    async def receive(self) -> bytes:
        """Wait for bytes; none at the end."""
        while True:
            try:
                return self._object.read(_RECEIVE)
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""
            except ssl.SSLError as exc:
                raise trio.BrokenResourceError from exc
            await self._flush()
            await self._pull()

    async def send(self, data: memoryview) -> None:
        """Send all of it."""
        async with self._sending:
            while data:
                encrypted = 0
                while data and encrypted < _ENCRYPTED_AT_ONCE:
                    written = self._encrypt(data)
                    encrypted += written
                    data = data[written:]
                await self._stream.send_all(self._outgoing.read())

    def _encrypt(self, data: memoryview) -> int:
        """Make one record, of at most 16 KiB, and return how many bytes are in it."""
        try:
            return self._object.write(data)
        except ssl.SSLError as exc:
            # The client has left in the meantime, with or without a goodbye.
            raise trio.BrokenResourceError from exc

    async def burst(self, chunks: list[memoryview]) -> list[memoryview]:
        """Return all of it: what goes to the socket are not these bytes."""
        return chunks

    async def finish(self) -> None:
        """Say that no more will be sent, and drop what still comes until the client is done too."""
        self._say_goodbye()
        await self._flush()
        await _drain(self._stream)

    async def close(self, *, reset: bool) -> None:
        """Close at once; a reset drops what the client has not taken yet."""
        if not reset:
            # A client can tell an answer that ended from one that was cut off. Where the kernel has no
            # room for these few bytes the client has not read what came before either.
            self._say_goodbye()
            self._send_now()
        # Some 40 KiB of OpenSSL's, which would wait for the garbage collector otherwise: whatever holds a
        # connection is part of a cycle, and cycles are looked for rarely.
        del self._object, self._incoming, self._outgoing
        await _close(self._stream, reset=reset)

    async def _refuse(self, exc: ssl.SSLError) -> None:
        if exc.reason == "HTTP_REQUEST":
            self._outgoing.write(_SPEAK_TLS)
        # An alert that says why.
        self._send_now()
        raise RefusedError((exc.reason or "unknown").lower().replace("_", " ")) from None

    async def _pull(self) -> bool:
        """Wait for bytes from the client; False at the end."""
        try:
            data = await self._stream.receive_some(_RECEIVE)
        except trio.ClosedResourceError as exc:
            raise trio.BrokenResourceError from exc
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return bool(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            async with self._sending:
                await self._stream.send_all(self._outgoing.read())

    def _say_goodbye(self) -> None:
        # It wants to read the client's goodbye, or there never was a handshake.
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()

    def _send_now(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._stream.socket.fileno(), self._outgoing.read())


async def _drain(stream: trio.SocketStream) -> None:
    await stream.send_eof()
    while await stream.receive_some(_RECEIVE):
        pass


async def _close(stream: trio.SocketStream, *, reset: bool) -> None:
    if reset:
        # What the client has not taken would stay in the kernel's memory for minutes.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    await trio.aclose_forcefully(stream)


def make_transport(
    stream: trio.SocketStream, security: Security, bursts: Bursts, handshakes: trio.CapacityLimiter
) -> Transport:
    """Give the transport that the security asks for."""
    if security.tls is None:
        return Plain(stream, bursts)
    return Tls(stream, security.tls, security.allowed_sans, handshakes)
