"""Numbers, times and spans as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

NOT_KNOWN = "–"  # noqa: RUF001 - a dash that is as wide as a figure
_STEPS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def count(number: float | None) -> str:
    """A whole number with its thousands apart."""
    return NOT_KNOWN if number is None else f"{round(number):,}"


def percent(number: float | None) -> str:
    """A share without decimals; one that is not quite 0 never looks like 0."""
    if number is None:
        return NOT_KNOWN
    return "<1 %" if 0 < number < 1 else f"{number:.0f} %"


def span(seconds: float | None) -> str:
    """A time span in its two largest units: `12 ms`, `3.4 s`, `2 min 5 s`, `3 d 4 h`."""
    if seconds is None:
        return NOT_KNOWN
    if 0 < seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms" if seconds < 0.9995 else "1.0 s"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    for (unit, size), (smaller, part) in pairwise(_STEPS):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def ago(seconds: float) -> str:
    """How long ago something was; in whole seconds, so that it does not flicker."""
    return "just now" if seconds < 1 else f"{span(float(int(seconds))).replace('.0 s', ' s')} ago"


def clock(timestamp: float) -> str:
    """The instant, to the second."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def machine_time(timestamp: float) -> str:
    """The instant as HTML's `datetime` attribute takes it."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def many(number: int, one: str, more: str | None = None) -> str:
    """A number and its noun: `1 group`, `2 groups`."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"
