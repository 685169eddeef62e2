"""Listens, and gives each client a connection."""

from __future__ import annotations

import contextlib
import errno
import socket
from functools import partial
from typing import Any

import attrs
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework
from hypercorn.utils import wrap_app

from klag_trio.services.burst import Bursts
from klag_trio.services.connection import Connection, Patience

_log = structlog.get_logger(__name__)

_BACKLOG = 1024
_NO_CAPACITY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ListenError(Exception):
    """The address cannot be listened on; the message says why and names the keys of the configuration."""


async def serve(
    app: ASGIFramework,
    *,
    host: str,
    port: int,
    patience: Patience = Patience(),  # noqa: B008 - frozen
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests with this app until cancelled, then stop within `patience.stop`, whatever clients do.

    The app gets requests without their bodies, and no lifespan events. `task_status` gets the address and
    port listened on (of a host name's addresses the first), which tells what port 0 became.
    Raises ListenError where the address is in use, unknown or not ours.
    """
    listeners = await _listen(host, port)
    address = listeners[0].socket.getsockname()
    context = WorkerContext(max_requests=None)
    wrapped = wrap_app(app, wsgi_max_body_size=0, mode="asgi")
    with contextlib.ExitStack() as closing:
        for listener in listeners:
            closing.callback(listener.socket.close)
        async with trio.open_nursery() as nursery:
            try:
                connections = await nursery.start(_hold_connections, context, patience.stop)
                task_status.started((address[0], address[1]))
                await trio.serve_listeners(
                    partial(_handle, wrapped, _config(), context, patience, Bursts(patience.burst)),
                    [_Listener(listener) for listener in listeners],
                    handler_nursery=connections,
                )
            finally:
                await context.terminated.set()


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


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on each address of the host, all on one port."""
    listeners: list[trio.SocketListener] = []
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
                port = listeners[0].socket.getsockname()[1]
        if absent is not None and not listeners:
            raise absent
    except (OSError, OverflowError, UnicodeError) as error:
        for listener in listeners:
            listener.socket.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ListenError(
            f"exporter.http_host, exporter.http_port: cannot listen on {host}:{port}: {reason}"
        ) from error
    return listeners


def _listen_at(family: int, address: tuple[Any, ...]) -> trio.SocketListener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Connections of an earlier run that still wind down must not keep the port from us.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" means every address, IPv4 too; any other address has its own listener.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


@attrs.define
class _Listener(trio.abc.Listener[trio.SocketStream]):
    """Waits while there is no descriptor left, where trio.serve_listeners logs ten tracebacks a second."""

    _listener: trio.SocketListener

    async def accept(self) -> trio.SocketStream:
        complained = False
        while True:
            try:
                return await self._listener.accept()
            except OSError as error:
                if error.errno not in _NO_CAPACITY:
                    raise
                if not complained:
                    _log.warning("cannot accept connections for now", reason=error.strerror)
                    complained = True
                await trio.sleep(0.1)

    async def aclose(self) -> None:
        await self._listener.aclose()


async def _handle(
    app: AppWrapper,
    config: Config,
    context: WorkerContext,
    patience: Patience,
    bursts: Bursts,
    stream: trio.SocketStream,
) -> None:
    try:
        await Connection(app, config, context, patience, bursts, stream).run()
    except Exception:
        # What a client sends must not end the process, whatever we or the libraries failed to foresee.
        _log.exception("a connection failed")
