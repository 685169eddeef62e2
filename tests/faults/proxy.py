"""A network between klag-trio and its brokers that can be slow, cut, or lead to somebody else."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Self

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

_UNDER_WAY = 64
_START_SECONDS = 10.0


@attrs.define
class Network:
    """How the connections through one or several proxies fare from now on."""

    delay: float = 0.0
    """Seconds that every byte is under way, in each direction."""
    bytes_per_second: float = math.inf
    """For each connection and direction."""
    refusing: bool = False
    """Whether new connections are closed at once."""


@attrs.define
class _Pipe:
    """One direction of one connection."""

    network: Network
    source: trio.SocketStream
    sink: trio.SocketStream

    async def run(self) -> None:
        send, receive = trio.open_memory_channel[tuple[float, bytes]](_UNDER_WAY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, receive)
            async with send:
                async for data in self.source:
                    await send.send((trio.current_time() + self.network.delay, bytes(data)))

    async def _deliver(self, receive: trio.MemoryReceiveChannel[tuple[float, bytes]]) -> None:
        async with receive:
            async for due, data in receive:
                await trio.sleep_until(due)
                await self.sink.send_all(data)
                await trio.sleep(len(data) / self.network.bytes_per_second)


class Proxies:
    """Ports of loopback that pass on to others; each is `targets[its place]`, which may change.

    They run in a thread of their own as long as the `with` block.
    """

    def __init__(self, count: int) -> None:
        self.network = Network()
        self.targets = [0] * count
        self.ports: list[int] = []
        self._scopes: set[trio.CancelScope] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_START_SECONDS)
        return self

    def __exit__(self, *exc: object) -> None:
        self._do(self._scope.cancel)
        self._thread.join()

    def cut(self) -> None:
        """Break all connections; new ones are passed on unless the network refuses them."""
        self._do(self._cut)

    def _cut(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    def _do(self, act: Callable[[], None]) -> None:
        trio.from_thread.run_sync(act, trio_token=self._token)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            for place in range(len(self.targets)):
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                self.ports.append(listener.socket.getsockname()[1])
                nursery.start_soon(self._serve, place, listener)
            self._ready.set()

    async def _serve(self, place: int, listener: trio.SocketListener) -> None:
        async def handle(near: trio.SocketStream) -> None:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    async with near:
                        if not self.network.refusing:
                            await self._connect(near, self.targets[place], scope)
                finally:
                    self._scopes.discard(scope)

        await trio.serve_listeners(handle, [listener])

    async def _connect(self, near: trio.SocketStream, target: int, scope: trio.CancelScope) -> None:
        try:
            far = await trio.open_tcp_stream("127.0.0.1", target)
        except OSError:
            return
        async with far, trio.open_nursery() as nursery:
            for source, sink in ((near, far), (far, near)):
                nursery.start_soon(self._pipe, source, sink, scope)

    async def _pipe(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            await _Pipe(self.network, source, sink).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()
