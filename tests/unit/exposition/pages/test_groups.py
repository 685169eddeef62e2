from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from tests.unit.domain.snapshots import snapshots
from tests.unit.exposition.pages.published import (
    DENIED,
    HOSTILE,
    NOW,
    REFUSED,
    cluster,
    many_groups,
    published,
    small_report,
)

from klag_trio.domain.lag import EMPTY_REPORT, report
from klag_trio.exposition.label_values import label_value
from klag_trio.exposition.pages.clusters import ClusterView
from klag_trio.exposition.pages.groups import GroupsPage, groups_page
from klag_trio.exposition.pages.query import FILTERS, GROUP_COLUMNS, BadRequest, read_query
from klag_trio.exposition.pages.state import ClusterState, Published
from klag_trio.exposition.pages.summary import figures, summaries
from klag_trio.exposition.pages.words import NOT_KNOWN


def page(shown: Published, **given: str) -> GroupsPage:
    query = read_query(given, [cluster.name for cluster in shown.clusters])
    found = {c.name: summaries(c.name, c.report) for c in shown.clusters if c.report is not None}
    return groups_page(shown, query, found)


def names(shown: Published, **given: str) -> list[str]:
    return [row.group for row in page(shown, **given).part.rows]


def row(shown: Published, group: str) -> Any:
    (found,) = [row for row in page(shown).part.rows if row.group == group]
    return found


SMALL = published(cluster("main", small_report()))


# The numbers of a group


def test_a_group_shows_its_sums() -> None:
    billing = row(SMALL, "billing")
    assert ("Stable", True, "1 member", "3 partitions") == (
        billing.state, billing.lively, billing.members, billing.partitions
    )  # fmt: skip
    assert ("210", "2 min 5 s", "0", False) == (
        billing.figures.lag, billing.figures.time_lag, billing.figures.lost, billing.figures.lossy
    )  # fmt: skip


def test_a_group_that_lost_records_shows_how_many() -> None:
    lossy = row(SMALL, "lossy")
    assert ("50", True, "0 %", True) == (
        lossy.figures.lost, lossy.figures.lossy, lossy.figures.margin, lossy.figures.low
    )  # fmt: skip


def test_a_group_without_a_commit_has_no_lag_rather_than_0() -> None:
    assert (NOT_KNOWN, "nothing committed") == (
        row(SMALL, "newcomer").figures.lag, row(SMALL, "newcomer").figures.margin_text
    )  # fmt: skip
    assert "0" == row(SMALL, "idle").figures.lag


def test_the_margin_is_that_of_the_partition_nearest_to_deletion() -> None:
    margin = figures(small_report().groups["billing"].partitions)
    assert (0, 0.0) == (margin.margin, margin.margin_share)
    orders = [r for r in small_report().groups["billing"].partitions if r.topic == "orders"]
    assert (900, 90.0) == (figures(orders).margin, figures(orders).margin_share)


def test_numbers_of_an_earlier_cycle_say_how_old_they_are() -> None:
    found = small_report()
    old = attrs.evolve(found.groups["billing"], as_of=NOW - 30)
    shown = published(cluster("main", attrs.evolve(found, groups={**found.groups, "billing": old})))
    assert "35.0 s" == row(shown, "billing").kept
    assert "" == row(shown, "idle").kept


@given(snapshots())
def test_figures_are_what_the_properties_of_a_report_say(taken: Any) -> None:
    found = report(taken, records={}, policies={}, previous=EMPTY_REPORT, keep_after=taken.now)
    for group in found.groups.values():
        sums = figures(group.partitions)
        assert sums.sum_lag == (group.sum_lag if group.partitions else None)
        assert sums.time_lag == group.max_time_lag
        assert sums.lost == sum(r.messages_lost for r in group.partitions)
        assert sums.margin_share is None or 0 <= sums.margin_share <= 100


def test_the_trend_ends_with_the_newest_report() -> None:
    history = cluster("main", small_report(NOW - 60, behind=10)).history
    shown = published(cluster("main", small_report(NOW, behind=500), history=history))
    trend = row(shown, "billing").trend
    assert "rising: from 120 to 610 in 1 min" == trend.label
    assert row(SMALL, "billing").trend is None


