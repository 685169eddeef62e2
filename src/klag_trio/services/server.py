"""Listens, and gives each client a connection."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app

from klag_trio import descriptors
from klag_trio.services.burst import Bursts
from klag_trio.services.connection import Connection, Patience, Site
from klag_trio.services.turns import Turns
from klag_trio.services.web_security import OPEN, Security

_log = structlog.get_logger(__name__)

_BACKLOG = 1024
_MOST_CONNECTIONS = 2048
_HANDSHAKES_AT_ONCE = 2
_ACCEPTED_AT_ONCE = 64
HTTP_KEYS = "exporter.http_host, exporter.http_port"
"""What says where to listen, unless something else does."""
_NO_CAPACITY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# A connection that broke before we took it, or that a firewall refused: Linux tells its error in accept(2).
# Other systems lack some of these names.
_NOBODY_CAME = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "ENOSR",
        "EOPNOTSUPP",
        "EPERM",
        "EPROTO",
        "EPROTONOSUPPORT",
        "ESOCKTNOSUPPORT",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_EVERY_ADDRESS, _EVERY_IPV4_ADDRESS = "::", "0.0.0.0"  # noqa: S104


class ListenError(Exception):
    """The address cannot be listened on; the message says why and names the keys of the configuration."""


async def serve(
    app: ASGIFramework,
    *,
    host: str,
    port: int,
    keys: str = HTTP_KEYS,
    security: Callable[[], Security] = lambda: OPEN,
    most_connections: int | None = None,
    patience: Patience = Patience(),  # noqa: B008 - frozen
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests with this app until cancelled, then stop within `patience.stop`, whatever clients do.

    The app gets requests without their bodies, and no lifespan events. `task_status` gets the address and
    port listened on (of a host name's addresses the first), which tells what port 0 became. `security` is
    asked for every connection. No more than `most_connections` are held at a time, by default as many as
    the process may hold. Raises ListenError where the address is in use, unknown or not ours; `keys` is
    what it blames.
    """
    listeners = await _listen(host, port, keys)
    address = listeners[0].getsockname()
    context = WorkerContext(max_requests=None)
    turns = Turns()
    room = _Room(most_connections or connection_limit())
    site = Site(
        app=wrap_app(app, wsgi_max_body_size=0, mode="asgi"),
        config=_config(),
        context=context,
        patience=patience,
        bursts=Bursts(patience.burst),
        handshakes=trio.CapacityLimiter(_HANDSHAKES_AT_ONCE),
        waiting=room,
        turns=turns,
        security=security,
    )
    with contextlib.ExitStack() as closing:
        for listener in listeners:
            closing.callback(listener.close)
        async with trio.open_nursery() as nursery:
            try:
                connections = await nursery.start(_hold_connections, context, patience.stop)
                await nursery.start(turns.run)
                task_status.started((address[0], address[1]))
                await trio.serve_listeners(
                    partial(_handle, site, room),
                    [_Listener(listener, room) for listener in listeners],
                    handler_nursery=connections,
                )
            finally:
                await context.terminated.set()


