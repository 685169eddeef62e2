"""Pages of a long table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from klag_trio.exposition.pages.query import BadRequest, Order

T = TypeVar("T")
V = TypeVar("V")


@attrs.frozen
class Part(Generic[V]):
    """One page of some rows, and the links to those around it."""

    rows: Sequence[V]
    first: int
    """Number of its first row, from 1; 0 where there is none."""
    last: int
    total: int
    page: int
    pages: int
    before: str | None
    after: str | None


def part(
    rows: Sequence[T], order: Order, size: int, *, link: Callable[[int], str], show: Callable[[T], V]
) -> Part[V]:
    """Cut out the page that was asked for, and make of each of its rows what is shown.

    BadRequest says how many pages there are where there is no such page.
    """
    pages = max(1, -(-len(rows) // size))
    if order.page > pages:
        raise BadRequest(404, f"There is no page {order.page}.", f"The last one is page {pages}.")
    start = (order.page - 1) * size
    shown = rows[start : start + size]
    return Part(
        rows=[show(row) for row in shown],
        first=start + 1 if shown else 0,
        last=start + len(shown),
        total=len(rows),
        page=order.page,
        pages=pages,
        before=link(order.page - 1) if order.page > 1 else None,
        after=link(order.page + 1) if order.page < pages else None,
    )
