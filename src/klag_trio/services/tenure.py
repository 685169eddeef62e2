"""Until when this replica leads: written by the elector, looked at by every request."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

# A process that was stopped, or a machine that slept, may wake up long after its lease has passed to another.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds on a clock that never jumps and counts the time the machine sleeps, where there is one."""
    return time.clock_gettime(_BOOTTIME)


class Tenure:
    """Until when this replica leads. It ends by itself, whether or not anything runs at that moment."""

    def __init__(self, clock: Callable[[], float] = boot_time) -> None:
        self._clock = clock
        self.until = -math.inf
        """On the clock."""
        self.holder = ""
        """Who leads instead, where that is known."""
        self.trouble = ""
        """Why it is not known, or cannot be changed."""

    def now(self) -> float:
        """The clock that `until` is on."""
        return self._clock()

    def holds(self) -> bool:
        """Whether this replica leads at this moment."""
        return self._clock() < self.until

    def reason(self) -> str:
        """Why it does not lead, in one line."""
        if self.trouble:
            return f"standing by: {self.trouble}"
        return f"standing by: {self.holder or 'nobody yet'} leads"
