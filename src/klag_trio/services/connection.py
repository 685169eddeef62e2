"""One client's HTTP/1.1 connection: hypercorn's protocol in a shell of our own.

hypercorn's own shell, `TCPServer`, has faults that nothing around it can mend:

- While it finishes an answer it tells the app `http.disconnect`. quart-trio takes that for the client
  leaving and cancels the task that is finishing the answer, in the middle of the connection's recycling:
  the connection stays open, whatever was asked for and however long it idles.
- Its sends are shielded and have no deadline: a client that does not read holds its task, and any stop, for
  ever.
- Its `read_timeout` runs while an answer is sent too, and starts anew with every byte: it cuts off slow
  readers and lets slow senders be.
- A request body fills a queue that nobody empties once the answer is made: the connection's task never
  ends.
- It closes on unread bytes, which resets the connection: a refused upload may never see its refusal.

`Connection` takes its place. Whatever ends a connection cancels its nursery, so nothing of it outlives it
and the app needs no message that the client has left. Only hypercorn's `H11Protocol` remains, without the
ways it offers into HTTP/2 and websockets: a request to upgrade is answered as if it had not asked.

It offers the app an ASGI extension, `SHARED_BODY`: the whole of an answer's body that is there already, which
goes out in a burst.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

import attrs
import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, ConnectionState, Scope

from klag_trio.services.burst import Bursts
from klag_trio.services.transport import RefusedError, make_transport
from klag_trio.services.turns import Turns
from klag_trio.services.web_security import Security
from klag_trio.stopping import ANSWERS_SECONDS

_log = structlog.get_logger(__name__)

_PIECE = 256 * 1024
_END_OF_HEADERS = b"\r\n\r\n"

SHARED_BODY = "klag_trio.shared_body"
"""The ASGI extension, and the type of its one message, whose `chunks` are a whole body in order."""


@attrs.frozen(kw_only=True)
class Patience:
    """How long the server waits for its clients, in seconds."""

    request: float = 10
    """For the client's part of a handshake, for the headers of a connection's first request, and from the
    first byte on for those of any other."""
    keep_alive: float = 75
    """For the next request: longer than usual scrape intervals, so that a scraper keeps its connection."""
    burst: float = 0.25
    """For the client to take a body in a burst; what is left then goes out piece by piece."""
    piece: float = 30
    """For the client to take each 256 KiB of an answer, so that who reads nothing is soon found out."""
    answer: float = 120
    """For the client to take the whole of an answer. While it does it makes no room for others; and no
    scrape is waited for so long: `scrape_timeout` is 10 s by default, and `scrape_interval` at most."""
    linger: float = 2
    """For a refused client to finish sending and read why."""
    stop: float = ANSWERS_SECONDS
    """For answers under way when the server is told to stop."""


class Waiting(Protocol):
    """Who has to know which connections wait for a request: they are the ones to be given up for others."""

    def begins(self, connection: Connection) -> None:
        """From now on this one waits."""

    def ends(self, connection: Connection) -> None:
        """It no longer does; also called where it never did."""


@attrs.frozen(kw_only=True)
class Site:
    """What all connections of a server share."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    patience: Patience
    bursts: Bursts
    handshakes: trio.CapacityLimiter
    waiting: Waiting
    turns: Turns
    security: Callable[[], Security]