# Sorting


@pytest.mark.parametrize(
    ("sort", "order", "first"),
    [
        ("", "", "billing"),
        ("lag", "asc", "idle"),
        ("group", "", HOSTILE),
        ("group", "desc", "newcomer"),
        ("time", "", "billing"),
        ("lost", "desc", "lossy"),
        ("state", "asc", "idle"),
    ],
)
def test_groups_are_sorted_as_asked(sort: str, order: str, first: str) -> None:
    assert first == names(SMALL, sort=sort, order=order)[0]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_what_is_not_known_goes_last_in_either_order(order: str) -> None:
    assert "newcomer" == names(SMALL, sort="lag", order=order)[-1]
    assert "billing" == names(SMALL, sort="margin", order="asc")[0]


@pytest.mark.parametrize("column", [column.key for column in GROUP_COLUMNS])
def test_a_heading_turns_the_order_round_and_says_which_it_is(column: str) -> None:
    for order, said in (("asc", "ascending"), ("desc", "descending")):
        headings = {h.key: h for h in page(SMALL, sort=column, order=order).headings}
        assert said == headings[column].sorted
        assert {"none"} == {h.sorted for key, h in headings.items() if key != column}
        assert f"order={'desc' if order == 'asc' else 'asc'}" in headings[column].link


# Filters


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"find": "BILL"}, {"billing"}),
        ({"find": "<script>"}, {HOSTILE}),
        ({"state": "STABLE"}, {"billing"}),
        ({"only": "behind"}, {"billing", "lossy", HOSTILE}),
        ({"only": "loss"}, {"lossy"}),
        ({"only": "risk"}, {"billing", "lossy"}),
        ({"only": "abandoned"}, {"lossy", HOSTILE}),
        ({"only": "behind", "find": "i"}, {"billing", HOSTILE}),
    ],
)
def test_filters_leave_what_matches(given: dict[str, str], expected: set[str]) -> None:
    assert expected == set(names(SMALL, **given))


def test_a_cluster_can_be_chosen() -> None:
    shown = published(cluster("a", small_report()), cluster("b", many_groups(3, 1)))
    assert {"group-000000", "group-000001", "group-000002"} == set(names(shown, cluster="b"))
    assert ["b"] == [c.name for c in page(shown, cluster="b").clusters]
    assert 8 == page(shown).part.total


def test_a_filter_that_matches_nothing_says_so() -> None:
    assert "No group matches these filters." == page(SMALL, find="nobody").nothing


def test_a_cluster_without_groups_says_so() -> None:
    shown = published(cluster("main", many_groups(0, 0)))
    assert "No consumer group is there that passes the configured filters." == page(shown).nothing


# Pages


def test_a_long_list_comes_in_pages() -> None:
    shown = published(cluster("main", many_groups(120, 1)))
    first, second, last = (page(shown, sort="group", page=number).part for number in "123")
    assert [(1, 50), (51, 100), (101, 120)] == [(p.first, p.last) for p in (first, second, last)]
    assert (None, ".?sort=group&order=asc&page=2") == (first.before, first.after)
    assert (".?sort=group&order=asc&page=2", None) == (last.before, last.after)
    rows = [row.group for part in (first, second, last) for row in part.rows]
    assert [f"group-{number:06d}" for number in range(120)] == rows


def test_links_keep_the_filters() -> None:
    shown = published(cluster("main", many_groups(400, 1)))
    part = page(shown, find="group-0", state="EMPTY", only="behind", sort="group").part
    assert ".?find=group-0&state=EMPTY&only=behind&sort=group&order=asc&page=2" == part.after


# What cannot be