def connection_limit() -> int:
    """How many connections this process may hold, whatever it listens on.

    Half of the descriptors at most: Kafka's connections need some too.
    """
    return min(_MOST_CONNECTIONS, descriptors.limit() // 2)


async def _hold_connections(
    context: WorkerContext, stop: float, *, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    """Shields the connections from the server's own cancellation for as long as a stop may take."""
    with trio.CancelScope(shield=True) as scope:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await context.terminated.wait()
            scope.deadline = trio.current_time() + stop


def _config() -> Config:
    config = Config()
    # hypercorn would add a handler of its own, on stderr; nothing that it logs on our way is worth a line.
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    return config


async def _listen(host: str, port: int, keys: str) -> list[socket.socket]:
    """Listen on each address of the host, all on one port."""
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            try:
                listeners.append(_listen_at(family, (address[0], port, *address[2:])))
            except OSError as error:
                # A name such as localhost may have an IPv6 address on a machine that has no IPv6.
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                absent = error
            else:
                port = listeners[0].getsockname()[1]
        if absent is not None and not listeners:
            if host == _EVERY_ADDRESS:
                return await _listen(_EVERY_IPV4_ADDRESS, port, keys)
            raise absent
    except (OSError, OverflowError, UnicodeError) as error:
        for listener in listeners:
            listener.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ListenError(f"{keys}: cannot listen on {host}:{port}: {reason}") from error
    return listeners


def _listen_at(family: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Connections of an earlier run that still wind down must not keep the port from us.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" means every address, IPv4 too; any other address has its own listener.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != _EVERY_ADDRESS)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class _Room:
    """A bound on connections.

    Where it is full, the connection that has waited longest for a request of its client's makes room: one
    that sends slowly, says nothing, or is kept for later. Where all are being answered, new ones wait to
    be accepted.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._leaving = 0
        self._waiting: dict[Connection, None] = {}
        self._changed = trio.Event()

    async def free(self) -> int:
        """Wait until a place is free; returns how many are."""
        while self._taken >= self._most:
            if self._waiting and self._taken - self._leaving >= self._most:
                longest = next(iter(self._waiting))
                del self._waiting[longest]
                self._leaving += 1
                longest.give_up()
            await self._changed.wait()
        return self._most - self._taken

    def take(self) -> None:
        """Take a place that is free."""
        self._taken += 1

    def leave(self) -> None:
        """Give the place back."""
        self._taken -= 1
        self._leaving = max(0, self._leaving - 1)
        self._wake()

    def begins(self, connection: Connection) -> None:
        """From now on this one waits."""
        self._waiting[connection] = None
        self._wake()

    def ends(self, connection: Connection) -> None:
        """It no longer does; also called where it never did."""
        self._waiting.pop(connection, None)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@attrs.define
class _Listener(trio.abc.Listener[trio.SocketStream]):
    """Accepts while there is room.

    trio.SocketListener accepts one connection in every turn of the event loop, so that a probe that comes
    after a crowd waits for hundreds of turns; and without a descriptor left trio.serve_listeners logs ten
    tracebacks a second.
    """

    _listener: socket.socket
    _room: _Room
    _accepted: deque[socket.socket] = attrs.field(factory=deque)

    async def accept(self) -> trio.SocketStream:
        complained = False
        while not self._accepted:
            # First of all somebody has to knock: nobody makes room for no one.
            await trio.lowlevel.wait_readable(self._listener)
            error = self._accept_some(await self._room.free())
            if self._accepted or error is None:
                continue
            if error.errno not in _NO_CAPACITY | _NOBODY_CAME:
                raise error
            if not complained:
                _log.warning("cannot accept connections for now", reason=error.strerror)
                complained = True
            await trio.sleep(0.1)
        return trio.SocketStream(trio.socket.from_stdlib_socket(self._accepted.popleft()))

    def _accept_some(self, free: int) -> OSError | None:
        """Accept whoever waits, into so many places; returns the last error, unless nobody waits any more."""
        failed = None
        for _ in range(_ACCEPTED_AT_ONCE):
            if len(self._accepted) == free:
                break
            try:
                self._accepted.append(self._listener.accept()[0])
                self._room.take()
            except BlockingIOError:
                return None
            except OSError as error:
                failed = error
                if error.errno not in _NOBODY_CAME:
                    break
        return failed

    async def aclose(self) -> None:
        self._listener.close()
        while self._accepted:
            self._accepted.popleft().close()
        await trio.lowlevel.checkpoint()


async def _handle(site: Site, room: _Room, stream: trio.SocketStream) -> None:
    try:
        await Connection(site, stream).run()
    except Exception:
        # What a client sends must not end the process, whatever we or the libraries failed to foresee.
        _log.exception("a connection failed")
    finally:
        room.leave()