class Connection:
    """One client's connection, from its first byte to its close.

    hypercorn's protocol takes it for the `TaskGroup` that runs the app and hands it what is to be sent.
    """

    def __init__(self, site: Site, stream: trio.SocketStream) -> None:
        self._site = site
        self._patience = site.patience
        self._security = site.security()
        self._transport = make_transport(stream, self._security, site.bursts, site.handshakes)
        self._scope = trio.CancelScope()
        self._send_lock = trio.Lock()
        self._idle = True
        self._cut = False
        self._protocol = _Http1(
            site.app,
            site.config,
            site.context,
            self,  # type: ignore[arg-type]  # HTTP/1.1 calls nothing but spawn_app
            ConnectionState({}),
            ssl=self._security.tls is not None,
            client=None,
            server=None,
            send=self._on_event,
        )

    async def run(self) -> None:
        """Answer requests until either side closes; the stream is closed on return."""
        try:
            with self._scope:
                self._site.waiting.begins(self)
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._close_when_stopping)
                    with contextlib.suppress(trio.BrokenResourceError):
                        await self._transport.start(self._patience.request)
                        self._scope.deadline = trio.current_time() + self._patience.request
                        await self._read()
                    # What is under way has nobody to go to; where it has, _read does not come back.
                    self._scope.cancel()
            if not self._cut and self._protocol.connection.their_state in (h11.SEND_BODY, h11.ERROR):
                await self._linger()
        except* RefusedError as group:
            _log.debug("a client was refused", reason="; ".join(map(str, group.exceptions)))
        finally:
            self._site.waiting.ends(self)
            await self._transport.close(reset=self._cut)

    def give_up(self) -> None:
        """Close it, whatever it waits for."""
        self._scope.cancel()

    async def spawn_app(
        self,
        app: AppWrapper,
        _config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the app on one request; what hypercorn has to tell it later goes to the returned function."""
        cast("dict[str, Any]", scope)["extensions"] = {SHARED_BODY: {}}
        self._nursery.start_soon(self._answer, app, scope, send)
        return _ignore

    async def _answer(
        self, app: AppWrapper, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> None:
        asked = False

        async def receive() -> ASGIReceiveEvent:
            nonlocal asked
            if asked:
                await trio.sleep_forever()
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        try:
            await app(scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run)
        except Exception:
            _log.exception("the web app failed on a request")
        # The app is done: where it has not answered hypercorn says 500, where it broke off it closes.
        await send(None)

    async def _read(self) -> None:
        """Take in what comes. Returns once nobody is left to be answered."""
        while True:
            data = await self._transport.receive()
            if self._idle:
                if data and self._site.security().tls is not self._security.tls:
                    # It shook hands under a configuration that no longer holds, and has to do so anew.
                    return
                self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._patience.request)
                if _END_OF_HEADERS in data:
                    # A client that has said what it wants is not to blame for the crowd that it is in.
                    self._scope.deadline = math.inf
                    await self._site.turns.take(data)
                    self._scope.deadline = trio.current_time() + self._patience.request
            await self._protocol.handle(RawData(data))
            if not data:
                break
        # A client that has said all it will say may still wait for its answer.
        if not self._idle:
            await trio.sleep_forever()

    async def _on_event(self, event: Event) -> None:
        """Do what hypercorn's protocol decided."""
        if isinstance(event, (RawData, _SharedBody)) and self._scope.deadline == math.inf:
            # Its first bytes: what the app took before them is not the client's time.
            self._scope.deadline = trio.current_time() + self._patience.answer
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, _SharedBody):
            await self._send_body(event)
        elif isinstance(event, Updated):
            self._idle = event.idle
            (self._site.waiting.begins if event.idle else self._site.waiting.ends)(self)
            self._scope.deadline = trio.current_time() + self._wait_for_request() if event.idle else math.inf
        elif isinstance(event, Closed):
            self._scope.cancel()

    def _wait_for_request(self) -> float:
        begun, _ = self._protocol.connection.trailing_data
        return self._patience.request if begun else self._patience.keep_alive

    async def _send_body(self, body: _SharedBody) -> None:
        left = [memoryview(chunk) for chunk in body.chunks]
        async with self._send_lock:
            if len(body) > _PIECE:
                left = await self._burst(left)
            await self._send_pieces(left)

    async def _send(self, data: bytes) -> None:
        async with self._send_lock:
            await self._send_pieces([memoryview(data)])

    async def _burst(self, chunks: list[memoryview]) -> list[memoryview]:
        self._cut = True
        try:
            left = await self._transport.burst(chunks)
        except trio.BrokenResourceError:
            await self._give_up()
            return []
        self._cut = False
        return left

    async def _send_pieces(self, views: list[memoryview]) -> None:
        for view in views:
            for start in range(0, len(view), _PIECE):
                await self._send_piece(view[start : start + _PIECE])

    async def _send_piece(self, piece: memoryview) -> None:
        self._cut = True
        with trio.move_on_after(self._patience.piece), contextlib.suppress(trio.BrokenResourceError):
            await self._transport.send(piece)
            self._cut = False
        if self._cut:
            await self._give_up()

    async def _give_up(self) -> None:
        # Whoever sends is cancelled here and need not look at how it went.
        self._scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _close_when_stopping(self) -> None:
        await self._site.context.terminated.wait()
        if self._idle:
            self._scope.cancel()

    async def _linger(self) -> None:
        """Let a client that still sends read the answer: closing on unread bytes resets the connection."""
        with trio.move_on_after(self._patience.linger), contextlib.suppress(trio.BrokenResourceError):
            await self._transport.finish()


async def _ignore(message: ASGIReceiveEvent) -> None:
    """Request bodies are read and dropped, and that the client has left is told by cancellation."""


@attrs.frozen
class _SharedBody(Event):
    """A whole body, on its way from the app to the connection."""

    stream_id: int
    chunks: Sequence[bytes]

    def __len__(self) -> int:
        """Give the bytes in it: all that h11 asks of data that it is to let pass."""
        return sum(map(len, self.chunks))


class _Stream(HTTPStream):
    """hypercorn's side of one request, with the extension."""

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None or cast("dict[str, Any]", message)["type"] != SHARED_BODY:
            await super().app_send(message)
            return
        chunks = cast("dict[str, Any]", message)["chunks"]
        await self.send(_SharedBody(self.stream_id, chunks))  # type: ignore[arg-type]
        await self._send_closed()


class _Http1(H11Protocol):
    """hypercorn's HTTP/1.1 without HTTP/2 and websockets, and with every target made a path or refused."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        target = _path_of(request)
        if target is None or not request.http_version.startswith(b"1."):
            await self._send_error_response(400 if target is None else 505)
            await self.send(Closed())
            return
        self.stream = _Stream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                # hypercorn makes it capitals; but then its "head" has no body where h11 expects one.
                method=request.method.decode(),
                raw_path=target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def stream_send(self, event: StreamEvent) -> None:
        if not isinstance(event, _SharedBody):
            await super().stream_send(event)
            return
        # h11 counts the bytes against the answer's Content-Length; with one it adds none of its own.
        connection = cast(h11.Connection, self.connection)
        connection.send_with_data_passthrough(h11.Data(data=event))  # type: ignore[arg-type]
        await self.send(event)


def _path_of(request: h11.Request) -> bytes | None:
    """Path and query of a target in one of the four forms of RFC 9112, section 3.2; None for any other."""
    target = request.target
    if target.startswith(b"/"):
        return target
    if target.lower().startswith((b"http://", b"https://")):
        _, slash, path = target.partition(b"://")[2].partition(b"/")
        return (slash + path) or b"/"
    if target == b"*" or request.method == b"CONNECT":
        return b"/*"
    return None