@pytest.mark.parametrize(
    ("given", "status", "named"),
    [
        ({"sort": "size"}, 400, "group, state, lag, time, margin, lost"),
        ({"order": "up"}, 400, "asc, desc"),
        ({"state": "Happy"}, 400, "STABLE"),
        ({"only": "x"}, 400, ", ".join(FILTERS)),
        ({"page": "0"}, 400, "a number from 1 on"),
        ({"page": "-1"}, 400, "a number from 1 on"),
        ({"page": "two"}, 400, "a number from 1 on"),
        ({"page": "²"}, 400, "a number from 1 on"),
        ({"page": "9" * 5000}, 400, "a number from 1 on"),
        ({"page": "2"}, 404, "The last one is page 1."),
        ({"cluster": "other"}, 404, "'main'"),
    ],
)
def test_bad_parameters_are_named_with_what_would_be_right(
    given: dict[str, str], status: int, named: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        page(SMALL, **given)
    assert status == caught.value.status
    assert named in str(caught.value)


# Clusters


def view(state: ClusterState, **changes: Any) -> ClusterView:
    return page(published(state, **changes)).clusters[0]


def test_a_cluster_that_is_up_shows_its_totals_and_its_cycle() -> None:
    shown = view(cluster("main", small_report(), overruns=1, unread_partitions=2))
    assert ("up", "5 s ago", "361", "5", "3", "3") == (
        shown.status, shown.last_good_ago, shown.sum_lag, shown.groups, shown.lagging, shown.partitions
    )  # fmt: skip
    assert "1.2 s of 30.0 s, 1 cycle too long so far, the time lag of 2 partitions unread" == shown.cycle
    assert [("topics", "250 ms"), ("groups", "750 ms")] == [(p.name, p.label) for p in shown.phases]


def test_a_cluster_that_never_answered_says_so_and_why() -> None:
    shown = view(cluster("main", None, failing=True, faults=[("topics", "", REFUSED)]))
    assert ("down", "never answered") == (shown.health, shown.status)
    assert "It has not answered yet. topics: connection refused (_TRANSPORT)." == shown.detail
    assert ("never", NOT_KNOWN, NOT_KNOWN) == (shown.last_good_ago, shown.sum_lag, shown.groups)


def test_before_its_first_cycle_has_ended_a_cluster_is_starting() -> None:
    shown = view(cluster("main", None))
    assert ("starting", "Its first cycle has not ended yet.") == (shown.status, shown.detail)


def test_a_stale_cluster_says_how_old_its_last_numbers_are() -> None:
    shown = view(cluster("main", None, last_good=NOW - 100, failing=True))
    assert "down" == shown.status
    assert (
        "Its last good cycle was 1 min 45 s ago. Numbers older than 1 min 30 s are not shown." == shown.detail
    )


def test_a_cluster_whose_last_cycle_failed_says_that_its_numbers_are_older() -> None:
    shown = view(cluster("main", small_report(), failing=True))
    assert ("last cycle failed", "The last cycle failed; these numbers are older.") == (
        shown.status, shown.detail
    )  # fmt: skip
    assert "361" == shown.sum_lag


def test_a_standby_shows_no_numbers() -> None:
    shown = published(cluster("main", small_report()), leader=False)
    found = groups_page(shown, read_query({}, ["main"]), {})
    assert ("on standby", NOT_KNOWN) == (found.clusters[0].status, found.clusters[0].sum_lag)
    assert "There are no numbers to show now; the clusters above say why." == found.nothing


def test_errors_come_with_their_mend_and_a_few_of_what_they_are_about() -> None:
    faults = [("committed", f"group-{number}", DENIED) for number in range(7)]
    (trouble,) = view(cluster("main", small_report(), faults=faults)).troubles
    assert ("committed", "GROUP_AUTHORIZATION_FAILED", "allow DESCRIBE on the group") == (
        trouble.stage, trouble.code, trouble.mend
    )  # fmt: skip
    assert (["group-0", "group-1", "group-2", "group-3", "group-4"], 2) == (trouble.subjects, trouble.more)


def test_a_long_name_that_failed_is_shown_as_its_label() -> None:
    name = "x" * 32_767
    (trouble,) = view(cluster("main", small_report(), faults=[("groups", name, DENIED)])).troubles
    assert [label_value(name)] == trouble.subjects


def test_many_kinds_of_error_are_counted_beyond_the_first_eight() -> None:
    faults = [(f"stage-{number}", "", REFUSED) for number in range(11)]
    shown = view(cluster("main", small_report(), faults=faults))
    assert (8, 3) == (len(shown.troubles), shown.more_troubles)
