"""A client that sees what is on the wire."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import attrs
import trio

Address = tuple[str, int]
S = TypeVar("S", bound=trio.abc.Stream)


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = attrs.field(repr=False)


def request(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: test", *headers, "", ""]).encode()


@attrs.define
class Client(Generic[S]):
    stream: S
    _buffer: bytearray = attrs.field(factory=bytearray)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, *, method: str = "GET") -> Answer:
        """Read one answer, and nothing of what follows it."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        status, *lines = bytes(self._buffer[:end]).decode().split("\r\n")
        del self._buffer[: end + 4]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status.split(" ")[1])
        length = 0 if method == "HEAD" or code < 200 else int(headers["content-length"])
        while len(self._buffer) < length:
            await self._more()
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return Answer(code, headers, body)

    async def rest(self) -> bytes:
        """Read what comes until the server closes."""
        while data := await self.stream.receive_some(2**16):
            self._buffer += data
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    async def _more(self) -> None:
        data = await self.stream.receive_some(2**16)
        if not data:
            raise EOFError(f"closed after {bytes(self._buffer[:200])!r}")
        self._buffer += data


async def connect(address: Address, *, receive_buffer: int | None = None) -> Client[trio.SocketStream]:
    family = trio.socket.AF_INET6 if ":" in address[0] else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    if receive_buffer is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
    try:
        await sock.connect(address)
    except OSError:
        sock.close()
        raise
    return Client(trio.SocketStream(sock))


async def ask(address: Address, data: bytes, *, method: str = "GET") -> Answer:
    """One request on a connection of its own."""
    client = await connect(address)
    async with client.stream:
        await client.send(data)
        return await client.answer(method=method)


async def is_closed(client: Client[S]) -> bool:
    """Wait until the server closes; False where it sends something first."""
    try:
        return await client.stream.receive_some(1) == b""
    except trio.BrokenResourceError:
        return True


def descriptors() -> set[str]:
    """What this process has open, each by its number and what it leads to.

    One that an earlier test left open may be closed meanwhile; in a count it would hide one that is left now.
    """
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder itself, or one that was closed just now
            found.add(f"{entry.name} {entry.readlink()}")
    return found
