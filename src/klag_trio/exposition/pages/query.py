"""What a request for a page asks for: its query parameters, read, checked and written again as links."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import attrs

from klag_trio.domain.lag import PartitionLag
from klag_trio.domain.offsets import GroupState
from klag_trio.exposition.pages.summary import GroupSummary

T = TypeVar("T")
_LAST_PAGE = 10**6


class BadRequest(Exception):
    """A page that cannot be shown: the status code, what is wrong, and what would be right."""

    def __init__(self, status: int, wrong: str, hint: str = "") -> None:
        super().__init__(f"{wrong} {hint}".strip())
        self.status = status
        self.wrong = wrong
        self.hint = hint


@attrs.frozen
class Column(Generic[T]):
    """A column that a table can be sorted by."""

    key: str
    """As it stands in a link."""
    title: str
    value: Callable[[T], Any]
    """What is compared; None goes last in either order."""
    descending: bool = False
    """The order that a first click gives."""
    number: bool = False
    help: str = ""


GROUP_COLUMNS: Sequence[Column[GroupSummary]] = (
    Column("group", "Group", lambda s: s.group, help="The group id"),
    Column(
        "state",
        "State",
        lambda s: s.state.name,
        help="The state, and the members that own partitions",
    ),
    Column("lag", "Lag", lambda s: s.figures.sum_lag, True, True, "Records to go, over all partitions"),
    Column(
        "time",
        "Time lag",
        lambda s: s.figures.time_lag,
        True,
        True,
        "Age of the record to read next",
    ),
    Column(
        "margin",
        "Retention margin",
        lambda s: s.figures.margin_share,
        number=True,
        help="How far the partition nearest to deletion is from it, in percent of what it retains",
    ),
    Column("lost", "Lost", lambda s: s.figures.lost, True, True, "Records deleted before they were read"),
)
PARTITION_COLUMNS: Sequence[Column[PartitionLag]] = (
    Column("partition", "Partition", lambda r: (r.topic, r.partition)),
    Column(
        "member",
        "Member",
        lambda r: (r.member.client_id, r.member.consumer_id) if r.member.consumer_id else None,
    ),
    Column("lag", "Lag", lambda r: r.lag, True, True),
    Column("time", "Time lag", lambda r: r.time_lag, True, True),
    Column("margin", "Retention margin", lambda r: -r.lag_retention_ratio if r.lag else None, number=True),
    Column("lost", "Lost", lambda r: r.messages_lost, True, True),
)
FILTERS: Mapping[str, tuple[str, Callable[[GroupSummary], bool]]] = {
    "behind": ("with lag", lambda s: bool(s.figures.sum_lag)),
    "risk": ("near data loss", lambda s: s.figures.margin_share is not None and s.figures.margin_share < 20),
    "loss": ("with data loss", lambda s: s.figures.lost > 0),
    "abandoned": ("with lag, without members", lambda s: bool(s.figures.sum_lag) and not s.members),
}


@attrs.frozen
class Order:
    """How a table is sorted, and which page of it is asked for."""

    sort: str
    descending: bool
    page: int = 1

    @property
    def parameters(self) -> Mapping[str, object]:
        """What a link to another page in the same order has to carry."""
        return {"sort": self.sort, "order": "desc" if self.descending else "asc"}

    def after_click(self, column: Column[Any]) -> str:
        """The order that a click on the heading gives: the other one where it is sorted by already."""
        descending = not self.descending if column.key == self.sort else column.descending
        return "desc" if descending else "asc"

    def aria_sort(self, column: Column[Any]) -> str:
        """What the heading says of the order: `ascending`, `descending` or `none`."""
        if column.key != self.sort:
            return "none"
        return "descending" if self.descending else "ascending"

    def apply(self, rows: Sequence[T], columns: Sequence[Column[T]]) -> list[T]:
        """Sort; what is equal stays in the order it came in."""
        value = next(column.value for column in columns if column.key == self.sort)
        known = [row for row in rows if value(row) is not None]
        known.sort(key=value, reverse=self.descending)
        return known + [row for row in rows if value(row) is None]


@attrs.frozen
class Query:
    """What the list of groups is to show."""

    order: Order
    cluster: str = ""
    find: str = ""
    state: str = ""
    only: str = ""

    @property
    def filters(self) -> bool:
        """Whether anything is filtered out."""
        return bool(self.cluster or self.find or self.state or self.only)

    def matches(self, summary: GroupSummary) -> bool:
        """Whether the group passes the filters, its cluster aside."""
        return (
            (not self.find or self.find.casefold() in summary.group.casefold())
            and (not self.state or summary.state is GroupState[self.state])
            and (not self.only or FILTERS[self.only][1](summary))
        )

    def link(self, **changes: object) -> str:
        """The address of the same list with some parameters changed; from its first page, unless told."""
        given = {"find": self.find, "cluster": self.cluster, "state": self.state, "only": self.only}
        return link(".", **{**given, **self.order.parameters, **changes})


def read_query(given: Mapping[str, str], clusters: Sequence[str]) -> Query:
    """Read the parameters of the list of groups. Raises BadRequest."""
    cluster = given.get("cluster", "")
    if cluster:
        known_cluster(cluster, clusters)
    return Query(
        order=read_order(given, GROUP_COLUMNS, "lag"),
        cluster=cluster,
        find=given.get("find", "").strip(),
        state=_one_of("state", given.get("state", ""), GroupState.__members__),
        only=_one_of("only", given.get("only", ""), FILTERS),
    )


def read_order(given: Mapping[str, str], columns: Sequence[Column[Any]], default: str) -> Order:
    """Read the parameters `sort`, `order` and `page`. Raises BadRequest."""
    by_key = {column.key: column for column in columns}
    sort = _one_of("sort", given.get("sort", ""), by_key) or default
    order = _one_of("order", given.get("order", ""), ("asc", "desc"))
    page = given.get("page", "") or "1"
    if not (page.isascii() and page.isdigit() and 1 <= len(page) <= 7 and 1 <= int(page) <= _LAST_PAGE):
        raise BadRequest(400, f"page is {page!r}.", "It is a number from 1 on.")
    return Order(sort, order == "desc" if order else by_key[sort].descending, int(page))


def known_cluster(cluster: str, clusters: Sequence[str]) -> None:
    """Raise BadRequest for a cluster that is not configured."""
    if cluster not in clusters:
        raise BadRequest(
            404, f"There is no cluster {cluster!r} here.", f"There is {', '.join(map(repr, clusters))}."
        )


def link(path: str, **parameters: object) -> str:
    """An address beside the page's own; parameters that are empty are left out."""
    given = {key: value for key, value in parameters.items() if value not in ("", None)}
    query = urlencode(given, errors="replace")
    return f"{path}?{query}" if query else path


def _one_of(name: str, value: str, known: Sequence[str] | Mapping[str, object]) -> str:
    if value and value not in known:
        raise BadRequest(400, f"{name} is {value!r}.", f"It is one of {', '.join(known)}.")
    return value
