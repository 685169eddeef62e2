"""Percentiles and medians; a figure that was not measured is None and stays None."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

Figures = dict[str, float | None]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile, share between 0 and 1; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    if ours is None or not theirs:
        return None
    return ours / theirs


def medians(repeats: Sequence[Mapping[str, float | None]]) -> Figures:
    """Figure by figure over the repeats; a figure missing from any repeat counts as not measured there."""
    names = dict.fromkeys(name for repeat in repeats for name in repeat)
    return {name: median(repeat.get(name) for repeat in repeats) for name in names}
