"""What the page says of each cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import attrs

from klag_trio.domain.mends import mend
from klag_trio.domain.offsets import Fault
from klag_trio.exposition.label_values import label_value
from klag_trio.exposition.pages import words
from klag_trio.exposition.pages.drawing import Segment, phases
from klag_trio.exposition.pages.query import link
from klag_trio.exposition.pages.state import ClusterState, Published
from klag_trio.exposition.pages.summary import GroupSummary

_SUBJECTS = 5
_TROUBLES = 8

Health = Literal["up", "failing", "down", "standby"]


@attrs.frozen
class Trouble:
    """One kind of error, and what would end it."""

    stage: str
    code: str
    message: str
    mend: str | None
    subjects: Sequence[str]
    """The first few groups, topics or partitions that it is about; empty for the cluster itself."""
    more: int


@attrs.frozen
class ClusterView:
    """One cluster."""

    name: str
    link: str
    health: Health
    status: str
    """In a word or two."""
    detail: str
    """In a sentence; empty where there is nothing to add."""
    last_good: float | None
    last_good_ago: str
    groups: str
    lagging: str
    partitions: str
    sum_lag: str
    cycle: str
    phases: Sequence[Segment]
    troubles: Sequence[Trouble]
    more_troubles: int


def unpublished(published: Published, cluster: ClusterState) -> str | None:
    """Why there are no numbers of a cluster, in a sentence; None where there are."""
    if not published.leader:
        return "This replica is on standby: another one collects and shows the groups."
    if cluster.report is not None:
        return None
    reason = f" {why}." if (why := own_trouble(cluster)) else ""
    if cluster.last_good is None:
        tried = "It has not answered yet." if cluster.failing else "Its first cycle has not ended yet."
        return f"{tried}{reason}"
    age = words.span(published.now - cluster.last_good)
    return (
        f"Its last good cycle was {age} ago. Numbers older than "
        f"{words.span(published.staleness_threshold)} are not shown.{reason}"
    )


def own_trouble(cluster: ClusterState) -> str | None:
    """What the cluster as a whole fails with."""
    for stage, subject, fault in cluster.faults:
        if not subject:
            return f"{stage}: {fault.message} ({fault.code})"
    return None


def cluster_view(published: Published, cluster: ClusterState, groups: Sequence[GroupSummary]) -> ClusterView:
    """One cluster; `groups` are all of its groups."""
    missing = unpublished(published, cluster)
    health, status = _health(published, cluster)
    troubles = _troubles(cluster.faults)
    shown = missing is None
    seconds = cluster.cycle_seconds
    return ClusterView(
        name=cluster.name,
        link=link(".", cluster=cluster.name),
        health=health,
        status=status,
        detail=missing or ("The last cycle failed; these numbers are older." if cluster.failing else ""),
        last_good=cluster.last_good,
        last_good_ago="never" if cluster.last_good is None else words.ago(published.now - cluster.last_good),
        groups=words.count(len(groups)) if shown else words.NOT_KNOWN,
        lagging=words.count(sum(bool(g.figures.sum_lag) for g in groups)) if shown else words.NOT_KNOWN,
        partitions=words.count(len(cluster.report.offsets)) if shown and cluster.report else words.NOT_KNOWN,
        sum_lag=words.count(sum(g.figures.sum_lag or 0 for g in groups)) if shown else words.NOT_KNOWN,
        cycle="" if seconds is None else _cycle(published, cluster, seconds),
        phases=phases(cluster.phases) if seconds is not None else (),
        troubles=troubles[:_TROUBLES],
        more_troubles=max(0, len(troubles) - _TROUBLES),
    )


def _health(published: Published, cluster: ClusterState) -> tuple[Health, str]:
    if not published.leader:
        return "standby", "on standby"
    if cluster.report is None:
        if cluster.last_good is not None:
            return "down", "down"
        return ("down", "never answered") if cluster.failing else ("standby", "starting")
    return ("failing", "last cycle failed") if cluster.failing else ("up", "up")


def _cycle(published: Published, cluster: ClusterState, seconds: float) -> str:
    parts = [f"{words.span(seconds)} of {words.span(published.poll_interval)}"]
    if cluster.overruns:
        parts.append(f"{words.many(cluster.overruns, 'cycle')} too long so far")
    if cluster.unread_partitions:
        parts.append(f"the time lag of {words.many(cluster.unread_partitions, 'partition')} unread")
    return ", ".join(parts)


def _troubles(faults: Sequence[tuple[str, str, Fault]]) -> list[Trouble]:
    subjects: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    messages: dict[tuple[str, str], str] = {}
    for stage, subject, fault in faults:
        key = stage, fault.code
        messages.setdefault(key, fault.message)
        if subject:
            subjects[key].append(subject)
    return [
        Trouble(
            stage,
            code,
            message,
            mend(stage, code),
            [label_value(subject) for subject in subjects[stage, code][:_SUBJECTS]],
            max(0, len(subjects[stage, code]) - _SUBJECTS),
        )
        for (stage, code), message in messages.items()
    ]
