"""Serves metrics of the given size in a process of its own until SIGTERM; prints its port."""

from __future__ import annotations

import signal
import sys
from functools import partial

import trio
from tests.unit.services.publication import large_publication

from klag_trio.web.app import make_app
from klag_trio.web.server import serve


async def main(size: int) -> None:
    app = make_app(large_publication(size))
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            _, port = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
            print(port, flush=True)  # noqa: T201
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
