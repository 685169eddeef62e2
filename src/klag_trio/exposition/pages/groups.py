"""The list of groups, and the clusters above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from klag_trio.domain.offsets import GroupState
from klag_trio.exposition.label_values import label_value
from klag_trio.exposition.pages import words
from klag_trio.exposition.pages.clusters import ClusterView, cluster_view, unpublished
from klag_trio.exposition.pages.drawing import Curve, curve
from klag_trio.exposition.pages.paging import Part, part
from klag_trio.exposition.pages.query import FILTERS, GROUP_COLUMNS, Column, Query, link
from klag_trio.exposition.pages.state import ClusterState, Published
from klag_trio.exposition.pages.summary import Figures, GroupSummary

PAGE_SIZE = 50
SPARK_WIDTH, SPARK_HEIGHT = 120, 28
LOW_MARGIN = 20.0
"""Percent of what a partition retains: less than this is near data loss."""


@attrs.frozen
class Heading:
    """A heading that sorts its table."""

    key: str
    title: str
    help: str
    number: bool
    link: str
    sorted: str
    """`ascending`, `descending` or `none`, as aria-sort has it."""


@attrs.frozen
class FiguresView:
    """Figures as they are read."""

    lag: str
    time_lag: str
    margin: str
    margin_share: float | None
    margin_text: str
    low: bool
    lost: str
    lossy: bool
    compacted: bool


@attrs.frozen
class GroupRow:
    """One line of the list."""

    key: str
    cluster: str
    group: str
    link: str
    state: str
    lively: bool
    """Whether it has members."""
    members: str
    partitions: str
    figures: FiguresView
    trend: Curve | None
    kept: str
    """How old its numbers are, where they are of an earlier cycle; else empty."""


@attrs.frozen
class GroupsPage:
    """The page at /."""

    clusters: Sequence[ClusterView]
    several: bool
    query: Query
    headings: Sequence[Heading]
    part: Part[GroupRow]
    nothing: str
    """Why the list is empty; empty where it is not."""
    cluster_names: Sequence[str]
    states: Sequence[tuple[str, str]]
    filters: Sequence[tuple[str, str]]


def state_name(state: GroupState) -> str:
    """A state as Kafka writes it: `PreparingRebalance`."""
    return "".join(word.capitalize() for word in state.name.split("_"))


def figures_view(figures: Figures) -> FiguresView:
    """Figures in words."""
    share, margin = figures.margin_share, figures.margin
    if figures.sum_lag is None:
        text = "nothing committed"
    elif share is None or margin is None:
        text = "nothing to lose: all is read"
    elif figures.lost:
        text = "overtaken by retention"
    else:
        text = f"{words.many(margin, 'record')} from deletion"
    return FiguresView(
        lag=words.count(figures.sum_lag),
        time_lag=words.span(figures.time_lag),
        margin=words.NOT_KNOWN if share is None else words.percent(share),
        margin_share=share,
        margin_text=text,
        low=share is not None and share < LOW_MARGIN,
        lost=words.count(figures.lost),
        lossy=figures.lost > 0,
        compacted=figures.compacted,
    )


def headings(columns: Sequence[Column[GroupSummary]], query: Query) -> list[Heading]:
    """The headings of the list; a click on the one that sorts turns the order round."""
    return [
        Heading(
            column.key,
            column.title,
            column.help,
            column.number,
            query.link(sort=column.key, order=query.order.after_click(column)),
            query.order.aria_sort(column),
        )
        for column in columns
    ]


def groups_page(
    published: Published, query: Query, summaries: Mapping[str, Sequence[GroupSummary]]
) -> GroupsPage:
    """The page that a query asks for. `summaries` has the groups of each cluster that is published.

    Raises BadRequest where there is no such page.
    """
    states = {cluster.name: cluster for cluster in published.clusters}
    chosen = [query.cluster] if query.cluster else list(states)
    groups = [group for name in chosen for group in summaries.get(name, ())]
    matching = [group for group in groups if query.matches(group)] if query.filters else groups
    return GroupsPage(
        clusters=[
            cluster_view(published, cluster, summaries.get(cluster.name, ()))
            for cluster in published.clusters
            if not query.cluster or cluster.name == query.cluster
        ],
        several=len(states) > 1,
        query=query,
        headings=headings(GROUP_COLUMNS, query),
        part=part(
            query.order.apply(matching, GROUP_COLUMNS),
            query.order,
            PAGE_SIZE,
            link=lambda page: query.link(page=page),
            show=lambda group: _row(published, states[group.cluster], group),
        ),
        nothing="" if matching else _nothing(published, [states[name] for name in chosen], bool(groups)),
        cluster_names=list(states),
        states=[(state.name, state_name(state)) for state in GroupState],
        filters=[(key, title) for key, (title, _) in FILTERS.items()],
    )


def _nothing(published: Published, clusters: Sequence[ClusterState], groups: bool) -> str:
    if groups:
        return "No group matches these filters."
    if all(unpublished(published, cluster) is not None for cluster in clusters):
        return "There are no numbers to show now; the clusters above say why."
    return "No consumer group is there that passes the configured filters."


def _row(published: Published, cluster: ClusterState, group: GroupSummary) -> GroupRow:
    # A name of 32 KB is whole on the page of its group only; a link with it would be refused as too long.
    name = label_value(group.group)
    return GroupRow(
        key=f"{group.cluster}\n{name}",
        cluster=group.cluster,
        group=name,
        link=link("group", cluster=group.cluster, group=name),
        state=state_name(group.state),
        lively=group.members > 0,
        members=words.many(group.members, "member"),
        partitions=words.many(group.figures.partitions, "partition"),
        figures=figures_view(group.figures),
        trend=trend(cluster, group.group, group.figures.sum_lag, SPARK_WIDTH, SPARK_HEIGHT),
        kept=words.span(published.now - group.as_of) if group.kept else "",
    )


def trend(cluster: ClusterState, group: str, lag: int | None, width: int, height: int) -> Curve | None:
    """The group's lag over the last hour, up to what the newest report says."""
    moments = cluster.history.moments
    if not moments or cluster.report is None:
        return None
    now = cluster.report.now
    points = cluster.history.trend(group)
    if lag is not None and (not points or points[-1][0] < now):
        points.append((now, float(lag)))
    return curve(points, since=moments[0].at, until=now, width=width, height=height)
