"""A Lease in memory, behind a network that does what a test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from klag_trio.domain.lease import Lease
from klag_trio.kubernetes.leases import LeaseConflict


async def at_once() -> None:
    """No delay and no fault."""


@attrs.define
class StoredLease:
    """What the API server keeps; versions decide about writes, as there."""

    lease: Lease | None = None
    version: int = 0
    writes: list[Lease] = attrs.field(factory=list)

    def put(self, lease: Lease) -> Lease:
        current = "" if self.lease is None else self.lease.version
        if lease.version != current:
            raise LeaseConflict
        self.version += 1
        self.lease = attrs.evolve(lease, version=str(self.version))
        self.writes.append(self.lease)
        return self.lease


@attrs.define
class FakeLeases:
    """One replica's way to it: `there` runs before a request arrives, `back` before its answer does."""

    store: StoredLease
    there: Callable[[], Awaitable[None]] = at_once
    back: Callable[[], Awaitable[None]] = at_once
    requests: int = 0

    async def read(self) -> Lease | None:
        self.requests += 1
        await self.there()
        lease = self.store.lease
        await self.back()
        return lease

    async def write(self, lease: Lease) -> Lease:
        self.requests += 1
        await self.there()
        written = self.store.put(lease)
        await self.back()
        return written

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
