from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
from tests.unit.exposition.pages.published import (
    HOSTILE,
    NOW,
    REFUSED,
    cluster,
    one_group,
    published,
    small_report,
)

from klag_trio.domain.offsets import Member
from klag_trio.exposition.label_values import label_value
from klag_trio.exposition.pages.group import GroupPage, group_page
from klag_trio.exposition.pages.groups import groups_page
from klag_trio.exposition.pages.query import PARTITION_COLUMNS, BadRequest, read_query
from klag_trio.exposition.pages.summary import summaries
from klag_trio.exposition.pages.words import NOT_KNOWN

SMALL = published(cluster("main", small_report()))


def billing(**given: str) -> GroupPage:
    return group_page(SMALL, {"cluster": "main", "group": "billing", **given})


def test_a_group_shows_its_topics_and_its_partitions() -> None:
    page = billing()
    assert [("clicks", "100"), ("orders", "110")] == [(t.topic, t.figures.lag) for t in page.topics]
    assert [("clicks", 0, "100"), ("orders", 0, "100"), ("orders", 1, "10")] == [
        (row.topic, row.partition, row.figures.lag) for row in page.part.rows
    ]
    assert ("Stable", "1 member", "3 partitions", "210") == (
        page.state, page.members, page.partitions, page.figures.lag
    )  # fmt: skip


def test_a_partition_shows_its_offsets_and_its_member() -> None:
    clicks, first, _ = billing().part.rows
    assert ("0", "900", "1,000", 90.0) == (first.earliest, first.committed, first.latest, first.position)
    assert (True, "billing-1", "billing-1-6f1c", "10.0.0.1") == (
        first.owned, first.client_id, first.consumer_id, first.host
    )  # fmt: skip
    assert not clicks.owned


def test_one_topic_can_be_looked_at_alone() -> None:
    page = billing(topic="orders")
    assert {"orders"} == {row.topic for row in page.part.rows}
    assert "210" == page.figures.lag
    assert "topic=orders" in page.headings[0].link


@pytest.mark.parametrize(
    ("sort", "order", "first"),
    [
        ("", "", ("clicks", 0)),
        ("partition", "desc", ("orders", 1)),
        ("lag", "asc", ("orders", 1)),
        ("time", "", ("orders", 0)),
        ("margin", "asc", ("clicks", 0)),
        ("member", "asc", ("orders", 0)),
    ],
)
def test_partitions_are_sorted_as_asked(sort: str, order: str, first: tuple[str, int]) -> None:
    row = billing(sort=sort, order=order).part.rows[0]
    assert first == (row.topic, row.partition)


def test_many_partitions_come_in_pages() -> None:
    shown = published(cluster("main", one_group(250)))
    given = {"cluster": "main", "group": "wide", "sort": "lag"}
    parts = [group_page(shown, {**given, "page": number}).part for number in "123"]
    assert [(1, 100), (101, 200), (201, 250)] == [(part.first, part.last) for part in parts]
    assert [249 - number for number in range(250)] == [row.partition for part in parts for row in part.rows]
    assert "group?cluster=main&group=wide&sort=lag&order=desc&page=3" == parts[1].after


def test_the_link_in_the_list_leads_to_the_group_whatever_its_id_holds() -> None:
    found = groups_page(SMALL, read_query({}, ["main"]), {"main": summaries("main", small_report())})
    (link,) = [row.link for row in found.part.rows if row.group == HOSTILE]
    given = {key: value for key, (value,) in parse_qs(urlsplit(link).query).items()}
    assert HOSTILE == group_page(SMALL, given).group


def test_a_group_with_a_name_of_32_kb_is_found_by_its_name_and_by_its_label_and_links_stay_short() -> None:
    long = "é" * 16_000
    found = small_report()
    member = Member(f"{long}-6f1c", long, f"/{long}")
    rows = tuple(attrs.evolve(row, member=member) for row in found.groups["billing"].partitions)
    group = attrs.evolve(found.groups["billing"], group=long, partitions=rows)
    found = attrs.evolve(found, groups={long: group})
    shown = published(cluster("main", found))

    (listed,) = groups_page(
        shown, read_query({"find": long}, ["main"]), {"main": summaries("main", found)}
    ).part.rows
    assert (label_value(long), f"main\n{label_value(long)}") == (listed.group, listed.key)
    given = {key: value for key, (value,) in parse_qs(urlsplit(listed.link).query).items()}
    by_label = group_page(shown, given)
    assert by_label == group_page(shown, {"cluster": "main", "group": long})
    assert long == by_label.group
    row = by_label.part.rows[0]
    assert [*map(label_value, (long, f"{long}-6f1c", long))] == [row.client_id, row.consumer_id, row.host]
    links = [listed.link, *(heading.link for heading in by_label.headings)]
    # Each byte of the label may take three characters of a link.
    assert max(map(len, links)) < 2000


def test_rows_of_an_earlier_cycle_say_how_old_they_are() -> None:
    found = small_report()
    group = found.groups["billing"]
    rows = tuple(attrs.evolve(row, as_of=NOW - 30) for row in group.partitions)
    old = attrs.evolve(group, as_of=NOW - 30, partitions=rows)
    shown = published(cluster("main", attrs.evolve(found, groups={"billing": old})))
    page = group_page(shown, {"cluster": "main", "group": "billing"})
    assert ("35.0 s", {"35.0 s"}) == (page.kept, {row.kept for row in page.part.rows})


def test_a_group_without_a_commit_has_no_partitions() -> None:
    page = group_page(SMALL, {"cluster": "main", "group": "newcomer"})
    assert (0, [], NOT_KNOWN) == (page.part.total, page.topics, page.figures.lag)


NEVER = cluster("never", None, failing=True, faults=[("topics", "", REFUSED)])


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({}, 400, "needs the parameters cluster and group"),
        ({"cluster": "main"}, 400, "needs the parameters cluster and group"),
        ({"cluster": "other", "group": "billing"}, 404, "There is no cluster 'other' here."),
        ({"cluster": "main", "group": "nobody"}, 404, "There is no group 'nobody' in cluster 'main'."),
        ({"cluster": "main", "group": ""}, 404, "There is no group ''"),
        ({"cluster": "main", "group": "billing", "topic": "x"}, 404, "has committed nothing in a topic 'x'"),
        ({"cluster": "main", "group": "billing", "page": "9"}, 404, "There is no page 9."),
        (
            {"cluster": "main", "group": "billing", "sort": "x"},
            400,
            ", ".join(column.key for column in PARTITION_COLUMNS),
        ),
        ({"cluster": "never", "group": "billing"}, 503, "connection refused (_TRANSPORT)"),
    ],
)
def test_a_group_that_cannot_be_shown_says_why(given: dict[str, str], status: int, said: str) -> None:
    shown = published(cluster("main", small_report()), NEVER)
    with pytest.raises(BadRequest) as caught:
        group_page(shown, given)
    assert status == caught.value.status
    assert said in str(caught.value)


def test_a_standby_shows_no_group() -> None:
    shown: Any = published(cluster("main", small_report()), leader=False)
    with pytest.raises(BadRequest) as caught:
        group_page(shown, {"cluster": "main", "group": "billing"})
    assert 503 == caught.value.status
    assert "on standby" in str(caught.value)
