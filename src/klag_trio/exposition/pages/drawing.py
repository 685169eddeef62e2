"""The geometry of the inline SVGs: numbers in, path data and rectangles out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import attrs

from klag_trio.exposition.pages import words

Direction = Literal["rising", "falling", "level"]
_RECENT = 8
"""Moments that tell where a trend is going: eight minutes in the end."""
_NOTABLE = 0.1
"""Of the highest point: what is less than this is no change."""
_STEADY = 0.5
"""Of the way gone up and down: what gets less far than this has no direction."""


@attrs.frozen
class Curve:
    """A trend as two paths in a box of the given size, and in words."""

    width: int
    height: int
    line: str
    area: str
    end: tuple[int, int]
    direction: Direction
    highest: float
    since: float
    """Seconds since the epoch."""
    label: str


@attrs.frozen
class Segment:
    """A piece of a bar."""

    name: str
    x: float
    width: float
    label: str
    number: int
    """Which colour."""


def curve(
    trend: Sequence[tuple[float, float]], *, since: float, until: float, width: int, height: int
) -> Curve | None:
    """Draw (time, lag) pairs from 0 up to their highest; None where there are fewer than two.

    `since` is the time at the left edge, `until` that at the right one.
    """
    if len(trend) < 2 or until <= since:
        return None
    highest = max(lag for _, lag in trend)
    # A pixel above and below, so that the stroke is not cut.
    points = [
        (
            round((at - since) / (until - since) * width),
            height - 1 - round((lag / highest if highest else 0.0) * (height - 2)),
        )
        for at, lag in trend
    ]
    line = "M" + "L".join(f"{x} {y}" for x, y in points)
    area = f"{line}L{points[-1][0]} {height}L{points[0][0]} {height}Z"
    direction = _direction(trend, highest)
    (began, first), (_, last) = trend[0], trend[-1]
    label = f"{direction}: from {words.count(first)} to {words.count(last)} in {words.span(until - began)}"
    if highest > max(first, last):
        # Else a lag that falls from a peak would be said to fall from less to more.
        label += f", {words.count(highest)} at most"
    return Curve(width, height, line, area, points[-1], direction, highest, since, label)


def _direction(trend: Sequence[tuple[float, float]], highest: float) -> Direction:
    lags = [lag for _, lag in trend[-_RECENT:]]
    change = lags[-1] - lags[0]
    way = sum(abs(after - before) for before, after in pairwise(lags))
    if abs(change) <= max(_NOTABLE * highest, _STEADY * way):
        return "level"
    return "rising" if change > 0 else "falling"


def phases(seconds: Mapping[str, float], width: float = 100.0) -> list[Segment]:
    """Lay the phases of a cycle end to end over the width, in the order they began."""
    total = sum(seconds.values())
    segments = []
    x = 0.0
    for number, (name, spent) in enumerate(seconds.items(), 1):
        share = spent / total * width if total else 0.0
        segments.append(Segment(name, round(x, 2), round(share, 2), words.span(spent), number))
        x += share
    return segments


def log_position(earliest: int, committed: int, latest: int, width: float = 100.0) -> float:
    """Where in what a partition retains the group stands: 0 at the deletion boundary, `width` at the end."""
    if latest <= earliest:
        return 0.0 if committed < earliest else width
    return round(min(max((committed - earliest) / (latest - earliest), 0.0), 1.0) * width, 2)
