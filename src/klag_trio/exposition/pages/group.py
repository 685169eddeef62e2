"""One group: its topics and its partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import attrs

from klag_trio.domain.lag import GroupLag, LagReport, PartitionLag
from klag_trio.exposition.label_values import label_value
from klag_trio.exposition.pages import words
from klag_trio.exposition.pages.clusters import unpublished
from klag_trio.exposition.pages.drawing import Curve, log_position
from klag_trio.exposition.pages.groups import FiguresView, Heading, figures_view, state_name, trend
from klag_trio.exposition.pages.paging import Part, part
from klag_trio.exposition.pages.query import (
    PARTITION_COLUMNS,
    BadRequest,
    known_cluster,
    link,
    read_order,
)
from klag_trio.exposition.pages.state import Published
from klag_trio.exposition.pages.summary import figures

PAGE_SIZE = 100
CHART_WIDTH, CHART_HEIGHT = 720, 140


@attrs.frozen
class PartitionRow:
    """One partition."""

    key: str
    topic: str
    partition: int
    client_id: str
    consumer_id: str
    host: str
    owned: bool
    figures: FiguresView
    position: float
    """Where the group stands in what is retained, from 0 to 100."""
    earliest: str
    committed: str
    latest: str
    kept: str


@attrs.frozen
class TopicRow:
    """One topic."""

    topic: str
    link: str
    partitions: str
    figures: FiguresView


@attrs.frozen
class GroupPage:
    """The page of one group."""

    cluster: str
    back: str
    group: str
    state: str
    lively: bool
    members: str
    figures: FiguresView
    partitions: str
    kept: str
    as_of: float
    as_of_ago: str
    chart: Curve | None
    topic: str
    """The only topic that is shown; empty for all."""
    all_topics: str
    topics: Sequence[TopicRow]
    headings: Sequence[Heading]
    part: Part[PartitionRow]


def group_page(published: Published, given: Mapping[str, str]) -> GroupPage:
    """The page of the group that the parameters name. Raises BadRequest."""
    name, wanted, topic = (given.get(key, "") for key in ("cluster", "group", "topic"))
    if not name or "group" not in given:
        raise BadRequest(
            400, "A group's page needs the parameters cluster and group.", "The list has a link to each."
        )
    known_cluster(name, [cluster.name for cluster in published.clusters])
    cluster = next(cluster for cluster in published.clusters if cluster.name == name)
    if (missing := unpublished(published, cluster)) is not None or cluster.report is None:
        raise BadRequest(503, f"There are no numbers of cluster {name!r} now.", missing or "")
    group = _group(cluster.report, wanted)
    if group is None:
        raise BadRequest(
            404,
            f"There is no group {wanted!r} in cluster {name!r}.",
            "It may be gone from Kafka, or left out by the configured filters.",
        )
    by_topic: defaultdict[str, list[PartitionLag]] = defaultdict(list)
    for row in group.partitions:
        by_topic[row.topic].append(row)
    if topic and topic not in by_topic:
        raise BadRequest(404, f"Group {wanted!r} has committed nothing in a topic {topic!r}.")

    order = read_order(given, PARTITION_COLUMNS, "partition")
    parameters = {"cluster": name, "group": label_value(group.group), "topic": topic}

    def same(**changes: object) -> str:
        return link("group", **{**parameters, **order.parameters, **changes})

    rows = by_topic[topic] if topic else group.partitions
    whole, now = figures(group.partitions), cluster.report.now
    return GroupPage(
        cluster=name,
        back=link(".", cluster=name if len(published.clusters) > 1 else ""),
        group=group.group,
        state=state_name(group.state),
        lively=group.members > 0,
        members=words.many(group.members, "member"),
        figures=figures_view(whole),
        partitions=words.many(whole.partitions, "partition"),
        kept=words.span(published.now - group.as_of) if group.as_of < now else "",
        as_of=group.as_of,
        as_of_ago=words.ago(published.now - group.as_of),
        chart=trend(cluster, group.group, whole.sum_lag, CHART_WIDTH, CHART_HEIGHT),
        topic=topic,
        all_topics=same(topic=""),
        topics=[
            TopicRow(
                each,
                same(topic=each, page=""),
                words.many(len(rows), "partition"),
                figures_view(figures(rows)),
            )
            for each, rows in by_topic.items()
        ],
        headings=[
            Heading(
                column.key,
                column.title,
                column.help,
                column.number,
                same(
                    sort=column.key,
                    order=order.after_click(column),
                ),
                order.aria_sort(column),
            )
            for column in PARTITION_COLUMNS
        ],
        part=part(
            order.apply(rows, PARTITION_COLUMNS),
            order,
            PAGE_SIZE,
            link=lambda page: same(page=page),
            show=lambda row: _row(published, row, now),
        ),
    )


def _group(report: LagReport, name: str) -> GroupLag | None:
    """The group of this name, or the one that has it as its label since its own name is too long."""
    if (group := report.groups.get(name)) is not None:
        return group
    return next((group for group in report.groups.values() if label_value(group.group) == name), None)


def _row(published: Published, row: PartitionLag, as_of: float) -> PartitionRow:
    member = row.member
    return PartitionRow(
        key=f"{row.topic}\n{row.partition}",
        topic=row.topic,
        partition=row.partition,
        client_id=label_value(member.client_id),
        consumer_id=label_value(member.consumer_id),
        host=label_value(member.host.lstrip("/")),
        owned=bool(member.consumer_id),
        figures=figures_view(figures([row])),
        position=log_position(row.earliest, row.committed, row.latest),
        earliest=words.count(row.earliest),
        committed=words.count(row.committed),
        latest=words.count(row.latest),
        kept=words.span(published.now - row.as_of) if row.as_of < as_of else "",
    )
