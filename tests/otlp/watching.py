"""What somebody sees of klag-trio who asks it all the time."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.program.program import Program

_PAUSE_SECONDS = 0.1
LAST_UPDATE = "kafka_lag_exporter_last_update_timestamp_seconds"


@attrs.define
class Watch:
    """How it answered, once the watch is over."""

    statuses: set[int] = attrs.field(factory=set)
    slowest: float = 0.0
    """Seconds that the slowest answer took, of /health or /metrics."""
    updates: list[float] = attrs.field(factory=list)
    """When each cycle that was seen read its offsets: seconds since the epoch."""

    @property
    def longest_gap(self) -> float:
        """Seconds between two cycles."""
        return max(later - earlier for earlier, later in zip(self.updates, self.updates[1:], strict=False))


@contextmanager
def watching(program: Program) -> Iterator[Watch]:
    """Ask for /health and /metrics for as long as the block runs."""
    watch, over = Watch(), threading.Event()

    def ask() -> None:
        while not over.wait(_PAUSE_SECONDS):
            start = time.monotonic()
            watch.statuses.add(program.get("/health")[0])
            asked = time.monotonic()
            page = program.metrics()
            watch.slowest = max(watch.slowest, asked - start, time.monotonic() - asked)
            updates = page.rows(LAST_UPDATE).values()
            watch.updates += [at for at in updates if at not in watch.updates[-1:]]

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
