"""Durations as people write them: "30s", "1m 30s", "500ms"."""

from __future__ import annotations

import re
from decimal import Decimal

# The spellings that klag-exporter's users may have in their files; a month is 30.44 days, a year 365.25.
NANOSECONDS = {
    spelling: nanoseconds
    for nanoseconds, spellings in {
        1: "ns nsec nanos",
        1_000: "us µs μs usec",
        1_000_000: "ms msec millis",
        1_000_000_000: "s sec secs second seconds",
        60_000_000_000: "m min mins minute minutes",
        3_600_000_000_000: "h hr hrs hour hours",
        86_400_000_000_000: "d day days",
        604_800_000_000_000: "w wk wks week weeks",
        2_630_016_000_000_000: "M month months",
        31_557_600_000_000_000: "y yr yrs year years",
    }.items()
    for spelling in spellings.split()
}
# Nobody writes a longer one.
_LONGEST = 200
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµμ]+)\s*")


def parse_duration(text: str) -> float:
    """Turn a duration into seconds.

    It is a sum of whole or decimal numbers, each with its unit, spaces between them or none. A bare
    "0" is a duration too, as everybody means the same by it.

    Raises ValueError with what is wrong; the message never repeats the text, which may be a secret.
    """
    text = text.strip()
    if text == "0":
        return 0.0
    if len(text) > _LONGEST:
        raise ValueError("it is too long")
    if not text:
        raise ValueError("it is empty")
    total = Decimal()
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise ValueError(
                "a number without a unit" if text[position].isdigit() else "no number where one should be"
            )
        number, unit = part.groups()
        if unit not in NANOSECONDS:
            raise ValueError("no such unit")
        total += Decimal(number) * NANOSECONDS[unit]
        position = part.end()
    return float(total / 1_000_000_000)


def format_duration(seconds: float) -> str:
    """Write seconds as a duration that parse_duration reads back to the millisecond: "1h 30m"."""
    parts = []
    rest = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
