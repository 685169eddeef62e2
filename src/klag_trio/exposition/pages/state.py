"""What a page is made of: how each cluster is doing, as it was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from klag_trio.domain.history import History
from klag_trio.domain.lag import LagReport
from klag_trio.domain.offsets import Fault


@attrs.frozen(kw_only=True)
class ClusterState:
    """How one cluster is doing."""

    name: str
    report: LagReport | None
    """What is published of it; None while nothing is: before the first good cycle, and once that is stale."""
    last_good: float | None
    """When the last good cycle was, in seconds since the epoch; None before the first."""
    failing: bool
    """Whether the last cycle was not good."""
    history: History = attrs.field(factory=History)
    phases: Mapping[str, float] = attrs.field(factory=dict)
    """Seconds of each phase of the last cycle."""
    cycle_seconds: float | None = None
    """Of the whole last cycle; None before the first."""
    overruns: int = 0
    unread_partitions: int = 0
    """Partitions whose time lag was not read in time in the last cycle."""
    faults: Sequence[tuple[str, str, Fault]] = ()
    """The (stage, subject, fault) of the last cycle; the subject is "" for the cluster itself."""


@attrs.frozen(kw_only=True)
class Published:
    """All that the pages are made of."""

    version: str
    now: float
    """The wall clock, in seconds since the epoch."""
    leader: bool
    poll_interval: float
    staleness_threshold: float
    clusters: Sequence[ClusterState]
    """In the order of the configuration."""
