"""Keeps configured values out of what librdkafka says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

HIDDEN = "***"
_SHORT = 4


def redactor(values: Iterable[str]) -> Callable[[str], str]:
    """A function that blots out every one of the values in a message.

    A value of fewer than four characters ("1", "all") is blotted out only where librdkafka quotes it:
    elsewhere it would be found inside addresses and words that are no secret.
    """
    longest_first = sorted({value for value in values if value}, key=len, reverse=True)
    patterns = [
        re.escape(value) if len(value) >= _SHORT else f"(?<=[\"']){re.escape(value)}(?=[\"'])"
        for value in longest_first
    ]
    if not patterns:
        return str
    pattern = re.compile("|".join(patterns))
    return lambda message: pattern.sub(HIDDEN, message)
