"""The adapter to hypercorn: serves an ASGI app over HTTP/1.1, plain or in TLS, on connections with timeouts.

hypercorn 0.18 and quart-trio 0.12 have faults that are worked around here. Each workaround can go as soon as
upstream has fixed its fault:

- While a response ends, hypercorn sends the app `http.disconnect`; quart-trio takes that for the client
  leaving and cancels the task that ends it, so that the connection stays open. And of a body that the app
  does not read, hypercorn queues ten parts and then reads nothing more. `_isolated` passes neither on.
- An app that is cancelled before its first byte is answered with 500, at whatever stage the protocol is.
- `TCPServer` sends without a timeout, shielded: a client that does not read keeps its task, and a shutdown.
- Its `read_timeout` also runs while a response is sent, and starts again with every byte.
- It closes while bytes are unread, which resets the connection: a client may never read why it was refused.
- `H11Protocol` accepts upgrades to HTTP/2 and websockets, requests with both Content-Length and
  Transfer-Encoding, and methods in lower case, and takes an absolute target for a path.
- It has no limit on connections.
- quart-trio answers a Host that is no host name with 500 and a traceback: `Http1` passes on another, as no
  response depends on it.
"""

from __future__ import annotations

import contextlib
import enum
import math
import socket
import struct
import sys
from collections.abc import Callable

import attrs
import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ConnectionState,
    Scope,
)
from hypercorn.utils import wrap_app

from klag_trio.stopping import ANSWERS_SECONDS
from klag_trio.web.connection_limit import ConnectionLimit, accept
from klag_trio.web.http1 import Http1
from klag_trio.web.listening import HTTP_KEYS, listen
from klag_trio.web.security import OPEN, Security
from klag_trio.web.tls import handshake, secured, transport_of

_log = structlog.get_logger(__name__)

MOST_CONNECTIONS = 512
"""Half of the descriptors that most systems grant at least: Kafka clients need some too."""

# h11 limits what it has of an incomplete request to 16 KiB: with as much in a read, headers are less than 32.
_RECEIVE_BYTES = 16 * 1024
_TLS_SEND_BYTES = 256 * 1024
_MOST_PARTS = 1024  # Linux's IOV_MAX
_SMALL_BYTES = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long the server waits for its clients, in seconds."""

    request: float = 10
    """For a handshake, and for the headers of a request: of the first from the start, of others from their
    first byte on."""
    keep_alive: float = 75
    """For the next request: longer than usual scrape intervals, so that a scraper keeps its connection."""
    send: float = 30
    """For the client to receive some more of a response; in TLS, 256 KiB."""
    response: float = 120
    """For the client to receive a response: no scrape timeout is as long."""
    linger: float = 2
    """For a refused client to send the rest of its request and read the response."""
    shutdown: float = ANSWERS_SECONDS
    """For responses that are being sent when the server is cancelled."""


async def serve(
    app: ASGIFramework,
    *,
    host: str,
    port: int,
    keys: str = HTTP_KEYS,
    security: Callable[[], Security] = lambda: OPEN,
    most_connections: int = MOST_CONNECTIONS,
    timeouts: Timeouts = Timeouts(),
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve this app until cancelled, then stop within `timeouts.shutdown`.

    The app gets requests without bodies, and no lifespan events. `task_status` gets the address and port
    listened on (the first of a host name), so that port 0 is resolved. `security` is called for every new
    connection.

    Raises:
        ListenError: the address cannot be listened on; it names `keys`.

    """
    sockets = await listen(host, port, keys)
    connections = ConnectionLimit(most_connections)
    app = _isolated(app)
    server = _Server(wrap_app(app, wsgi_max_body_size=0, mode="asgi"), connections, security, timeouts)
    async with trio.open_nursery() as nursery:
        try:
            handlers = await nursery.start(server.hold_handlers)
            task_status.started(sockets[0].getsockname()[:2])
            async with trio.open_nursery() as listeners:
                for sock in sockets:
                    listeners.start_soon(accept, sock, connections, server.handle, handlers)
        finally:
            for sock in sockets:
                sock.close()
            await server.context.terminated.set()


def _config() -> Config:
    config = Config()
    # hypercorn would add a handler of its own, on stderr; it logs nothing of use here.
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.keep_alive_max_requests = sys.maxsize
    return config


