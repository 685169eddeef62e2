"""A limit on the connections that are open at a time, and how they are accepted."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import structlog
import trio

_log = structlog.get_logger(__name__)

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BROKEN_LISTENER = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
_RETRY_SECONDS = 0.1
_LOG_INTERVAL = 60.0
_LEAST_IDLE_SECONDS = 0.1
"""For a client that has just connected to send its request."""
_ACCEPTED_AT_ONCE = 64


class IdleConnection(Protocol):
    """A connection without a request."""

    def close_soon(self) -> None:
        """Have it closed, unless its client has just sent a request."""


@attrs.define
class ConnectionLimit:
    """At most `limit` connections; where they are all open, the one idle longest is closed for the next.

    Where none is idle, the next waits until it is accepted.
    """

    limit: int
    _open: int = 0
    _idle: dict[IdleConnection, float] = attrs.field(factory=dict)
    """Since when each is idle, the longest first."""
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _logged_at: float = -math.inf

    @property
    def is_reached(self) -> bool:
        """Whether the next one has to wait."""
        return self._open >= self.limit

    async def acquire(self) -> None:
        """Wait until one more may be opened, and count it as open."""
        while self.is_reached:
            if trio.current_time() - self._logged_at >= _LOG_INTERVAL:
                _log.warning("connection limit reached", limit=self.limit, hint="idle ones are closed")
                self._logged_at = trio.current_time()
            self._close_longest_idle()
            with trio.move_on_after(_RETRY_SECONDS):
                await self._waiting.park()
        self._open += 1

    def release(self) -> None:
        """Count one as closed."""
        self._open -= 1
        self._waiting.unpark()

    def add_idle(self, connection: IdleConnection) -> None:
        """Let it be closed for another, after those that are idle already."""
        self._idle[connection] = trio.current_time()

    def remove_idle(self, connection: IdleConnection) -> None:
        """Let it be closed for another no more."""
        self._idle.pop(connection, None)

    def close_idle(self) -> None:
        """Close all that are idle."""
        for connection in self._idle:
            connection.close_soon()

    def _close_longest_idle(self) -> None:
        for connection, since in self._idle.items():
            if since <= trio.current_time() - _LEAST_IDLE_SECONDS:
                self.remove_idle(connection)
                connection.close_soon()
            return


async def accept(
    listener: socket.socket,
    connections: ConnectionLimit,
    handle: Callable[[trio.SocketStream], Awaitable[object]],
    handlers: trio.Nursery,
) -> None:
    """Accept connections up to a limit until cancelled, and have each handled, which releases it.

    trio.serve_listeners accepts one in two turns of the event loop, each as long as what all connections do
    in it: where hundreds are busy, a new one would wait for minutes.

    Raises:
        OSError: the listener is broken.

    """
    logged = False
    while True:
        await trio.lowlevel.wait_readable(listener)
        for number in range(_ACCEPTED_AT_ONCE):
            # No connection is closed where there may be no other one to accept.
            if number and connections.is_reached:
                break
            await connections.acquire()
            try:
                client, _ = listener.accept()
            except BaseException as error:
                connections.release()
                if not isinstance(error, OSError) or error.errno in _BROKEN_LISTENER:
                    raise
                if error.errno in _OUT_OF_RESOURCES:
                    if not logged:
                        _log.warning("cannot accept connections", error=error.strerror)
                    logged = True
                    await trio.sleep(_RETRY_SECONDS)
                else:
                    # There is none left, or it broke before it was accepted (accept(2)).
                    logged = False
                break
            handlers.start_soon(handle, trio.SocketStream(trio.socket.from_stdlib_socket(client)))
