"""Keeps configured values out of what librdkafka says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

HIDDEN = "***"
_SHORT = 4
_SEPARATORS = re.compile(r"[\s,;=]+")


def redactor(values: Iterable[str]) -> Callable[[str], str]:
    """A function that blots out every one of the values in a message.

    A value of fewer than four characters ("1", "all") is blotted out only where librdkafka quotes it:
    elsewhere it would be found inside addresses and words that are no secret. The pieces of a value that
    holds several (`principal=admin secret=...`) are blotted out as well, since librdkafka quotes from one.
    """
    whole = [value for value in values if value]
    pieces = [piece for value in whole for piece in _SEPARATORS.split(value) if len(piece) >= _SHORT]
    longest_first = sorted({*whole, *pieces}, key=len, reverse=True)
    patterns = [
        re.escape(value) if len(value) >= _SHORT else f"(?<=[\"']){re.escape(value)}(?=[\"'])"
        for value in longest_first
    ]
    if not patterns:
        return str
    pattern = re.compile("|".join(patterns))
    return lambda message: pattern.sub(HIDDEN, message)
