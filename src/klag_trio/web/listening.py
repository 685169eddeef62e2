"""Where to listen: every address of a host, all on one port."""

from __future__ import annotations

import errno
import socket
from typing import Any

import trio

_BACKLOG = 1024
# What Linux grants anybody (net.core.wmem_max). By itself it would grow to 4 MiB for each client that does
# not read, and beyond what the processor caches: with this, eight responses of 39 MB at once took 112 ms
# instead of 196 in the median, and 351 instead of 487 at the 99th percentile, beside a thread that computes
# 40 percent of the time.
_SEND_BUFFER_BYTES = 212_992
HTTP_KEYS = "exporter.http_host, exporter.http_port"
"""What says where to listen, unless something else does."""
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_EVERY_ADDRESS, _EVERY_IPV4_ADDRESS = "::", "0.0.0.0"  # noqa: S104


class ListenError(Exception):
    """The address cannot be listened on; the message says why and names the keys of the configuration."""


async def listen(host: str, port: int, keys: str) -> list[socket.socket]:
    """Listen on each address of the host, all on one port.

    Raises:
        ListenError: an address cannot be listened on; it blames `keys`.

    """
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
                return await listen(_EVERY_IPV4_ADDRESS, port, keys)
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
        # Connections inherit it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if family == socket.AF_INET6:
            # "::" means every address, IPv4 too; any other address has its own listener.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != _EVERY_ADDRESS)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
