"""Where the time of a cycle goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Stopwatch:
    """Seconds spent in each phase of the cycle that runs."""

    def __init__(self) -> None:
        self._started = trio.current_time()
        self.phases: dict[str, float] = {}
        self.polled: float | None = None
        """Seconds until all offsets had been read; None where that did not happen."""

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Measure one phase."""
        start = trio.current_time()
        # There from its beginning on: phases that overlap stay in the order in which they began.
        self.phases.setdefault(phase, 0.0)
        try:
            yield
        finally:
            self.phases[phase] += trio.current_time() - start

    def mark_polled(self) -> None:
        """Note that all offsets have been read."""
        self.polled = trio.current_time() - self._started
