"""Waiting for conditions, and names that do not clash on a shared cluster."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SECONDS = 30.0
PAUSE_SECONDS = 0.05
_PROCESS = uuid.uuid4().hex[:8]
_NUMBERS = itertools.count()
OF_THIS_PROCESS = f"-{_PROCESS}"
"""A regular expression that finds each name made here, and none made elsewhere."""


def unique(name: str) -> str:
    """Return a name that no other test uses on the shared cluster."""
    return f"{name}-{_PROCESS}{next(_NUMBERS):04x}"


def wait_until(condition: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    """Return the first true answer; AssertionError says what did not come about in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(PAUSE_SECONDS)
    return answer
