"""What really happened to live partitions, told by the one who produced and committed."""

from __future__ import annotations

import bisect

import attrs

Place = tuple[str, int]  # topic and partition


@attrs.frozen
class Commit:
    """One committed offset: sent and acknowledged at these instants of the wall clock."""

    sent: float
    acknowledged: float
    offset: int


@attrs.define
class PartitionTruth:
    """The stamps of its records by offset, and when the broker was seen to have them."""

    stamps: list[float] = attrs.field(factory=list)
    delivered: list[float] = attrs.field(factory=list)

    def end(self, now: float) -> int:
        """How many records the broker was known to have by then."""
        return bisect.bisect_right(self.delivered, now)

    def behind(self, now: float, delay: float) -> int:
        """The offset that a consumer so many seconds behind has committed; never past what is delivered."""
        return min(bisect.bisect_right(self.stamps, now - delay), self.end(now))

    def age(self, committed: int, end: int, now: float) -> float:
        """The true time lag: 0 where nothing is left to consume."""
        return max(0.0, now - self.stamps[committed]) if committed < end else 0.0


@attrs.define
class Truth:
    """All partitions and all commits; one thread appends to them while another reads."""

    partitions: dict[Place, PartitionTruth] = attrs.field(factory=dict)
    commits: dict[tuple[str, Place], list[Commit]] = attrs.field(factory=dict)

    def committed(self, group: str, place: Place, now: float) -> Commit | None:
        """The newest commit that was acknowledged by then."""
        commits = self.commits.get((group, place), [])
        at = bisect.bisect_right(commits, now, key=lambda c: c.acknowledged)
        return commits[at - 1] if at else None

    def was_committed(self, group: str, place: Place, offset: int, start: float, end: float) -> bool:
        """Whether this offset can have been the committed one at any instant between the two."""
        commits = self.commits.get((group, place), [])
        for number, commit in enumerate(commits):
            if commit.offset != offset or commit.sent > end:
                continue
            if number + 1 == len(commits) or commits[number + 1].acknowledged >= start:
                return True
        return False
