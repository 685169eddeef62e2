"""Computing beside the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from klag_trio.shortage import shortage

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def compute(work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Run what waits for nothing in a thread, or on the event loop where the system starts none."""
    try:
        return await trio.to_thread.run_sync(work, *arguments)
    except RuntimeError as exc:
        if shortage(exc) is None:
            raise
    return work(*arguments)
