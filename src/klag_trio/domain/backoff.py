"""How long to wait after failures in a row."""

from __future__ import annotations


def ceiling(failures: int, *, base: float, cap: float) -> float:
    """The longest delay in seconds after so many failures in a row: doubling from `base` up to `cap`."""
    # 2.0**1023 is the largest power of two a float holds.
    return min(cap, base * 2.0 ** min(failures - 1, 1000)) if failures > 0 else 0.0


def full_jitter(failures: int, *, base: float, cap: float, random: float) -> float:
    """The delay in seconds: `random`, drawn evenly from [0, 1), of the ceiling.

    Full jitter spreads retries evenly, so that many clients of one cluster that came back do not
    return in step.
    """
    return random * ceiling(failures, base=base, cap=cap)
