"""How far each group was behind over the last hour: sums only, in at most 60 columns of four bytes each."""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left

import attrs

from klag_trio.domain.lag import LagReport

SPAN = 3600.0
"""Seconds that are remembered."""
POINTS = 60
# A twentieth less than it is to become, since cycles do not end to the second.
_SLACK = 0.95
_LAST_STEP = _SLACK * SPAN / POINTS


@attrs.frozen
class Moment:
    """The sum lag of every group at one time."""

    at: float
    """Seconds since the epoch."""
    groups: tuple[str, ...]
    """Sorted. Moments between which no group came or went share one tuple."""
    lags: array[float]
    """In the order of the groups, in records, rounded to 24 bits; NaN for a group without a commit."""


@attrs.frozen
class History:
    """Moments of the last hour, oldest first; a value like a report: adding to it makes another.

    It begins with a moment every cycle. Whenever it holds 60 it forgets every second one and takes half as
    many from then on, until they are a minute apart: there is a trend within seconds, and an hour in the end.
    """

    moments: tuple[Moment, ...] = ()
    step: float = 0.0
    """Seconds that a new moment must be after the last one."""

    def due(self, now: float) -> bool:
        """Whether a moment of this time would be kept."""
        return not self.moments or now - self.moments[-1].at >= self.step

    def add(self, report: LagReport) -> History:
        """Take a report in, unless it comes too soon after the last one."""
        if not self.due(report.now):
            return self
        # A clock that was set back would leave moments of the future.
        kept = [moment for moment in self.moments if report.now - SPAN <= moment.at < report.now]
        step = self.step
        if len(kept) >= POINTS:
            if step < _LAST_STEP:
                spacing = (kept[-1].at - kept[0].at) / (len(kept) - 1)
                step = min(_LAST_STEP, _SLACK * 2 * spacing)
                kept = kept[1::2]
            else:
                kept = kept[1:]
        return History((*kept, self._moment(report)), step)

    def trend(self, group: str) -> list[tuple[float, float]]:
        """The (time, sum lag) of one group, oldest first, of the moments in which it had one."""
        found = []
        groups: tuple[str, ...] | None = None
        place: int | None = None
        for moment in self.moments:
            if moment.groups is not groups:
                groups, place = moment.groups, _place(group, moment.groups)
            if place is not None and not math.isnan(lag := moment.lags[place]):
                found.append((moment.at, lag))
        return found

    def _moment(self, report: LagReport) -> Moment:
        lags = array("f", [g.sum_lag if g.partitions else math.nan for g in report.groups.values()])
        last = self.moments[-1].groups if self.moments else ()
        # Each cycle has strings of its own; those kept here are the first that came with a name.
        same = len(last) == len(report.groups) and all(map(str.__eq__, last, report.groups))
        return Moment(report.now, last if same else tuple(map(sys.intern, report.groups)), lags)


def _place(group: str, groups: tuple[str, ...]) -> int | None:
    place = bisect_left(groups, group)
    return place if place < len(groups) and groups[place] == group else None
