from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

T = TypeVar("T")


@pytest.fixture
def virtual_time(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Jumps to whatever is due next, but never while a thread works: Trio takes that for idling."""
    run_sync = trio.to_thread.run_sync
    running = 0

    async def run_while_time_stands_still(work: Callable[..., T], *args: object, **options: object) -> T:
        nonlocal running
        running += 1
        autojump_clock.autojump_threshold = inf
        try:
            return await run_sync(work, *args, **options)  # type: ignore[arg-type]
        finally:
            running -= 1
            if not running:
                autojump_clock.autojump_threshold = 0

    monkeypatch.setattr(trio.to_thread, "run_sync", run_while_time_stands_still)
    return autojump_clock
