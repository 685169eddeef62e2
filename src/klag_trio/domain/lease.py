"""Who may collect: what one replica does about a Lease, given how the Lease looks and what time it is.

The rules are those of client-go's leader election (k8s.io/client-go/tools/leaderelection), and three that
make them safe whatever a wall clock says, two replicas call themselves, or becomes of a reply:

- Times are of our own clock, which counts the time that the machine sleeps. Another's lease runs from when we
  saw it change, never from its renewTime; ours runs from before the request that renewed it.
- A lease is ours when this process wrote it: a name alone may be carried by two.
- A write that was not answered is neither done nor not done. It gives nobody the lead; the next look tells.

Every write names the version it is based on, so the API server refuses one that is based on an old look.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto

import attrs

# Renewals that may fail in a row before the lead is lost.
_TRIES = 5


@attrs.frozen
class Lease:
    """A coordination.k8s.io/v1 Lease, as far as an election is about it. It is another after any write."""

    holder: str
    """holderIdentity; empty where nobody holds it."""
    process: str
    """Which process wrote it, where that was klag-trio; else empty."""
    duration: int | None
    """leaseDurationSeconds."""
    acquired: datetime | None
    renewed: datetime | None
    transitions: int
    version: str
    """resourceVersion; empty where it is still to be created."""
    document: Mapping[str, object] = attrs.field(factory=dict, eq=False, repr=False)
    """The object it was read from: what others wrote there stays."""


@attrs.frozen
class Candidate:
    """One process that wants to lead."""

    identity: str
    process: str
    """What no other process has."""
    duration: int
    """Seconds that its lease holds."""
    grace: int
    """Seconds before the end of its lease at which it stops leading; less than `duration`."""

    @property
    def term(self) -> int:
        """For how many seconds it leads after a renewal."""
        return self.duration - self.grace

    @property
    def retry(self) -> float:
        """Seconds between two renewals."""
        return self.term / _TRIES

    def holds(self, lease: Lease | None) -> bool:
        """Whether this very process wrote itself in."""
        return lease is not None and (lease.holder, lease.process) == (self.identity, self.process)


@attrs.frozen
class View:
    """A lease, and since when we know it like that."""

    lease: Lease | None
    """None where there is none."""
    since: float


class Action(Enum):
    """What is to be done now."""

    ACQUIRE = auto()
    RENEW = auto()
    WAIT = auto()
    STEP_DOWN = auto()


def observe(view: View | None, lease: Lease | None, now: float) -> View:
    """What is known after a look that was answered at `now`."""
    return view if view is not None and view.lease == lease else View(lease, now)


def decide(view: View, me: Candidate, *, leads_until: float | None, now: float) -> Action:
    """What to do about a lease that was just looked at; `leads_until` is None for one that does not lead.

    RENEW also takes up a lease that is ours without our knowing, because the reply to a write was lost.
    """
    ours = me.holds(view.lease)
    if leads_until is not None and (not ours or now >= leads_until):
        return Action.STEP_DOWN
    if ours:
        return Action.RENEW
    return Action.ACQUIRE if now >= free_at(view, me) else Action.WAIT


def free_at(view: View, me: Candidate) -> float:
    """From when on a lease that is not ours may be taken."""
    if view.lease is None or not view.lease.holder:
        return view.since
    return view.since + (me.duration if view.lease.duration is None else view.lease.duration)


def claim(lease: Lease | None, me: Candidate, at: datetime) -> Lease:
    """The lease to write in order to acquire or renew; `at` is the wall clock's time, for people to read."""
    if lease is None:
        return Lease(me.identity, me.process, me.duration, at, at, transitions=0, version="")
    renewed = attrs.evolve(lease, holder=me.identity, process=me.process, duration=me.duration, renewed=at)
    if me.holds(lease):
        return renewed
    return attrs.evolve(renewed, acquired=at, transitions=lease.transitions + 1)


def release(lease: Lease, at: datetime) -> Lease:
    """The lease to write in order to let the next one have it at once."""
    return attrs.evolve(lease, holder="", process="", duration=1, acquired=at, renewed=at)


def leads_until(sent: float, me: Candidate) -> float:
    """Until when a claim that was written leads; `sent` is from before the request."""
    return sent + me.term