@attrs.frozen
class _Server:
    """What all connections share."""

    app: AppWrapper
    connections: ConnectionLimit
    security: Callable[[], Security]
    timeouts: Timeouts
    config: Config = attrs.field(factory=_config)
    context: WorkerContext = attrs.field(factory=lambda: WorkerContext(max_requests=None))

    async def hold_handlers(self, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Shield the connections from the server's cancellation for as long as a shutdown may take."""
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await self.context.terminated.wait()
                self.connections.close_idle()
                scope.deadline = trio.current_time() + self.timeouts.shutdown

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        try:
            await _Connection(self, stream).run()
        except* Exception:
            # No request ends the process, whatever we or the libraries failed to foresee.
            _log.exception("connection failed")
        finally:
            self.connections.release()


class _State(enum.Enum):
    """What a connection does, and so which timeout runs."""

    IDLE = enum.auto()
    """It waits for a request: `request` or `keep_alive`. Only now it may be closed for another one."""
    HANDLING = enum.auto()
    """The app has a request, and has sent nothing yet: no timeout, as it waits for no client."""
    RESPONDING = enum.auto()
    """Both `response` and `send`."""


class _Connection(TCPServer):
    """One connection. Whatever ends it cancels its scope, so that no task outlives it."""

    protocol: Http1  # type: ignore[assignment]

    def __init__(self, server: _Server, stream: trio.SocketStream) -> None:
        self._security = server.security()
        self._stream = secured(stream, self._security.tls)
        super().__init__(server.app, server.config, server.context, {}, self._stream)  # type: ignore[arg-type]
        self._server = server
        self._timeouts = server.timeouts
        self._scope = self._receiving = trio.CancelScope()
        self._unsent: list[memoryview] = []
        self._is_cut_off = False
        """Whether the client has not received all that was sent to it."""

    def _enter(self, state: _State, seconds: float = math.inf) -> None:
        self._state = state
        self._scope.deadline = trio.current_time() + seconds
        if state is _State.IDLE:
            self._server.connections.add_idle(self)
        else:
            self._server.connections.remove_idle(self)

    def close_soon(self) -> None:
        """End it, unless its client has just sent something."""
        self._receiving.cancel()

    async def run(self) -> None:
        """Serve requests until either side ends it."""
        try:
            with self._scope:
                self._enter(_State.IDLE, self._timeouts.request)
                refusal = await handshake(self._stream, self._security.allowed_sans)
                if refusal is None:
                    self._enter(_State.IDLE, self._timeouts.request)
                    await self._serve_requests()
                else:
                    _log.debug("client refused", reason=refusal)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has disconnected
        finally:
            self._server.connections.remove_idle(self)
            await self._close()

    async def _serve_requests(self) -> None:
        async with TaskGroup() as self._task_group:
            self.protocol = Http1(
                self.app,
                self.config,
                self.context,
                self._task_group,
                ConnectionState({}),
                ssl=self._security.tls is not None,
                client=None,
                server=None,
                send=self.protocol_send,
            )
            await self._read_data()
            self._scope.cancel()

    async def _read_data(self) -> None:
        """Pass on what is received; returns once no response is due."""
        while data := await self._receive():
            if self._state is _State.IDLE:
                if self._server.security().tls is not self._security.tls:
                    return  # its handshake was under a configuration that no longer holds
                latest = trio.current_time() + self._timeouts.request
                self._scope.deadline = min(self._scope.deadline, latest)
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(RawData(b""))
        if self._state is not _State.IDLE:
            # The client has closed its direction only, and may still wait for the response.
            await trio.sleep_forever()

    async def _receive(self) -> bytes:
        """What the client sends next; nothing at its end."""
        with trio.CancelScope() as self._receiving:
            return bytes(await self._stream.receive_some(_RECEIVE_BYTES))
        self._scope.cancel()
        await trio.lowlevel.checkpoint()
        return b""

    async def protocol_send(self, event: Event) -> None:
        """Send bytes, or follow the protocol's state."""
        if isinstance(event, RawData):
            if event.data:
                self._unsent.append(memoryview(event.data))
            is_more_due = self.protocol.connection.our_state is h11.SEND_BODY
            # Small parts go with the next one: each alone would wake the client up.
            if sum(map(len, self._unsent)) >= _SMALL_BYTES or not is_more_due:
                async with self.send_lock:
                    await self._send()
        elif isinstance(event, Updated) and not event.idle:
            self._enter(_State.HANDLING)
        elif isinstance(event, Updated) and not self.context.terminated.is_set():
            has_begun, _ = self.protocol.connection.trailing_data
            self._enter(_State.IDLE, self._timeouts.request if has_begun else self._timeouts.keep_alive)
        else:
            self._scope.cancel()

    async def _send(self) -> None:
        if self._state is _State.HANDLING:
            self._enter(_State.RESPONDING, self._timeouts.response)
        while self._unsent:
            self._is_cut_off = True
            with (
                trio.move_on_after(self._timeouts.send),
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError),
            ):
                self._forget(await self._send_some())
                self._is_cut_off = False
            if self._is_cut_off:
                # The caller is cancelled here, and need not check the outcome.
                self._scope.cancel()
                await trio.lowlevel.checkpoint()

    async def _send_some(self) -> int:
        if isinstance(self._stream, trio.SocketStream):
            # As much at once as the system takes: each call waits for a thread that computes.
            return await self._stream.socket.sendmsg(self._unsent[:_MOST_PARTS])
        data = self._unsent[0][:_TLS_SEND_BYTES]
        await self._stream.send_all(data)
        return len(data)

    def _forget(self, sent: int) -> None:
        """Drop so many bytes, and what is empty, from the beginning of what is to be sent."""
        while self._unsent and sent >= len(self._unsent[0]):
            sent -= len(self._unsent.pop(0))
        if sent:
            self._unsent[0] = self._unsent[0][sent:]

    async def _close(self) -> None:
        if self._is_cut_off:
            transport = transport_of(self._stream)
            # Otherwise the kernel would keep what the client has not received.
            transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            await trio.aclose_forcefully(transport)
            return
        try:
            if hasattr(self, "protocol") and self.protocol.is_client_sending:
                with (
                    trio.move_on_after(self._timeouts.linger),
                    contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
                ):
                    await self._discard_received()
        finally:
            with trio.move_on_after(self._timeouts.linger):
                await self._stream.aclose()

    async def _discard_received(self) -> None:
        if isinstance(self._stream, trio.SocketStream):  # TLS cannot close one direction only
            await self._stream.send_eof()
        while await self._stream.receive_some(_RECEIVE_BYTES):
            pass


def _isolated(app: ASGIFramework) -> ASGIFramework:
    """The app, without bodies of requests and without being told when a client disconnects."""

    async def respond(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_discard, receive)
                await app(scope, trio.sleep_forever, send)
                nursery.cancel_scope.cancel()
        except* Exception:
            _log.exception("request failed")

    return respond


async def _discard(receive: ASGIReceiveCallable) -> None:
    while True:
        await receive()
