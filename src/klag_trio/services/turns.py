"""Who goes first where many ask at once.

Trio runs every task that can run before it looks for news. A thousand scrapes that arrive together would all
be parsed, answered and sent before a probe that came a moment later is even read.
"""

from __future__ import annotations

import trio

_AT_ONCE = 8
_WINDOW = 0.002
# A probe is a moment's work, and a late answer has the process restarted.
_URGENT = tuple(
    b"%b %b%b" % (method, path, end)
    for method in (b"GET", b"HEAD")
    for path in (b"/health", b"/ready")
    for end in (b" ", b"?")
)


class Turns:
    """Lets a few requests begin at a time, in the order of their arrival, and probes at once.

    The first ones of each moment do not wait either, so that nobody notices who is not in a crowd.
    """

    def __init__(self) -> None:
        self._waiting = trio.lowlevel.ParkingLot()
        self._crowd = trio.Event()
        self._since = trio.current_time()
        self._begun = 0

    async def take(self, request: bytes) -> None:
        """Wait for one's turn, with the first bytes of the request."""
        if request.startswith(_URGENT):
            return
        if not self._waiting:
            now = trio.current_time()
            if now - self._since > _WINDOW:
                self._since, self._begun = now, 0
            if self._begun < _AT_ONCE:
                self._begun += 1
                return
        self._crowd.set()
        await self._waiting.park()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Call the next ones up, a few in every turn of the event loop, for ever."""
        task_status.started()
        while True:
            await self._crowd.wait()
            self._waiting.unpark(count=_AT_ONCE)
            if not self._waiting:
                self._crowd = trio.Event()
            await trio.lowlevel.checkpoint()
