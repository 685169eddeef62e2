"""A crowd of clients, in a process of its own so that it does not wait for who measures.

    python -m tests.load.crowd '{"port": 8000, ...}'

Scrapers ask for /metrics every three seconds, all at the same moment; slow ones send a byte of a request
every second and come again when they are sent away. It goes on until every scraper had two answers and every
slow one was sent away, or for two minutes, and prints what they saw as JSON: the seconds it took, and for how
many of them the crowd itself waited for a core; how many answers of each status, seconds of the median and
the slowest, how many slow ones were sent away, and what went wrong.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import statistics
import sys
from collections import Counter
from pathlib import Path

import attrs
import trio

ROUND_SECONDS = 3.0
SHORTEST_SECONDS, LONGEST_SECONDS = 15.0, 120.0
GUESS_SECONDS = 0.5


@attrs.define(kw_only=True)
class Crowd:
    port: int
    scrapers: int = 0
    slow: int = 0
    ca: str | None = None
    user: str | None = None
    password: str = ""
    """Of the scrapers."""
    guessers: int = 0
    """Ask with a wrong password each time."""
    statuses: Counter[int] = attrs.field(factory=Counter)
    guessed: Counter[int] = attrs.field(factory=Counter)
    troubles: Counter[str] = attrs.field(factory=Counter)
    took: list[float] = attrs.field(factory=list)
    sent_away: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    _context: ssl.SSLContext | None = None
    _began: float = 0.0
    _enough: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        self._began = trio.current_time()
        waited = _waited_for_a_core()
        if self.ca is not None:
            self._context = ssl.create_default_context(cafile=self.ca)
        async with trio.open_nursery() as nursery:
            for _ in range(self.slow):
                nursery.start_soon(self._send_slowly)
            for _ in range(self.scrapers):
                nursery.start_soon(self._scrape)
            for number in range(self.guessers):
                nursery.start_soon(self._guess, number)
            print("begun", flush=True)  # noqa: T201
            with trio.move_on_after(LONGEST_SECONDS):
                self._look()
                await trio.sleep(SHORTEST_SECONDS)
                await self._enough.wait()
            nursery.cancel_scope.cancel()
        self.seconds = trio.current_time() - self._began
        self.waited = _waited_for_a_core() - waited

    def _look(self) -> None:
        """Look after each count whether every client had what the crowd is here for."""
        if sum(self.statuses.values()) >= 2 * self.scrapers and self.sent_away >= self.slow:
            self._enough.set()

    async def _connect(self) -> trio.abc.Stream:
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if self._context is not None:
            stream = trio.SSLStream(stream, self._context, server_hostname="127.0.0.1", https_compatible=True)
        return stream

    async def _scrape(self) -> None:
        while True:
            try:
                stream = await self._connect()
                async with stream:
                    while True:
                        started = trio.current_time()
                        self.statuses[await self._ask(stream, self.password)] += 1
                        self._look()
                        self.took.append(trio.current_time() - started)
                        await self._next_round()
            except (trio.BrokenResourceError, OSError, EOFError) as exc:
                self.troubles[repr(exc.__cause__ or exc)] += 1

    async def _next_round(self) -> None:
        """Wait until everybody asks again."""
        now = trio.current_time()
        await trio.sleep_until(self._began + ((now - self._began) // ROUND_SECONDS + 1) * ROUND_SECONDS)

    async def _guess(self, number: int) -> None:
        guesses = 0
        while True:
            try:
                async with await self._connect() as stream:
                    while True:
                        guesses += 1
                        self.guessed[await self._ask(stream, f"{number}-{guesses}")] += 1
                        # As a guesser who means to stay unnoticed a little longer.
                        await trio.sleep(GUESS_SECONDS)
            except (trio.BrokenResourceError, OSError, EOFError) as exc:
                self.troubles[repr(exc.__cause__ or exc)] += 1

    async def _ask(self, stream: trio.abc.Stream, password: str) -> int:
        lines = ["GET /metrics HTTP/1.1", "Host: crowd"]
        if self.user is not None:
            credentials = base64.b64encode(f"{self.user}:{password}".encode()).decode()
            lines.append(f"Authorization: Basic {credentials}")
        await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while (end := head.find(b"\r\n\r\n")) < 0:
            head += await self._some(stream)
        length = int(head[:end].lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        left = length - (len(head) - end - 4)
        while left > 0:
            left -= len(await self._some(stream))
        return int(head.split(b" ")[1])

    async def _some(self, stream: trio.abc.Stream) -> bytes:
        data = await stream.receive_some(2**17)
        if not data:
            raise EOFError("closed by the server")
        return bytes(data)

    async def _send_slowly(self) -> None:
        while True:
            try:
                async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                    for byte in b"GET /metrics HTTP/1.1\r\nHost: " + b"a" * 1000:
                        await stream.send_all(bytes([byte]))
                        with trio.move_on_after(1):
                            if not await stream.receive_some():
                                break
            except (trio.BrokenResourceError, OSError):
                pass
            self.sent_away += 1
            self._look()

    def seen(self) -> dict[str, object]:
        return {
            "seconds": self.seconds,
            "waited": self.waited,
            "scrapes": dict(self.statuses),
            "guesses": dict(self.guessed),
            "median": statistics.median(self.took) if self.took else None,
            "slowest": max(self.took, default=None),
            "sent_away": self.sent_away,
            "troubles": dict(self.troubles),
        }


def _waited_for_a_core() -> float:
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


if __name__ == "__main__":
    # Real clients have machines of their own: what these compute must not take the program's time.
    os.nice(10)
    crowd = Crowd(**json.loads(sys.argv[1]))
    trio.run(crowd.run)
    print(json.dumps(crowd.seen()))  # noqa: T201
